"""Classical pipelines to compare foundation models with.

>>> from eegfound.baselines import list_baselines, make_baseline
>>> list_baselines()[:3]
['band_power', 'csp_lda', 'dummy']

Estimators over pyriemann and mne are built on demand; importing this package
loads neither.
"""

from __future__ import annotations

import importlib
from typing import Any

from eegfound.baselines.registry import (
    Baseline,
    get_baseline,
    list_baselines,
    make_baseline,
)

_WHERE = {
    "BaselineInput": "eegfound.baselines.signals",
    "EpochCovariances": "eegfound.baselines.covariance",
    "RankReducer": "eegfound.baselines.rank",
    "RecentredTangentSpace": "eegfound.baselines.recentred",
}

__all__ = [
    "Baseline",
    "BaselineInput",
    "EpochCovariances",
    "RankReducer",
    "RecentredTangentSpace",
    "get_baseline",
    "list_baselines",
    "make_baseline",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'eegfound.baselines' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
