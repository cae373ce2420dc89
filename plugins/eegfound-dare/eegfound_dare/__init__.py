"""DARE-EEG for eegfound: encoder, conv-linear probing and dual-aligned pretraining.

Importing this package imports no torch; its classes do, on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_WHERE = {
    "DAREClassifier": "estimators",
    "DAREPretrainer": "estimators",
    "DARERegressor": "estimators",
    "DARETransformer": "estimators",
    "EuclideanAligner": "alignment",
    "align": "alignment",
    "align_by_group": "alignment",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"eegfound_dare.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'eegfound_dare' has no attribute {name!r}")
