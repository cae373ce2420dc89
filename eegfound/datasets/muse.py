"""Recordings with a four-channel Muse headband (NeuroTechX EEG notebooks)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
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
from eegfound.datasets.recordings import read_recording
from eegfound.datasets.windows import Assembly, samples, scalp_channels

CARD = CARDS["muse"]
#: Markers, and the default trial (seconds around the marker), of each paradigm.
PARADIGMS: dict[str, tuple[dict[str, str], float, float]] = {
    "N170": ({"1": "house", "2": "face"}, -0.1, 0.8),
    "P300": ({"1": "non-target", "2": "target"}, -0.1, 0.8),
    "left-right": ({"1": "class 1", "2": "class 2"}, -0.1, 0.4),
    "SSVEP": ({"1": "30 Hz", "2": "20 Hz"}, 0.0, 3.0),
}
_FILE = (
    r"(?:^|[/_-])({paradigm})[/_].*?subject(\d+)[/_](session\d+|test)[/_].*"
    r"\.(?:csv|npz\.bz2|npz\.xz)$"
)
_STAMP = re.compile(r"\d{4}-\d\d-\d\d-\d\d[._]\d\d[._]\d\d")
#: Subject, session, name of the file.
Key = tuple[int, str, str]


def load_muse(
    paradigm: str = "N170",
    subjects: Iterable[int] | None = None,
    *,
    tmin: float | None = None,
    tmax: float | None = None,
    path: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load trials recorded with a Muse headband.

    Parameters
    ----------
    paradigm : {"N170", "P300", "left-right", "SSVEP"}
        Experiment.
    subjects : iterable of int | None
        Subjects by number; None means all that are there.
    tmin, tmax : float | None
        Begin and end of a trial in seconds around the marker; the sample at
        ``tmax`` is not included. None takes the paradigm's own.
    path : path-like | None
        Data folder of the EEG notebooks (``visual/N170/subject1/session1/…``).
        None looks below ``EEGFOUND_DATA``.
    progress : bool | None
        None shows a progress bar on terminals only.

    Returns
    -------
    X : ndarray of float32, shape (n_trials, 4, n_times)
        Volts at 256 Hz.
    y : ndarray of str, shape (n_trials,)
        For instance ``"house"`` and ``"face"``.
    groups : ndarray of int, shape (n_trials,)
        Subject. There are few: these recordings serve comparisons within
        subjects.
    info : ChannelInfo
        TP9, AF7, AF8, TP10; the auxiliary input is left out.

    Raises
    ------
    DatasetNotFoundError
        If the files are not there.

    Warns
    -----
    DatasetWarning
        For trials that reach beyond the end of their recording, and for recordings
        that the publisher's folders hold twice.

    References
    ----------
    .. [1] Barachant A, Morrison D, Banville H, et al. (2019). muse-lsl. Zenodo.
       doi:10.5281/zenodo.3228861
    """
    if paradigm not in PARADIGMS:
        raise SpecError(f"paradigm={paradigm!r} is not one of {list(PARADIGMS)}.")
    codes, first, last = PARADIGMS[paradigm]
    first, last = first if tmin is None else tmin, last if tmax is None else tmax
    if last <= first:
        raise SpecError(f"tmax={last!r} must be later than tmin={first!r} (seconds).")
    files = find_recordings(
        data_folders(CARD, path),
        _FILE.format(paradigm=paradigm),
        lambda m: (int(m.group(2)), m.group(3).lower(), m.string.rsplit("/", 1)[-1]),
    )
    if not files:
        raise not_found(CARD, f"recordings of {paradigm}")
    wanted = None if subjects is None else [int(subject) for subject in subjects]
    chosen = set(select_subjects({key[0] for key in files}, wanted, CARD))

    assembly = Assembly()
    todo = _without_copies({key: file for key, file in files.items() if key[0] in chosen})
    for (subject, _, name), file in track(todo, f"Muse {paradigm}", progress):
        recording = scalp_channels(read_recording(file))
        length = samples(last - first, recording.sfreq, "tmax - tmin")
        offset = round(first * recording.sfreq)
        trials = [(a + offset, codes[code]) for a, _, code in recording.events if code in codes]
        starts, labels = [a for a, _ in trials], [label for _, label in trials]
        assembly.add(recording, starts, length, labels, subject, name)
    if assembly.lost:
        warn(
            f"Muse: {sum(assembly.lost.values())} trial(s) reach beyond their recording and were "
            f"left out ({listing(list(assembly.lost), 3)})."
        )
    return assembly.arrays()


def _without_copies(files: dict[Key, Path]) -> list[tuple[Key, Path]]:
    """Leave out recordings that stand twice: one subject cannot make two at one moment."""
    seen: dict[tuple[int, str], str] = {}
    kept = []
    for key, file in sorted(files.items()):
        stamp = _STAMP.search(file.name)
        moment = (key[0], stamp.group() if stamp else file.name)
        if moment in seen and stamp:
            warn(
                f"Muse: {key[1]} of subject {key[0]} repeats a recording of {seen[moment]} "
                f"({file.name}); it is loaded once."
            )
            continue
        seen[moment] = key[1]
        kept.append((key, file))
    return kept
