"""Blocks that the networks of several plugins share (this package imports torch)."""

from eegfound.nn.contrastive import info_nce
from eegfound.nn.drop_path import DropPath, drop_path
from eegfound.nn.masking import hide_largest
from eegfound.nn.max_norm import MaxNormConv1d, MaxNormLinear
from eegfound.nn.momentum import MomentumEncoder, linear_ramp
from eegfound.nn.objective import Losses, Objective
from eegfound.nn.patches import cut_patches
from eegfound.nn.rotary import rotary_angles, rotate

__all__ = [
    "DropPath",
    "Losses",
    "MaxNormConv1d",
    "MaxNormLinear",
    "MomentumEncoder",
    "Objective",
    "cut_patches",
    "drop_path",
    "hide_largest",
    "info_nce",
    "linear_ramp",
    "rotary_angles",
    "rotate",
]
