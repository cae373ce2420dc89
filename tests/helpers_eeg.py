"""Synthetic EEG with known structure, for any test that needs a signal."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from eegfound import ChannelInfo
from eegfound.montage import electrode_positions

NAMES_8 = ("F3", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4")
NAMES_22 = (
    "Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6",
    "CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz",
)  # fmt: skip


def make_eeg(
    n_subjects: int = 4,
    n_per_class: int = 12,
    ch_names: tuple[str, ...] = NAMES_8,
    *,
    sfreq: float = 128.0,
    seconds: float = 2.0,
    n_classes: int = 2,
    effect: float = 1.0,
    subject_spread: float = 0.2,
    amplitude: float = 1e-5,
    dtype: type = np.float64,
    seed: int = 0,
):
    """Return epochs in which a class is a drop of 10 Hz power in one source.

    Source ``k`` lies below one electrode (far from the other sources) and
    oscillates near 10 Hz; in class ``k`` its amplitude is divided by
    ``1 + effect``, as in motor imagery. Sources and background spread over
    the head as volume conduction does, so neighbouring electrodes are alike;
    each has noise of its own as well. Subjects differ by a random mixing of
    all channels of size ``subject_spread``.

    Returns
    -------
    X : ndarray, shape (n_subjects * n_classes * n_per_class, n_channels, n_times)
        Volts.
    y : ndarray of str
        "class0", "class1", …
    groups : ndarray of int
        Subjects.
    info : ChannelInfo
        Names and rate.
    """
    rng = np.random.default_rng(seed)
    n_channels, n_times = len(ch_names), round(seconds * sfreq)
    spread, patterns = _volume_conduction(ch_names, n_classes)
    time = np.arange(n_times) / sfreq
    epochs, labels, subjects = [], [], []
    for subject in range(n_subjects):
        mixing = np.eye(n_channels) + subject_spread * rng.standard_normal(
            (n_channels, n_channels)
        ) / np.sqrt(n_channels)
        for label in np.tile(np.arange(n_classes), n_per_class):
            gain = np.full(n_classes, 2.0)
            gain[label] /= 1 + effect
            phase = rng.uniform(0, 2 * np.pi, (n_classes, 1))
            frequency = 10 + rng.uniform(-1, 1, (n_classes, 1))
            sources = gain[:, None] * np.sin(2 * np.pi * frequency * time + phase)
            background = np.cumsum(rng.standard_normal((n_channels, n_times)), axis=1)
            background = (background - background.mean(axis=1, keepdims=True)) / np.sqrt(n_times)
            background = background + 0.5 * rng.standard_normal((n_channels, n_times))
            sensors = 0.3 * rng.standard_normal((n_channels, n_times))
            epochs.append(mixing @ (patterns @ sources + spread @ background + sensors))
            labels.append(f"class{label}")
            subjects.append(subject)
    X = (amplitude * np.array(epochs)).astype(dtype)
    return X, np.array(labels), np.array(subjects), ChannelInfo(ch_names, sfreq)


def _volume_conduction(ch_names, n_sources, width=0.05):
    """Return how background (a square root) and far-apart sources reach the electrodes."""
    positions = electrode_positions(list(ch_names))
    places = np.array([positions[name] for name in ch_names])
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    kernel = np.exp(-0.5 * (distance / width) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    centers = [0] if len(ch_names) <= n_sources else [int(distance.sum(axis=0).argmax())]
    while len(centers) < n_sources:
        centers.append(int(distance[centers].min(axis=0).argmax()))
    return root, kernel[:, centers]


def accuracy(estimator, X, y, groups):
    """Return the mean accuracy over subjects left out."""
    scores = cross_val_score(
        estimator, X, y, groups=groups, cv=LeaveOneGroupOut(), error_score="raise"
    )
    return scores.mean()
