"""Recordings for the open checkpoint: read, filtered, cut at random.

EEGMMIDB (PhysioNet, ODC-BY 1.0) below ``EEGFOUND_DATA``. No other set is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from eegfound_labram.vocabulary import PATCH, VOCABULARY

from eegfound.datasets.cards import CARDS
from eegfound.datasets.locate import data_folders, find_recordings
from eegfound.datasets.recordings import read_recording
from eegfound.models.network import SignalBatch
from eegfound.montage import match_vocabulary
from eegfound.preprocessing import bandpass, notch, resample

SFREQ, BAND, MAINS = 200.0, (0.1, 75.0), 60.0
N_PATCHES = 4
FILE = r"(?:^|/)S(\d{3})R(\d\d)\.(?:edf|npz\.bz2|npz\.xz)$"
#: Beyond this (in units of 0.1 mV) a window is an artifact, not EEG.
LIMIT = 8.0


@dataclass(frozen=True)
class Run:
    """A whole recording in the network's unit.

    Attributes
    ----------
    subject : int
        Whose it is.
    data : ndarray of float32, shape (n_channels, n_times)
        Units of 0.1 mV at 200 Hz.
    rows : ndarray of int, shape (n_channels,)
        Places of the electrodes in the vocabulary.
    """

    subject: int
    data: np.ndarray
    rows: np.ndarray

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.data.shape[1] / SFREQ


def load_runs() -> list[Run]:
    """Read all local EEGMMIDB recordings."""

    def key(match: re.Match[str]) -> tuple[int, int]:
        return int(match.group(1)), int(match.group(2))

    files = find_recordings(data_folders(CARDS["eegmmidb"]), FILE, key)
    if not files:
        raise SystemExit("No EEGMMIDB recording below EEGFOUND_DATA.")
    return [load_run(subject, path) for (subject, _), path in files.items()]


def load_run(subject: int, path: Path) -> Run:
    """Read one recording and bring it to the network's rate, band and unit."""
    recording = read_recording(path)
    rows = np.array(match_vocabulary(recording.ch_names, VOCABULARY).rows)
    known = rows >= 0
    data = recording.data[known]
    high = min(BAND[1], 0.45 * recording.sfreq)
    if 0.45 * recording.sfreq > MAINS:
        data = notch(data, recording.sfreq, MAINS)
    data = resample(bandpass(data, recording.sfreq, BAND[0], high), recording.sfreq, SFREQ)
    return Run(subject, (data * 1e4).astype(np.float32), rows[known])


class Windows:
    """Draw batches of windows with a random subset of electrodes each.

    Parameters
    ----------
    runs : list of Run
        Recordings.
    seed : int
        Seed of all draws.
    tokens : int
        Patches per batch: fewer epochs where there are more electrodes.
    """

    def __init__(self, runs: list[Run], seed: int, tokens: int = 1536) -> None:
        self.runs, self.tokens = runs, tokens
        self.rng = np.random.default_rng(seed)
        length = np.array([run.data.shape[1] for run in runs], dtype=float)
        self.share = length / length.sum()

    def draw(self) -> SignalBatch:
        """Return the next batch; its electrodes are common to its epochs."""
        first = self.runs[self.rng.integers(len(self.runs))]
        count = int(self.rng.integers(12, 65))
        rows = self.rng.permutation(first.rows)[: min(count, len(first.rows))]
        n = max(2, self.tokens // (len(rows) * N_PATCHES))
        signal = np.stack([self._window(rows) for _ in range(n)])
        return SignalBatch(torch.from_numpy(signal), torch.from_numpy(rows))

    def _window(self, rows: np.ndarray) -> np.ndarray:
        length = N_PATCHES * PATCH
        while True:
            run = self.runs[self.rng.choice(len(self.runs), p=self.share)]
            place = {row: i for i, row in enumerate(run.rows)}
            if any(row not in place for row in rows):
                continue
            start = int(self.rng.integers(run.data.shape[1] - length + 1))
            window = run.data[:, start : start + length][[place[row] for row in rows]]
            if 0 < np.abs(window).max() < LIMIT and window.std(axis=1).min() > 0:
                return window
