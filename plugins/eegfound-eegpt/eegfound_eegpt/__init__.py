"""EEGPT (2024, dual self-supervision) and autoregressive EEGPT (BrainGPT) for eegfound.

``EEGPT…`` classes are the model of Wang et al. (NeurIPS 2024), ``EEGPTAR…`` and
``EEGPTMultiTaskClassifier`` that of Yue et al. (arXiv 2410.19779). Importing this
package imports no torch; its estimators do, on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_WHERE = {
    "EEGPTClassifier": "dual.estimators",
    "EEGPTPretrainer": "dual.estimators",
    "EEGPTRegressor": "dual.estimators",
    "EEGPTTransformer": "dual.estimators",
    "EEGPTARClassifier": "ar.estimators",
    "EEGPTARPretrainer": "ar.estimators",
    "EEGPTARRegressor": "ar.estimators",
    "EEGPTARTransformer": "ar.estimators",
    "EEGPTMultiTaskClassifier": "ar.multitask",
    "TaskScorer": "ar.task_scorer",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"eegfound_eegpt.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'eegfound_eegpt' has no attribute {name!r}")
