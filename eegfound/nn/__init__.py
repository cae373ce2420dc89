"""Blocks that the networks of several plugins share (torch is imported on first use)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eegfound.nn.adapter import SpatialAdapter
    from eegfound.nn.attention_pooling import AttentionHead, AttentionPooling
    from eegfound.nn.contrastive import info_nce
    from eegfound.nn.electrode_graph import ElectrodeGraph, GraphHead
    from eegfound.nn.fast_linear import linear
    from eegfound.nn.masking import hide_largest
    from eegfound.nn.max_norm import MaxNormConv1d, MaxNormLinear
    from eegfound.nn.momentum import MomentumEncoder, linear_ramp
    from eegfound.nn.objective import Losses, Objective
    from eegfound.nn.patches import cut_patches
    from eegfound.nn.probe import TwoLinear
    from eegfound.nn.rotary import rotary_angles, rotate
    from eegfound.nn.running_mean import RunningMean
    from eegfound.nn.schedules import cosine_schedule
    from eegfound.nn.standardize import Standardize
    from eegfound.nn.stochastic_depth import DropPath, drop_path
    from eegfound.nn.temporal_head import TemporalHead

_WHERE = {
    "AttentionHead": "attention_pooling",
    "AttentionPooling": "attention_pooling",
    "ElectrodeGraph": "electrode_graph",
    "GraphHead": "electrode_graph",
    "Standardize": "standardize",
    "TemporalHead": "temporal_head",
    "DropPath": "stochastic_depth",
    "Losses": "objective",
    "MaxNormConv1d": "max_norm",
    "MaxNormLinear": "max_norm",
    "MomentumEncoder": "momentum",
    "Objective": "objective",
    "RunningMean": "running_mean",
    "SpatialAdapter": "adapter",
    "TwoLinear": "probe",
    "cosine_schedule": "schedules",
    "cut_patches": "patches",
    "drop_path": "stochastic_depth",
    "hide_largest": "masking",
    "info_nce": "contrastive",
    "linear": "fast_linear",
    "linear_ramp": "momentum",
    "rotary_angles": "rotary",
    "rotate": "rotary",
}
__all__ = [
    "AttentionHead",
    "AttentionPooling",
    "DropPath",
    "ElectrodeGraph",
    "GraphHead",
    "Losses",
    "MaxNormConv1d",
    "MaxNormLinear",
    "MomentumEncoder",
    "Objective",
    "RunningMean",
    "SpatialAdapter",
    "Standardize",
    "TemporalHead",
    "TwoLinear",
    "cosine_schedule",
    "cut_patches",
    "drop_path",
    "hide_largest",
    "info_nce",
    "linear",
    "linear_ramp",
    "rotary_angles",
    "rotate",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
