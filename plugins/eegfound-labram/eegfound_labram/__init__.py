"""LaBraM for eegfound: encoder, tokenizer and masked EEG modelling.

Importing this package imports no torch; its estimators do, on first use.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["LaBraMClassifier", "LaBraMPretrainer", "LaBraMRegressor", "LaBraMTransformer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from eegfound_labram import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'eegfound_labram' has no attribute {name!r}")
