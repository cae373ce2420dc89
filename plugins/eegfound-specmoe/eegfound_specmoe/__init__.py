"""SpecMoE for eegfound: SpecHi-Net experts, spectral gates, masked pretraining.

Importing this package imports no torch; its estimators do, on first use.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = [
    "SpecMoEClassifier",
    "SpecMoEPretrainer",
    "SpecMoERegressor",
    "SpecMoETransformer",
    "assemble_experts",
]


def __getattr__(name: str) -> Any:
    if name == "assemble_experts":
        from eegfound_specmoe.checkpoint import assemble_experts

        return assemble_experts
    if name in __all__:
        from eegfound_specmoe import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module 'eegfound_specmoe' has no attribute {name!r}")
