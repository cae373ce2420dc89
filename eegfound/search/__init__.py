"""Hyper-parameter search with Optuna, the scikit-learn way.

Names are loaded on first use; Optuna (``pip install "eegfound[optuna]"``) is
imported by what needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Choice": "choice",
    "OptunaSearchCV": "optuna_search",
    "ReportEpochs": "epochs",
    "SearchSpace": "space",
    "choose_pipeline": "pipelines",
    "open_storage": "storage",
    "suggest_space": "suggest",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'eegfound.search' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"eegfound.search.{_WHERE[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ImportError(
            f"eegfound.search.{name} needs Optuna: pip install 'eegfound[optuna]'."
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
