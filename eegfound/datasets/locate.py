"""Finding the files of a dataset on this machine."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eegfound.base import SpecError
from eegfound.datasets.cards import DatasetCard

#: Environment variable that names the folder (or folders) of local copies.
DATA_VARIABLE = "EEGFOUND_DATA"

Key = TypeVar("Key")


class DatasetNotFoundError(FileNotFoundError):
    """The files of a dataset are not on this machine."""


class DatasetWarning(UserWarning):
    """Some recordings or trials of a dataset were left out."""


def cache_folder(dataset: str) -> Path:
    """Return where downloads of a dataset are kept.

    Parameters
    ----------
    dataset : str
        Name of the dataset.

    Returns
    -------
    Path
        ``$EEGFOUND_CACHE/datasets/<dataset>`` or the cache folder of the system.
    """
    base = os.environ.get("EEGFOUND_CACHE")
    if base is None:
        import pooch

        base = str(pooch.os_cache("eegfound"))
    return Path(base) / "datasets" / dataset


def data_folders(card: DatasetCard, path: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders in which a local copy of a dataset may stand.

    Parameters
    ----------
    card : DatasetCard
        The dataset.
    path : path-like | None
        Folder named by the user, which is then the only one.

    Returns
    -------
    list of Path
        Existing folders in the order in which they are searched.
    """
    if path is not None:
        folder = Path(path).expanduser()
        if not folder.exists():
            raise DatasetNotFoundError(f"path={str(path)!r} does not exist.\n{_ways_out(card)}")
        return [folder]
    roots = [Path(p).expanduser() for p in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if p]
    places = [
        root / middle / name
        for root in roots
        for middle in ("", "originals", "packed")
        for name in card.folders
    ]
    # EEGFOUND_DATA may also be the folder of the one dataset that somebody has.
    places += [root for root in roots if root.name in card.folders]
    places.append(cache_folder(card.name))
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def find_recordings(
    folders: Iterable[Path], pattern: str, key: Callable[[re.Match[str]], Key]
) -> dict[Key, Path]:
    """Return the recordings below some folders, by key.

    Where several folders hold the same recording, the folder with the most
    recordings wins, so that one load mixes sources only when it must.

    Parameters
    ----------
    folders : iterable of Path
        Folders, searched with everything below them.
    pattern : str
        Regular expression for the path below the folder, with ``/`` between parts.
    key : callable
        Turns a match into the key of the recording.

    Returns
    -------
    dict
        Key to file, sorted by key.
    """
    regex = re.compile(pattern, re.IGNORECASE)
    found: list[dict[Key, Path]] = []
    for folder in folders:
        here: dict[Key, Path] = {}
        for file in sorted(folder.rglob("*")):
            match = regex.search(file.relative_to(folder.parent).as_posix())
            if match and file.is_file():
                here.setdefault(key(match), file)
        found.append(here)
    merged: dict[Key, Path] = {}
    for here in sorted(found, key=len, reverse=True):
        for recording, file in here.items():
            merged.setdefault(recording, file)
    return dict(sorted(merged.items(), key=lambda item: str(item[0])))


def not_found(card: DatasetCard, what: str, reason: str = "") -> DatasetNotFoundError:
    """Return the error that says what is missing and how to get it."""
    return DatasetNotFoundError(
        f"{card.title}: {what} not found{f' ({reason})' if reason else ''}.\n{_ways_out(card)}"
    )


def _ways_out(card: DatasetCard) -> str:
    places = ", ".join(f"<root>/{name}" for name in card.folders)
    return (
        f"A local copy is read from path=, or from {DATA_VARIABLE}=<root> ({places}), in the "
        f"layout of its publisher: {card.layout}\nHow to get it: {card.how_to_get} ({card.url})."
    )


def select_subjects(available: Iterable[Any], subjects: Any, card: DatasetCard) -> list[Any]:
    """Return the subjects to load, and refuse those that are not there.

    Parameters
    ----------
    available : iterable
        Subjects with files.
    subjects : iterable | None
        Subjects asked for; None means all.
    card : DatasetCard
        The dataset, for the message.

    Returns
    -------
    list
        Subjects in their sorted order.
    """
    there = sorted(set(available), key=_natural)
    if subjects is None:
        return there
    if isinstance(subjects, str) or not isinstance(subjects, Iterable):
        subjects = [subjects]
    asked = list(dict.fromkeys(subjects))
    if not asked:
        raise SpecError("subjects is empty: name at least one subject, or None for all.")
    missing = [subject for subject in asked if subject not in there]
    if missing:
        raise not_found(
            card, f"subject(s) {missing}", f"{len(there)} subjects are there: {there[:8]}…"
        )
    return sorted(asked, key=_natural)


def _natural(value: Any) -> tuple[Any, ...]:
    """Sort ``subject10`` after ``subject2``."""
    parts = re.split(r"(\d+)", str(value))
    return tuple(int(part) if part.isdigit() else part for part in parts)


def warn(message: str) -> None:
    """Tell the user that something was left out."""
    warnings.warn(message, DatasetWarning, stacklevel=3)


def listing(items: Sequence[Any], limit: int = 12) -> str:
    """Return the first items, and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(str(item) for item in items[:limit]) + more
