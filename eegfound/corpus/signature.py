"""Telling that two files hold the same recording.

Copies differ in their bytes: another format rounds samples in another way,
EDF fills up its last second, and a derived set has another rate. What they
share is how signals go up and down. A signature keeps that of a few stretches
at 32 Hz and a few electrodes, which is enough to tell recordings apart: two
different ones never agree everywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from eegfound.preprocessing.resampling import resample

#: Rate of a signature in Hz, and seconds of each of its stretches.
RATE, SECONDS = 32.0, 4.0
#: Where the stretches begin, in seconds from the start: any two copies share them.
STARTS = (0.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
#: Electrodes of a signature at the most, these first.
MOST = 8
PREFERRED = ("Cz", "C3", "C4", "Fz", "Pz", "O1", "O2", "Fp1", "T7", "T8", "P7", "P8")
#: Correlation in the middle of electrodes and stretches from which on two are the same.
SAME = 0.95
#: Stretches of electrodes that must be shared at least.
FEWEST = 3
#: Seconds by which the durations of copies may differ.
SLACK = 2.0
#: Samples dropped at the ends of a stretch: resampling has no neighbours there.
_EDGE = 8
_LENGTH = round(RATE * SECONDS) - 2 * _EDGE - 1


def signature(data: np.ndarray, names: Sequence[str], sfreq: float) -> dict[str, str]:
    """Return what identifies a recording.

    Parameters
    ----------
    data : ndarray, shape (n_channels, n_times)
        Signals in any unit; NaN where there are gaps.
    names : sequence of str
        Canonical names.
    sfreq : float
        Hz.

    Returns
    -------
    dict of str to str
        Electrode to its stretches, as text. Empty for recordings shorter than
        one stretch.
    """
    order = {name: i for i, name in enumerate(PREFERRED)}
    ranked = sorted(range(len(names)), key=lambda i: (order.get(names[i], MOST * 2), names[i]))
    length = round(SECONDS * sfreq)
    starts = [round(s * sfreq) for s in STARTS if round(s * sfreq) + length <= data.shape[1]]
    if not starts:
        return {}
    picks = ranked[:MOST]
    codes = [_code(data[picks, start : start + length], sfreq) for start in starts]
    together = np.stack(codes, axis=1)  # (channels, stretches, samples)
    return {
        names[pick]: base64.b64encode(own.tobytes()).decode() for pick, own in zip(picks, together)
    }


def _code(part: np.ndarray, sfreq: float) -> np.ndarray:
    """Return the differences of a stretch as eight-bit numbers, zeros where it is flat."""
    gap = ~np.isfinite(part).all(axis=1)
    slow = resample(np.where(gap[:, np.newaxis], 0.0, part), sfreq, RATE)
    change = np.diff(slow[:, _EDGE : _EDGE + _LENGTH + 1], axis=1)
    change -= change.mean(axis=1, keepdims=True)
    largest = np.abs(change).max(axis=1, keepdims=True)
    moving = (largest > 0) & ~gap[:, np.newaxis]
    scaled = np.divide(change, largest, out=np.zeros_like(change), where=moving)
    return np.round(127 * scaled).astype(np.int8)


class Known:
    """Recordings that are kept already, to be asked whether one is among them."""

    def __init__(self) -> None:
        self._by_duration: dict[int, list[tuple[str, float, dict[str, np.ndarray]]]] = {}

    def add(self, name: str, seconds: float, codes: dict[str, str]) -> None:
        """Remember a recording under ``name``."""
        if codes:
            entry = (name, seconds, {k: _decode(v) for k, v in codes.items()})
            self._by_duration.setdefault(int(seconds // SLACK), []).append(entry)

    def find(self, seconds: float, codes: dict[str, str]) -> str | None:
        """Return the name of the recording that this one is a copy of, if any."""
        own = {k: _decode(v) for k, v in codes.items()}
        bucket = int(seconds // SLACK)
        for key in (bucket - 1, bucket, bucket + 1):
            for name, length, other in self._by_duration.get(key, ()):
                if abs(length - seconds) <= SLACK and agreement(own, other) >= SAME:
                    return name
        return None


def _decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.int8).reshape(-1, _LENGTH)


def _unit(codes: np.ndarray) -> np.ndarray:
    wide = codes.astype(np.float32)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, norm, out=np.zeros_like(wide), where=norm > 0)


def agreement(first: dict[str, Any], second: dict[str, Any]) -> float:
    """Return the median correlation over shared electrodes and stretches.

    Parameters
    ----------
    first, second : dict of str to ndarray of int8, shape (n_stretches, n_samples)
        Decoded signatures.

    Returns
    -------
    float
        0 if nothing moves in either, or if so little is shared that it could
        be the same by chance.
    """
    values: list[float] = []
    for name in sorted(set(first) & set(second)):
        n = min(len(first[name]), len(second[name]))
        a, b = _unit(first[name][:n]), _unit(second[name][:n])
        values += (a * b).sum(axis=1)[a.any(axis=1) | b.any(axis=1)].tolist()
    return float(np.median(values)) if len(values) >= FEWEST else 0.0
