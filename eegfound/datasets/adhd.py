"""EEG of children with and without ADHD (Nasrabadi et al., IEEE DataPort)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.datasets.cards import CARDS
from eegfound.datasets.locate import data_folders, find_recordings, not_found, select_subjects
from eegfound.datasets.progress import track
from eegfound.datasets.recordings import Recording, read_mat, read_packed_recording
from eegfound.datasets.windows import Assembly, samples, window_starts

CARD = CARDS["adhd"]
SFREQ = 128.0
#: Electrodes in the order of the columns of the files, as published.
CH_NAMES = (
    "Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2",
    "F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz",
)  # fmt: skip
#: The publisher gives no calibration. With a tenth of a microvolt per unit
#: blinks have 100 to 250 µV and the background about 10 µV, as children's EEG has.
NOMINAL_VOLTS_PER_UNIT = 1e-7
_FILE = r"(?:^|/)(v\d+p?)\.(?:mat|npz\.bz2|npz\.xz)$"
_GROUP = re.compile(r"^(ADHD|Control)[ _-]?part", re.IGNORECASE)


def load_adhd(
    subjects: Iterable[str] | None = None,
    *,
    window: float = 4.0,
    windows_per_recording: int | None = None,
    volts_per_unit: float = NOMINAL_VOLTS_PER_UNIT,
    labels: Mapping[str, str] | None = None,
    path: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load windows of children with ADHD and of controls.

    Parameters
    ----------
    subjects : iterable of str | None
        Children by file name (``"v10p"``); None means all that are there.
    window : float
        Length of the windows in seconds. Windows do not overlap.
    windows_per_recording : int | None
        Windows of each child, spread evenly over the recording. None takes
        as many as fit.
    volts_per_unit : float
        Volts per unit of the files. The files hold **raw converter units,
        not microvolts**, and no calibration is published; the default (0.1 µV)
        is an assumption that gives plausible amplitudes. It matters to models
        that read amplitudes, not to Riemannian or z-scored features.
    labels : mapping of str to str | None
        Child to ``"ADHD"`` or ``"control"``, where the folders do not say it.
        File names do not tell the group.
    path : path-like | None
        Folder with ``ADHD_part1/``, ``Control_part1/``, …. None looks below
        ``EEGFOUND_DATA``.
    progress : bool | None
        None shows a progress bar on terminals only.

    Returns
    -------
    X : ndarray of float32, shape (n_windows, 19, n_times)
        Nominal volts at 128 Hz; the mean of each channel over its recording
        (a constant of the converter) is subtracted.
    y : ndarray of str, shape (n_windows,)
        ``"ADHD"`` or ``"control"``: one label per child, so that every
        split must keep children together.
    groups : ndarray of str, shape (n_windows,)
        Child.
    info : ChannelInfo
        19 electrodes.

    Raises
    ------
    DatasetNotFoundError
        If the files are not there. The publisher wants an account, so that
        they cannot be fetched automatically.
    SpecError
        If the group of a child cannot be told.

    Notes
    -----
    Distributed under CC BY 4.0 [1]_.

    References
    ----------
    .. [1] Nasrabadi AM, Allahverdy A, Samavati M, Mohammadi MR (2020). EEG data
       for ADHD / control children. IEEE DataPort. doi:10.21227/rzfh-zn36
    """
    folders = data_folders(CARD, path)
    files = find_recordings(folders, _FILE, lambda m: m.group(1).lower())
    if not files:
        raise not_found(CARD, "local copy")
    chosen = select_subjects(files, subjects, CARD)
    assembly = Assembly()
    for child in track(chosen, "ADHD", progress):
        recording = _read(files[child])
        label = _label(child, files[child], recording, labels)
        centred = recording.data - recording.data.mean(axis=1, keepdims=True)
        recording = Recording(centred * volts_per_unit, list(CH_NAMES), recording.sfreq)
        length = samples(window, SFREQ, "window")
        n_times = recording.data.shape[1]
        starts = window_starts(n_times, length, windows_per_recording, name=child)
        assembly.add(recording, starts, length, [label] * len(starts), child, child)
    return assembly.arrays()


def _read(file: Path) -> Recording:
    if file.suffix == ".mat":
        return read_mat(file, list(CH_NAMES), SFREQ)
    recording = read_packed_recording(file)
    if tuple(recording.ch_names) != CH_NAMES or recording.sfreq != SFREQ:
        raise SpecError(f"{file.name} has not the 19 electrodes at 128 Hz of the dataset.")
    return recording


def _label(child: str, file: Path, recording: Recording, labels: Mapping[str, str] | None) -> str:
    """Return the group: as the user says, as the file says, as the folder says."""
    folder = _GROUP.match(file.parent.name)
    told = (
        (labels or {}).get(child)
        or recording.meta.get("label")
        or (folder.group(1) if folder else None)
    )
    known = {"adhd": "ADHD", "control": "control"}
    if str(told).lower() not in known:
        raise SpecError(
            f"The group of child {child!r} cannot be told: keep {file.name} in a folder named "
            "ADHD_part1, ADHD_part2, Control_part1 or Control_part2 as published, or pass "
            f"labels={{{child!r}: 'ADHD'}} (or 'control')."
        )
    return known[str(told).lower()]
