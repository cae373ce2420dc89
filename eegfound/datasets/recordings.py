"""One recording, whatever the file it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import SpecError
from eegfound.datasets.packed import read_packed


@dataclass
class Recording:
    """Continuous signals with their events.

    Attributes
    ----------
    data : ndarray, shape (n_channels, n_times)
        Volts, or the file's own unit where the dataset gives none.
    ch_names : list of str
        Names as the file has them.
    sfreq : float
        Hz.
    events : list of (int, int, str)
        First sample, duration in samples, label.
    meta : dict
        Whatever else the file says.
    """

    data: np.ndarray
    ch_names: list[str]
    sfreq: float
    events: list[tuple[int, int, str]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    def pick(self, picks: list[int], names: list[str]) -> Recording:
        """Return the recording with some channels only, renamed."""
        return Recording(self.data[picks], names, self.sfreq, self.events, self.meta)

    def resample(self, sfreq: float) -> Recording:
        """Return the recording at another rate, events moved along."""
        if abs(sfreq - self.sfreq) < 1e-6 * sfreq:
            return self
        # Not mne.filter.resample(npad="auto"): padding to a power of two shifts the
        # signal by a fraction of a sample when the rates' ratio is not an integer.
        from eegfound.preprocessing import resample

        ratio = sfreq / self.sfreq
        data = resample(self.data, self.sfreq, sfreq)
        events = [(round(a * ratio), round(n * ratio), label) for a, n, label in self.events]
        return Recording(data, self.ch_names, sfreq, events, self.meta)


def read_edf(path: Path) -> Recording:
    """Read an EDF(+) file with its annotations; volts."""
    import mne

    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    sfreq = float(raw.info["sfreq"])
    events = [
        (round(note["onset"] * sfreq), round(note["duration"] * sfreq), str(note["description"]))
        for note in raw.annotations
    ]
    return Recording(raw.get_data(), list(raw.ch_names), sfreq, events)


def read_packed_recording(path: Path) -> Recording:
    """Read a packed recording; volts, or raw units where it states so."""
    data, events, meta = read_packed(path)
    # Codes are either named (T1 is 1) or are themselves the names of the markers.
    named = {v: k for k, v in meta.get("codes", {}).items() if isinstance(v, int)}
    if "unit_note" not in meta:
        data = data * 1e-6
    return Recording(
        data,
        list(meta["ch_names"]),
        float(meta["sfreq"]),
        [(int(a), int(n), str(named.get(int(code), int(code)))) for a, n, code in events],
        meta,
    )


def read_muse_csv(path: Path) -> Recording:
    """Read a table of the Muse recorder: timestamps, microvolts, markers."""
    import pandas as pd

    table = pd.read_csv(path)
    marker = next((name for name in table.columns if str(name).startswith("Marker")), None)
    if marker is None or "timestamps" not in table.columns:
        raise SpecError(
            f"{path.name} is not a Muse recording: it needs the columns 'timestamps' and "
            f"'Marker0', it has {list(table.columns)}."
        )
    signals = table.drop(columns=["timestamps", marker])
    codes = table[marker].to_numpy()
    events = [(int(i), 0, str(int(codes[i]))) for i in np.flatnonzero(codes)]
    # The recorder writes the nominal rate; time stamps of the radio link jitter around it.
    return Recording(signals.to_numpy(float).T * 1e-6, list(signals.columns), 256.0, events)


def read_mat(path: Path, ch_names: list[str], sfreq: float) -> Recording:
    """Read the only variable, (n_times, n_channels), of a MATLAB file; its own unit."""
    from scipy.io import loadmat

    content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    matrices = [v for v in content.values() if np.ndim(v) == 2 and v.shape[1] == len(ch_names)]
    if len(matrices) != 1:
        raise SpecError(
            f"{path.name} must hold one matrix (n_times, {len(ch_names)}); it holds "
            f"{ {k: np.shape(v) for k, v in content.items()} }."
        )
    return Recording(np.asarray(matrices[0], dtype=float).T, list(ch_names), sfreq)


_READERS: dict[str, Callable[[Path], Recording]] = {
    ".edf": read_edf,
    ".csv": read_muse_csv,
    ".bz2": read_packed_recording,
    ".xz": read_packed_recording,
}


def read_recording(path: Path) -> Recording:
    """Read a recording by the ending of its name.

    Parameters
    ----------
    path : Path
        ``.edf``, ``.csv`` (Muse), ``.npz.bz2`` or ``.npz.xz``.

    Returns
    -------
    Recording
        Signals, names, rate and events.
    """
    return _READERS[path.suffix.lower()](path)
