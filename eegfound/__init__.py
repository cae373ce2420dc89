"""EEG foundation models as scikit-learn estimators.

Names are loaded on first use: ``import eegfound`` imports neither torch nor
mne, and listing models imports no network.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "ChannelInfo": "eegfound.base",
    "list_models": "eegfound.models",
    "get_model": "eegfound.models",
    "register_plugin": "eegfound.models",
    "unregister_plugin": "eegfound.models",
    "MontageMapper": "eegfound.montage",
    "union_layout": "eegfound.montage",
    "Resampler": "eegfound.preprocessing",
    "BandPass": "eegfound.preprocessing",
    "Notch": "eegfound.preprocessing",
    "Rereferencer": "eegfound.preprocessing",
    "Windower": "eegfound.preprocessing",
    "prepare_for": "eegfound.preprocessing",
    "FoundationTransformer": "eegfound.estimators",
    "FoundationClassifier": "eegfound.estimators",
    "FoundationRegressor": "eegfound.estimators",
    "FoundationPretrainer": "eegfound.estimators",
    "make_transformer": "eegfound.estimators",
    "make_classifier": "eegfound.estimators",
    "make_regressor": "eegfound.estimators",
    "make_pretrainer": "eegfound.estimators",
}
_MODULES = (
    "base",
    "baselines",
    "benchmark",
    "cache",
    "corpus",
    "datasets",
    "estimators",
    "features",
    "model_selection",
    "models",
    "montage",
    "preprocessing",
    "pretraining",
    "search",
    "testing",
)

__all__ = ["__version__", *sorted(_WHERE), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"eegfound.{name}")
    else:
        raise AttributeError(f"module 'eegfound' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
