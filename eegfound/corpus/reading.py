"""Finding recordings and reading them, whatever the format."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, SpecError, as_channel_info
from eegfound.corpus.sets import known_set
from eegfound.datasets.recordings import Recording, read_packed_recording
from eegfound.preprocessing.recordings import SUFFIXES

#: Endings of packed recordings (:func:`eegfound.datasets.read_packed`).
PACKED = (".npz.bz2", ".npz.xz")
#: Samples of all channels that are read at a time.
_BLOCK = 2**20
#: Later parts of a recording that MNE reads with the first one.
_CONTINUED = re.compile(r"^(.*)-(\d+)(\.fif(?:\.gz)?)$", re.IGNORECASE)
_SPLIT = re.compile(r"_split-0*(\d+)_", re.IGNORECASE)


@dataclass
class Signals:
    """A recording as the file has it.

    Attributes
    ----------
    data : ndarray of float64, shape (n_channels, n_times)
        EEG by type, not marked as bad.
    info : ChannelInfo
        Names and rate of ``data``.
    volts : bool
        True where the reader gives volts; False where the file does not say
        what its numbers are.
    subject : str | None
        Whom the file says it shows.
    rejected : list of (int, int)
        Stretches that the file marks as bad.
    left_out : list of (str, str)
        Channels left out already, and why.
    notes : list of str
        What the reader had to say.
    licence : str
        As the file states it.
    """

    data: np.ndarray
    info: ChannelInfo
    volts: bool = True
    subject: str | None = None
    rejected: list[tuple[int, int]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    licence: str = ""


def find_files(paths: Iterable[str | Path] | str | Path, dataset: str = "") -> list[Path]:
    """Return the recordings among files and below folders, each once, sorted.

    Parameters
    ----------
    paths : path-like | iterable of path-like
        Files are taken as they are. Folders are searched for the endings of
        :func:`eegfound.preprocessing.find_recordings` and packed recordings.
    dataset : str
        Known sets have further endings.

    Returns
    -------
    list of Path
        Hidden files and later parts of split recordings are left out.

    Raises
    ------
    SpecError
        If a path does not exist, or there is no recording at all.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    endings = (*SUFFIXES, *PACKED, *(ending for ending, _ in known_set(dataset).readers))
    found: dict[Path, None] = {}
    asked = [Path(path).expanduser() for path in paths]
    for path in asked:
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.name.lower().endswith(endings)]
            found.update(dict.fromkeys(p for p in inside if not _hidden(p) and not _later_part(p)))
        elif path.is_file():
            found[path] = None
        else:
            raise SpecError(f"{path} does not exist.")
    if not found:
        raise SpecError(
            f"No recording ({', '.join(endings)}) in {', '.join(map(str, asked)) or 'nothing'}."
        )
    return list(found)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _later_part(path: Path) -> bool:
    found = _CONTINUED.match(path.name)
    if found and (path.parent / (found.group(1) + found.group(3))).exists():
        return True
    split = _SPLIT.search(path.name)
    return split is not None and int(split.group(1)) > 1


def companions(path: Path) -> list[Path]:
    """Return all files of a recording: BrainVision and EEGLAB have several."""
    name = path.name.lower()
    others = {".vhdr": (".eeg", ".vmrk"), ".set": (".fdt",)}
    ending = next((e for e in others if name.endswith(e)), None)
    beside = [path.with_suffix(e) for e in others.get(ending or "", ())]
    return [path, *(p for p in beside if p.is_file())]


def sha256_of(paths: Sequence[Path]) -> str:
    """Return the digest of the content of files."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_dir():  # .mff
            for inside in sorted(p for p in path.rglob("*") if p.is_file()):
                digest.update(inside.read_bytes())
            continue
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def read_signals(path: Path, dataset: str = "") -> Signals:
    """Read one recording.

    Parameters
    ----------
    path : Path
        Anything MNE reads, a packed recording, or a file of a known set.
    dataset : str
        Name of the set.

    Returns
    -------
    Signals
        What is EEG by type.

    Raises
    ------
    SpecError
        If it cannot be read, with the reader's reason.
    """
    name = path.name.lower()
    own = [reader for ending, reader in known_set(dataset).readers if name.endswith(ending)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if name.endswith(PACKED):
                signals = _from_recording(read_packed_recording(path))
            elif own:
                signals = _from_recording(own[0](path))
            else:
                signals = _from_mne(path)
        except SpecError:
            raise
        except Exception as error:  # each reader raises its own kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SpecError(f"cannot be read as a recording: {reason}") from error
    signals.notes += list(dict.fromkeys(" ".join(str(w.message).split()) for w in said))
    return signals


def _from_recording(recording: Recording) -> Signals:
    meta = recording.meta
    return Signals(
        np.ascontiguousarray(recording.data, dtype=np.float64),
        ChannelInfo(tuple(recording.ch_names), recording.sfreq),
        volts="unit_note" not in meta,
        subject=None if meta.get("subject") is None else str(meta["subject"]),
        licence=str(meta.get("licence", "")),
    )


def _from_mne(path: Path) -> Signals:
    import mne

    raw = mne.io.read_raw(path, preload=False, verbose="warning")
    info = as_channel_info(raw.info)
    picks = info.eeg_picks()
    kinds = info.ch_types or ()
    left_out = [
        (name, "marked as bad" if name in info.bads else f"{kinds[i]} by type")
        for i, name in enumerate(info.ch_names)
        if i not in picks
    ]
    if not picks:
        raise SpecError(
            "has no EEG channel that is not marked as bad "
            f"(types: {', '.join(sorted(set(kinds)))}; bad: {len(info.bads)})."
        )
    data = np.empty((len(picks), raw.n_times))
    step = max(1, _BLOCK // len(picks))
    for start in range(0, raw.n_times, step):
        stop = min(start + step, raw.n_times)
        data[:, start:stop] = raw.get_data(picks=picks, start=start, stop=stop, verbose="error")
    names = tuple(info.ch_names[i] for i in picks)
    positions = {k: v for k, v in (info.positions or {}).items() if k in names}
    return Signals(
        data,
        ChannelInfo(names, info.sfreq, positions=positions or None),
        subject=_subject(raw.info),
        rejected=_bad_stretches(raw),
        left_out=left_out,
    )


def _subject(info: Any) -> str | None:
    told = info.get("subject_info") or {}
    return str(told["his_id"]) if told.get("his_id") else None


def _bad_stretches(raw: Any) -> list[tuple[int, int]]:
    """Return what annotations call bad, and the seams of joined recordings."""
    sfreq = float(raw.info["sfreq"])
    first = raw.first_samp / sfreq  # where the onsets of a Raw count from
    found = []
    for note in raw.annotations:
        text = str(note["description"]).lower()
        if not text.startswith("bad") and text not in ("edge boundary", "boundary"):
            continue
        start = int(np.floor((note["onset"] - first) * sfreq))
        found.append((start, start + max(1, int(np.ceil(note["duration"] * sfreq)) + 1)))
    return found
