"""EEG motor movement and imagery (PhysioNet EEGMMIDB, BCI2000)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.datasets.cards import CARDS
from eegfound.datasets.locate import (
    data_folders,
    find_recordings,
    listing,
    not_found,
    select_subjects,
    warn,
)
from eegfound.datasets.progress import track
from eegfound.datasets.recordings import Recording, read_recording
from eegfound.datasets.windows import Assembly, samples, scalp_channels, window_starts

CARD = CARDS["eegmmidb"]
#: Rate of the dataset in Hz; subjects 88, 92 and 100 were recorded at 128 Hz.
SFREQ = 160.0
#: What the annotations mean, by task and run. T1 and T2 are left and right
#: fist in some runs, both fists and both feet in others.
TASKS: dict[str, dict[int, dict[str, str]]] = {
    "left_right": {run: {"T1": "left", "T2": "right"} for run in (4, 8, 12)},
    "left_right_executed": {run: {"T1": "left", "T2": "right"} for run in (3, 7, 11)},
    "hands_feet": {run: {"T1": "hands", "T2": "feet"} for run in (6, 10, 14)},
    "hands_feet_executed": {run: {"T1": "hands", "T2": "feet"} for run in (5, 9, 13)},
    "four_class": {
        **{run: {"T1": "left", "T2": "right"} for run in (4, 8, 12)},
        **{run: {"T1": "hands", "T2": "feet"} for run in (6, 10, 14)},
    },
    "eyes": {1: {"*": "open"}, 2: {"*": "closed"}},
}
_FILE = r"(?:^|/)S(\d{3})R(\d\d)\.(?:edf|npz\.bz2|npz\.xz)$"


def load_eegmmidb(
    subjects: Iterable[int] | None = None,
    task: str = "left_right",
    *,
    tmin: float = 0.0,
    tmax: float = 4.0,
    other_rate: str = "exclude",
    path: str | os.PathLike[str] | None = None,
    download: bool = True,
    progress: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load trials of motor imagery, movement, or eyes open and closed.

    Parameters
    ----------
    subjects : iterable of int | None
        Subjects 1 to 109. None means all subjects of the local copy.
    task : str
        ``"left_right"`` (imagined fists, runs 4, 8, 12), ``"hands_feet"``
        (imagined, both fists or both feet, runs 6, 10, 14), ``"four_class"``
        (both of these), the same with ``"_executed"`` for real movements (runs
        3, 7, 11 and 5, 9, 13), or ``"eyes"`` (runs 1 and 2).
    tmin, tmax : float
        Begin and end of a trial in seconds after the cue; the sample at
        ``tmax`` is not included. For ``"eyes"``, windows of ``tmax - tmin``
        that do not overlap.
    other_rate : {"exclude", "resample", "raise"}
        What to do with the subjects recorded at 128 Hz instead of 160 Hz.
    path : path-like | None
        Folder with ``S001/S001R01.edf``, …. None looks below
        ``EEGFOUND_DATA``, then where MNE keeps its downloads.
    download : bool
        True fetches missing runs of ``subjects`` through
        :func:`mne.datasets.eegbci.load_data`.
    progress : bool | None
        None shows a progress bar on terminals only.

    Returns
    -------
    X : ndarray of float32, shape (n_trials, 64, n_times)
        Volts at 160 Hz.
    y : ndarray of str, shape (n_trials,)
        ``"left"``, ``"right"``, ``"hands"``, ``"feet"``, ``"open"`` or ``"closed"``.
    groups : ndarray of int, shape (n_trials,)
        Subject.
    info : ChannelInfo
        64 electrodes (``Fc5.`` is called ``FC5``).

    Raises
    ------
    DatasetNotFoundError
        If files are missing and cannot be fetched.
    SpecError
        If ``task`` is unknown, or no trial is left.

    Warns
    -----
    DatasetWarning
        For subjects left out because of their rate, runs that are not there,
        and trials that reach beyond the end of their file.

    Notes
    -----
    The dataset is part of the pretraining data of several foundation models;
    see the contamination column of :func:`eegfound.benchmark.run_benchmark`.
    Distributed under the ODC Attribution License 1.0 [1]_, [2]_.

    References
    ----------
    .. [1] Schalk G, et al. (2004). BCI2000: a general-purpose brain-computer
       interface (BCI) system. IEEE Trans Biomed Eng 51(6):1034-1043.
    .. [2] Goldberger A, et al. (2000). PhysioBank, PhysioToolkit, and
       PhysioNet. Circulation 101(23):e215-e220.
    """
    if task not in TASKS:
        raise SpecError(f"task={task!r} is not one of {list(TASKS)}.")
    if other_rate not in ("exclude", "resample", "raise"):
        raise SpecError(f"other_rate={other_rate!r} must be 'exclude', 'resample' or 'raise'.")
    if tmax <= tmin:
        raise SpecError(f"tmax={tmax!r} must be later than tmin={tmin!r} (seconds).")
    runs = TASKS[task]
    wanted = None if subjects is None else [int(subject) for subject in subjects]
    files = _find(path, wanted, runs, download)
    chosen = select_subjects({s for s, run in files if run in runs}, wanted, CARD)

    assembly = Assembly()
    excluded: list[int] = []
    todo = [(s, run) for s in chosen for run in runs if (s, run) in files]
    for subject, run in track(todo, "EEGMMIDB", progress):
        if subject in excluded:
            continue
        recording = scalp_channels(read_recording(files[subject, run]))
        if recording.sfreq != SFREQ:
            if other_rate == "raise":
                raise SpecError(
                    f"S{subject:03d}R{run:02d} has {recording.sfreq:g} Hz, not {SFREQ:g} Hz: "
                    "pass other_rate='exclude' or other_rate='resample'."
                )
            if other_rate == "exclude":
                excluded.append(subject)
                continue
            recording = recording.resample(SFREQ)
        length = samples(tmax - tmin, SFREQ, "tmax - tmin")
        starts, labels = _trials(recording, runs[run], round(tmin * SFREQ), length)
        assembly.add(recording, starts, length, labels, subject, f"S{subject:03d}R{run:02d}")
    _tell(assembly, excluded, chosen, runs, files)
    if excluded and not assembly.windows:
        raise SpecError(
            f"Every subject asked for ({listing(excluded)}) was recorded at 128 Hz instead of "
            f"{SFREQ:g} Hz: pass other_rate='resample' to load them."
        )
    return assembly.arrays()


