"""MMM for eegfound: topology-agnostic EEG representations from differential entropy.

Importing this package imports no torch; its estimators do, on first use.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["MMMClassifier", "MMMPretrainer", "MMMRegressor", "MMMTransformer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from eegfound_mmm import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'eegfound_mmm' has no attribute {name!r}")
