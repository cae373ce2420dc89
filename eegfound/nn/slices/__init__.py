"""Encoders that read one slice of time at a time into summary tokens.

The backbone that EEGPT (Wang et al., NeurIPS 2024) and DARE-EEG (Shao et al.,
arXiv 2605.18298) share: an encoder whose attention stays inside one slice, a
predictor of the features of hidden slices, a reconstructor of hidden patches,
and the masks and targets of their pretraining. Names of parameters are those of
the published state dicts. ``eegfound.nn.slices.tables`` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eegfound.nn.slices.encoder import SliceEncoder
    from eegfound.nn.slices.masking import (
        SliceMasks,
        draw_masks,
        one_slice_each,
        visible_per_slice,
    )
    from eegfound.nn.slices.measures import feature_measures, illustrate_masking, patch_measures
    from eegfound.nn.slices.predictor import SlicePredictor
    from eegfound.nn.slices.pretraining import Prediction, PretrainingNetworks
    from eegfound.nn.slices.reconstructor import SliceReconstructor
    from eegfound.nn.slices.tables import (
        DARE_SIZES,
        EEGPT_SIZES,
        PRETRAINING_CHANNELS,
        UNTRAINED_CHANNELS,
        VOCABULARY,
    )
    from eegfound.nn.slices.targets import feature_targets, patch_targets

_WHERE = {
    "DARE_SIZES": "tables",
    "EEGPT_SIZES": "tables",
    "PRETRAINING_CHANNELS": "tables",
    "Prediction": "pretraining",
    "PretrainingNetworks": "pretraining",
    "SliceEncoder": "encoder",
    "SliceMasks": "masking",
    "SlicePredictor": "predictor",
    "SliceReconstructor": "reconstructor",
    "UNTRAINED_CHANNELS": "tables",
    "VOCABULARY": "tables",
    "draw_masks": "masking",
    "feature_measures": "measures",
    "feature_targets": "targets",
    "illustrate_masking": "measures",
    "one_slice_each": "masking",
    "patch_measures": "measures",
    "patch_targets": "targets",
    "visible_per_slice": "masking",
}
__all__ = [
    "DARE_SIZES",
    "EEGPT_SIZES",
    "PRETRAINING_CHANNELS",
    "UNTRAINED_CHANNELS",
    "VOCABULARY",
    "Prediction",
    "PretrainingNetworks",
    "SliceEncoder",
    "SliceMasks",
    "SlicePredictor",
    "SliceReconstructor",
    "draw_masks",
    "feature_measures",
    "feature_targets",
    "illustrate_masking",
    "one_slice_each",
    "patch_measures",
    "patch_targets",
    "visible_per_slice",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
