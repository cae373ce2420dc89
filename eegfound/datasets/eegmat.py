"""EEG during mental arithmetic (PhysioNet EEGMAT)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from eegfound.base import ChannelInfo
from eegfound.datasets.cards import CARDS
from eegfound.datasets.download import fetch_physionet
from eegfound.datasets.locate import data_folders, find_recordings, not_found, select_subjects
from eegfound.datasets.progress import track
from eegfound.datasets.recordings import read_recording
from eegfound.datasets.windows import Assembly, samples, scalp_channels, window_starts

CARD = CARDS["eegmat"]
BASE_URL = "https://physionet.org/files/eegmat/1.0.0/"
#: Recording number in the file name to label.
LABELS = {1: "rest", 2: "arithmetic"}
_FILE = r"(?:^|/)Subject(\d\d)_([12])\.(?:edf|npz\.bz2|npz\.xz)$"


def load_eegmat(
    subjects: Iterable[int] | None = None,
    *,
    window: float = 4.0,
    windows_per_recording: int | None = None,
    sfreq: float | None = 200.0,
    path: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load rest and mental arithmetic of 36 people.

    Each person has about three minutes of rest (``SubjectXX_1``) and one of
    serial subtraction (``SubjectXX_2``): without ``windows_per_recording`` the
    classes stand 3 to 1.

    Parameters
    ----------
    subjects : iterable of int | None
        Subjects 0 to 35; None means all that are there (or can be fetched).
    window : float
        Length of the windows in seconds. Windows do not overlap.
    windows_per_recording : int | None
        Windows of each recording, spread evenly over it. None takes them one
        after the other, as many as fit.
    sfreq : float | None
        Rate of the result in Hz. The published files have 500 Hz; None keeps
        the rate of the files.
    path : path-like | None
        Folder with ``Subject00_1.edf``, …. None looks below ``EEGFOUND_DATA``,
        then into the download cache.
    download : bool
        True fetches missing files from PhysioNet.
    progress : bool | None
        None shows a progress bar on terminals only.

    Returns
    -------
    X : ndarray of float32, shape (n_windows, 19, n_times)
        Volts.
    y : ndarray of str, shape (n_windows,)
        ``"rest"`` or ``"arithmetic"``.
    groups : ndarray of int, shape (n_windows,)
        Subject.
    info : ChannelInfo
        19 electrodes of the 10-20 system (``T3``, ``T4``, ``T5``, ``T6`` as
        recorded). The derivation ``A2-A1`` and the ECG are left out.

    Raises
    ------
    DatasetNotFoundError
        If files are missing and cannot be fetched.

    Notes
    -----
    Distributed under the ODC Attribution License 1.0 [1]_, [2]_.

    References
    ----------
    .. [1] Zyma I, et al. (2019). Electroencephalograms during mental arithmetic
       task performance. Data 4(1):14.
    .. [2] Goldberger A, et al. (2000). PhysioBank, PhysioToolkit, and
       PhysioNet. Circulation 101(23):e215-e220.
    """
    wanted = None if subjects is None else [int(subject) for subject in subjects]
    files = _find(path)
    needed = {(s, r) for s in (range(36) if wanted is None else wanted) for r in LABELS}
    fetch_all = wanted is None and not files  # a partial local copy is the user's choice
    if path is None and download and (fetch_all or (wanted and not needed <= set(files))):
        missing = sorted(needed - set(files))
        names = [f"Subject{s:02d}_{r}.edf" for s, r in missing]
        fetch_physionet(CARD, BASE_URL, names, progress=bool(progress))
        files = _find(path)
    if not files:
        raise not_found(CARD, "local copy")
    complete = {s for s, _ in files if all((s, r) in files for r in LABELS)}
    chosen = select_subjects(complete, wanted, CARD)

    assembly = Assembly()
    todo = [(subject, number) for subject in chosen for number in LABELS]
    for subject, number in track(todo, "EEGMAT", progress):
        recording = scalp_channels(read_recording(files[subject, number]))
        if sfreq is not None:
            recording = recording.resample(sfreq)
        length = samples(window, recording.sfreq, "window")
        name = f"Subject{subject:02d}_{number}"
        n_times = recording.data.shape[1]
        starts = window_starts(n_times, length, windows_per_recording, name=name)
        assembly.add(recording, starts, length, [LABELS[number]] * len(starts), subject, name)
    return assembly.arrays()


def _find(path: str | os.PathLike[str] | None) -> dict:
    return find_recordings(
        data_folders(CARD, path), _FILE, lambda m: (int(m.group(1)), int(m.group(2)))
    )
