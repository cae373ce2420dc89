"""Electrodes and named sizes of the slice models, as plain data."""

from __future__ import annotations

from typing import Any

#: Samples of a slice of time (a quarter of a second at 256 Hz).
PATCH = 64

#: Electrodes with a row in the table of channels, in the order of its rows.
VOCABULARY: tuple[str, ...] = (
    "FP1", "FPZ", "FP2", "AF7", "AF3", "AF4", "AF8",
    "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8",
    "FT7", "FC5", "FC3", "FC1", "FCZ", "FC2", "FC4", "FC6", "FT8",
    "T7", "C5", "C3", "C1", "CZ", "C2", "C4", "C6", "T8",
    "TP7", "CP5", "CP3", "CP1", "CPZ", "CP2", "CP4", "CP6", "TP8",
    "P7", "P5", "P3", "P1", "PZ", "P2", "P4", "P6", "P8",
    "PO7", "PO5", "PO3", "POZ", "PO4", "PO6", "PO8",
    "O1", "OZ", "O2",
)  # fmt: skip

#: Electrodes that no pretraining recording had: their rows never got a gradient.
UNTRAINED_CHANNELS: tuple[str, ...] = ("AF7", "AF8", "PO5", "PO6")

#: The 58 electrodes of pretraining, in order.
PRETRAINING_CHANNELS: tuple[str, ...] = tuple(
    name for name in VOCABULARY if name not in UNTRAINED_CHANNELS
)


def _size(width: int, n_summary: int, depths: tuple[int, int, int], heads: int) -> dict[str, Any]:
    return {"width": width, "n_summary": n_summary, "depths": depths, "heads": heads}


#: EEGPT's sizes (paper, Table 6): width, summary tokens per slice, depths of
#: encoder, predictor and reconstructor, and heads.
EEGPT_SIZES: dict[str, dict[str, Any]] = {
    "tiny1": _size(64, 1, (2, 2, 4), 4),
    "tiny2": _size(64, 4, (2, 2, 4), 4),
    "tiny3": _size(64, 4, (8, 8, 8), 4),
    "little": _size(128, 4, (8, 8, 8), 4),
    "base1": _size(256, 1, (6, 6, 6), 4),
    "base2": _size(256, 4, (8, 8, 8), 4),
    "base3": _size(512, 1, (6, 6, 6), 8),
    "large": _size(512, 4, (8, 8, 8), 8),
}

#: DARE-EEG's sizes; all but ``light`` are EEGPT's under other names.
DARE_SIZES: dict[str, dict[str, Any]] = {
    "nano": EEGPT_SIZES["tiny1"],
    "light": _size(128, 1, (6, 6, 6), 4),
    "small": EEGPT_SIZES["base1"],
    "base": EEGPT_SIZES["base2"],
    "deep": EEGPT_SIZES["large"],
}
