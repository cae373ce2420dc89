"""One file: read, cleaned, written as a shard that has no name yet."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eegfound.base import SpecError
from eegfound.corpus.cleaning import clean, named_channels, stored_name
from eegfound.corpus.errors import CorpusError
from eegfound.corpus.journal import SHARDS
from eegfound.corpus.reading import companions, read_signals, sha256_of
from eegfound.corpus.settings import Settings
from eegfound.corpus.shards import SUFFIX, write_shard
from eegfound.corpus.signature import signature
from eegfound.corpus.subjects import person, same_subject


@dataclass(frozen=True)
class Task:
    """What a worker must know to prepare files.

    Attributes
    ----------
    out : Path
        The store.
    dataset : str
        Name of the set.
    rule : callable
        From path and what the file says to the subject.
    stated : bool
        True where the user stated the rule: a file it does not fit is a failure.
    excluded : frozenset of str
        Subjects that must not be in the store, as :func:`person` compares them.
    settings : Settings
        What is done to the signals.
    """

    out: Path
    dataset: str
    rule: Callable[[Path, str | None], str | None]
    stated: bool
    excluded: frozenset[str]
    settings: Settings

    def subject(self, path: Path, told: str | None) -> str:
        """Return the subject of a file.

        Raises
        ------
        SpecError
            If the user's rule does not fit the file.
        """
        found = self.rule(path, told)
        if found is None and self.stated:
            raise SpecError("has no subject by the rule given (subject=, --subject).")
        return same_subject(path.name.split(".")[0] if found is None else found)

    def excludes(self, subject: str) -> bool:
        """Say whether a subject must not be in the store."""
        return person(subject) in self.excluded

    def guesses(self, path: Path, told: str | None) -> bool:
        """Say whether nothing but the file's own name tells the subject."""
        return not self.stated and self.rule(path, told) is None


def identity(path: Path) -> dict[str, Any]:
    """Return what tells whether a file has changed."""
    stats = [p.stat() for p in companions(path)]
    return {
        "size": sum(s.st_size for s in stats),
        "mtime_ns": max(s.st_mtime_ns for s in stats),
    }


def key_of(task: Task, path: Path) -> str:
    """Return the name of a file in the journal."""
    return f"{task.dataset}:{path.absolute()}"


def prepare_one(task: Task, path: Path) -> dict[str, Any]:
    """Prepare one file.

    Parameters
    ----------
    task : Task
        What to do.
    path : Path
        The file.

    Returns
    -------
    dict
        What became of it. ``kind`` is ``"recording"`` (then ``unfinished`` is the
        file to be renamed), ``"failure"`` or ``"excluded"``.

    Raises
    ------
    CorpusError
        If the store cannot be written to; other failures are returned.
    """
    entry: dict[str, Any] = {
        "key": key_of(task, path), "file": str(path), "dataset": task.dataset,
        "settings": task.settings.digest(),
    }  # fmt: skip
    try:
        return _prepare(task, path, entry | identity(path))
    except CorpusError:
        raise
    except MemoryError:
        return entry | {"kind": "failure", "reason": "does not fit into memory."}
    except Exception as error:  # readers and filters raise their own kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        return entry | {"kind": "failure", "reason": reason}


def _prepare(task: Task, path: Path, entry: dict[str, Any]) -> dict[str, Any]:
    settings = task.settings
    if task.stated and task.excluded and task.excludes(subject := task.subject(path, None)):
        return entry | {"kind": "excluded", "subject": subject}
    signals = read_signals(path, task.dataset)
    subject = task.subject(path, signals.subject)
    if task.excludes(subject):
        return entry | {"kind": "excluded", "subject": subject}
    original = signals.info.sfreq
    picks, channels, left_out = named_channels(signals.info, settings.rename)
    names = [stored_name(channel) for channel in channels]
    codes = signature(signals.data[picks], [str(c.name) for c in channels], original)
    cleaned = clean(signals, settings, picks, names)
    recording = _recording_name(path)
    shard = f"{SHARDS}/{_slug(task.dataset)}/{recording}{SUFFIX}"
    unfinished = task.out / f"{shard}.{os.getpid()}.tmp"
    size, content = write_shard(unfinished, cleaned.data, cleaned.info, task.out)
    return entry | {
        "kind": "recording", "unfinished": str(unfinished), "subject": subject,
        "told": signals.subject, "recording": f"{task.dataset}/{recording}", "shard": shard,
        "bytes": size, "content": content, "sfreq": cleaned.info.sfreq,
        "original_sfreq": original, "n_times": cleaned.data.shape[1],
        "ch_names": list(cleaned.info.ch_names),
        "seconds": cleaned.data.shape[1] / cleaned.info.sfreq,
        "usable_seconds": cleaned.usable_seconds, "rejected": cleaned.rejected.tolist(),
        "left_out": [list(x) for x in (*signals.left_out, *left_out, *cleaned.left_out)],
        "sha256": sha256_of(companions(path)), "unit": _unit(settings), "notes": signals.notes,
        "file_licence": signals.licence, "signature": codes,
    }  # fmt: skip


def _unit(settings: Settings) -> str:
    if settings.unit is None:
        return "as the file says"
    return settings.unit if isinstance(settings.unit, str) else f"{settings.unit:g} V per unit"


def _recording_name(path: Path) -> str:
    """Return a name that people recognize and that no other file has."""
    own = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]
    return f"{_slug(path.name.split('.')[0])[:80]}-{own}"


def _slug(text: str) -> str:
    return re.sub(r"[^\w-]+", "_", text) or "_"
