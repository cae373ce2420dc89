"""The SEED recordings of MMM's experiments: electrode order, labels, split.

A recording is one session of one person: differential entropy of 62 channels,
3394 windows of one second from 15 film clips, 5 bands. The files themselves
are not distributed here (SEED is given out by its authors on request).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eegfound.base import SpecError
from eegfound_mmm.normalization import BandStatistics
from eegfound_mmm.topology import VOCABULARY

#: Channels in the order of SEED's files.
FILE_ORDER: tuple[str, ...] = (
    "FP1", "FPZ", "FP2", "AF3", "AF4", "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8", "FT7",
    "FC5", "FC3", "FC1", "FCZ", "FC2", "FC4", "FC6", "FT8", "T7", "C5", "C3", "C1", "CZ", "C2",
    "C4", "C6", "T8", "TP7", "CP5", "CP3", "CP1", "CPZ", "CP2", "CP4", "CP6", "TP8", "P7", "P5",
    "P3", "P1", "PZ", "P2", "P4", "P6", "P8", "PO7", "PO5", "PO3", "POZ", "PO4", "PO6", "PO8",
    "CB1", "O1", "OZ", "O2", "CB2",
)  # fmt: skip
#: ``features[REORDER]`` brings SEED's channels into the order of the topology.
REORDER = np.array([FILE_ORDER.index(name) for name in VOCABULARY])
#: Emotion of each clip, the same in every session: -1 negative, 0 neutral, 1 positive.
CLIP_LABELS: tuple[int, ...] = (1, 0, -1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 0, 1, -1)
#: Windows of one second in each clip.
CLIP_WINDOWS: tuple[int, ...] = (
    235, 233, 206, 238, 185, 195, 237, 216, 265, 237, 235, 233, 235, 238, 206,
)  # fmt: skip
#: The first clips are for training, the rest for testing.
N_TRAIN_CLIPS = 9


def labels() -> np.ndarray:
    """Return the class (0, 1, 2) of each of the 3394 windows of a recording."""
    return np.repeat(np.array(CLIP_LABELS) + 1, CLIP_WINDOWS)


class Split(NamedTuple):
    """Training and test part of a recording.

    Attributes
    ----------
    X_train, X_test : ndarray of float32, shape (n_windows, 62, 5)
        Normalized features, channels in the order of the topology.
    y_train, y_test : ndarray of int64, shape (n_windows,)
        Classes.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def split_recording(features: np.ndarray, normalization: str = "gaussian") -> Split:
    """Split a recording by clips and normalize it with the training part.

    Parameters
    ----------
    features : ndarray, shape (62, 3394, 5)
        Differential entropy, clips one after the other, channels in
        :data:`FILE_ORDER`.
    normalization : {"gaussian", "minmax"}
        See :class:`eegfound_mmm.normalization.BandStatistics`.

    Returns
    -------
    Split
        Both parts.

    Raises
    ------
    SpecError
        If the array is no SEED recording.

    Notes
    -----
    The authors stop training early on the test part and report its best
    accuracy. For a number that means something hold out training clips.
    """
    wanted = (len(FILE_ORDER), sum(CLIP_WINDOWS))
    if features.ndim != 3 or features.shape[:2] != wanted:
        raise SpecError(
            f"features has shape {features.shape}; a SEED recording has {wanted[0]} channels and "
            f"{wanted[1]} windows: concatenate de_LDS1 to de_LDS15 along their second axis."
        )
    windows = np.asarray(features).transpose(1, 0, 2)
    n_train = sum(CLIP_WINDOWS[:N_TRAIN_CLIPS])
    statistics = BandStatistics.of(windows[:n_train])
    X = statistics.apply(windows, normalization)[:, REORDER].astype(np.float32)
    y = labels()
    return Split(X[:n_train], y[:n_train], X[n_train:], y[n_train:])