def _trials(
    recording: Recording, codes: Mapping[str, str], offset: int, length: int
) -> tuple[list[int], list[str]]:
    """Return first samples and labels of the trials of one run."""
    if "*" in codes:  # the whole run is of one class
        starts = window_starts(recording.data.shape[1], length)
        return list(starts), [codes["*"]] * len(starts)
    events = [
        (onset + offset, codes[label]) for onset, _, label in recording.events if label in codes
    ]
    return [start for start, _ in events], [label for _, label in events]


def _find(
    path: str | os.PathLike[str] | None,
    subjects: list[int] | None,
    runs: Mapping[int, object],
    download: bool,
) -> dict[tuple[int, int], Path]:
    def find(folders: list[Path]) -> dict[tuple[int, int], Path]:
        return find_recordings(folders, _FILE, lambda m: (int(m.group(1)), int(m.group(2))))

    files = find(data_folders(CARD, path) + ([] if path is not None else _mne_folders()))
    there = {s for s, run in files if run in runs}
    missing = [s for s in subjects or () if s not in there]
    if path is None and download and (missing or (subjects is None and not files)):
        for subject in missing or range(1, 110):
            fetched = _fetch(subject, list(runs))
            files.update({(subject, run): Path(file) for run, file in zip(runs, fetched)})
    if not files:
        raise not_found(CARD, "local copy")
    return files


def _mne_folders() -> list[Path]:
    """Return where MNE keeps its downloads of this dataset, without importing MNE."""
    bases = (os.environ.get("MNE_DATASETS_EEGBCI_PATH"), os.environ.get("MNE_DATA"), "~/mne_data")
    folders = [Path(base).expanduser() / "MNE-eegbci-data" for base in bases if base]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _fetch(subject: int, runs: list[int]) -> list[str]:
    import mne

    try:
        return mne.datasets.eegbci.load_data(subject, runs, update_path=False, verbose="error")
    except Exception as error:  # MNE, pooch and requests each have their own classes
        raise not_found(CARD, f"subject {subject}", f"download failed: {error}") from error


def _tell(
    assembly: Assembly,
    excluded: list[int],
    chosen: list[int],
    runs: Mapping[int, object],
    files: Mapping[tuple[int, int], Path],
) -> None:
    """Say what was left out."""
    if excluded:
        warn(
            f"EEGMMIDB: subject(s) {listing(excluded)} left out: recorded at 128 Hz instead of "
            f"{SFREQ:g} Hz (other_rate='resample' keeps them)."
        )
    partial = [s for s in chosen if s not in excluded and any((s, r) not in files for r in runs)]
    if partial:
        warn(
            f"EEGMMIDB: not all of the runs {list(runs)} are there for subject(s) "
            f"{listing(partial)}; loaded what is."
        )
    if assembly.lost:
        count = sum(assembly.lost.values())
        warn(
            f"EEGMMIDB: {count} trial(s) reach beyond the end of their file and were left out "
            f"({listing(list(assembly.lost))})."
        )
