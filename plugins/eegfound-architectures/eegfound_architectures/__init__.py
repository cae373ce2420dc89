"""Architectures of our own in the style of FoME and Brant-X, without weights.

Neither paper's code or weights were published. What is here follows the ideas
that the abstracts name; every number beyond them is our choice, so results say
nothing about the papers' models. Importing this package imports no torch.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_HOMES = {
    "BrantXAlign": "eegfound_architectures.brantx.align",
    "BrantXTransformer": "eegfound_architectures.brantx.transformer",
    "FomeStyleClassifier": "eegfound_architectures.fome.estimators",
    "FomeStylePretrainer": "eegfound_architectures.fome.estimators",
    "FomeStyleRegressor": "eegfound_architectures.fome.estimators",
    "FomeStyleTransformer": "eegfound_architectures.fome.estimators",
}
__all__ = [
    "BrantXAlign",
    "BrantXTransformer",
    "FomeStyleClassifier",
    "FomeStylePretrainer",
    "FomeStyleRegressor",
    "FomeStyleTransformer",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'eegfound_architectures' has no attribute {name!r}")
