"""Folders of recordings into a store, resumable."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eegfound.base import SignalWarning, SpecError
from eegfound.corpus.errors import CorpusError, writing
from eegfound.corpus.journal import Journal, locked
from eegfound.corpus.one import Task, identity, key_of, prepare_one
from eegfound.corpus.progress import Progress
from eegfound.corpus.reading import find_files
from eegfound.corpus.sets import known_set, terms
from eegfound.corpus.settings import read_settings
from eegfound.corpus.shards import leftovers
from eegfound.corpus.signature import Known
from eegfound.corpus.subjects import SubjectRule, natural, person, subject_rule


@dataclass
class Preparation:
    """What a run of :func:`prepare_corpus` did.

    Attributes
    ----------
    path : Path
        The store.
    n_files : int
        Files that were found.
    n_new, n_done : int
        Recordings prepared by this run, and by earlier ones.
    n_duplicates, n_excluded : int
        Files that hold a recording which is kept already, and files of
        excluded subjects.
    failures : list of dict
        ``file``, ``dataset``, ``reason`` of each file of this run that could not
        be prepared.
    seconds : float
        How long it took.
    """

    path: Path
    n_files: int = 0
    n_new: int = 0
    n_done: int = 0
    n_duplicates: int = 0
    n_excluded: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def corpus(self) -> Any:
        """The store, opened."""
        from eegfound.corpus.corpus import Corpus

        return Corpus(self.path)

    def __str__(self) -> str:
        parts = [f"{self.n_new} of {self.n_files} files prepared"]
        for count, what in (
            (self.n_done, "done before"),
            (self.n_duplicates, "hold a recording that is kept already"),
            (self.n_excluded, "of excluded subjects"),
            (len(self.failures), "failed"),
        ):
            if count:
                parts.append(f"{count} {what}")
        return f"{', '.join(parts)} ({self.seconds:.1f} s): {self.path}"


def prepare_corpus(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    dataset: str,
    licence: str | None = None,
    citation: str | Sequence[str] | None = None,
    subject: SubjectRule = None,
    exclude_subjects: Iterable[Any] = (),
    sfreq: float | None = None,
    band: tuple[float | None, float | None] | None = None,
    notch: float | Sequence[float] | None = None,
    unit: str | float | None = None,
    rename: Mapping[str, str] | None = None,
    max_abs: float | None = 1e-3,
    flat_seconds: float | None = 2.0,
    bad_share: float = 0.5,
    min_seconds: float = 4.0,
    n_jobs: int = 1,
    verbose: bool | None = None,
) -> Preparation:
    """Prepare recordings for pretraining: read, clean and store them once.

    Every recording becomes one Arrow file of float32 volts that is mapped into
    memory when it is read. A run that was killed goes on where it was; files
    that cannot be read are reported and skipped; a recording that is there
    already, under another name or in another format, is kept once. Several
    sets can go into one store, one call each.

    Parameters
    ----------
    paths : path-like | iterable of path-like
        Files, and folders that are searched: EDF, BDF, BrainVision, FIF, EEGLAB
        and whatever else MNE reads, and packed recordings
        (:func:`eegfound.datasets.read_packed`).
    out : path-like
        Folder of the store.
    dataset : str
        Name of the set, for the record of what a model has seen. What is known
        of ``"eegmmidb"``, ``"eegmat"``, ``"adhd"`` and ``"muse"`` need not be said.
    licence, citation : str | None
        Terms of the set and what its users must cite. None takes the set's card.
    subject : {"folder", "bids", "file"} | regular expression | callable | None
        Who was recorded, see :func:`eegfound.corpus.subjects.subject_rule`. None:
        what is known of the set, else what the file says, else the ``sub-`` of
        BIDS in its path, else each file is taken for a subject of its own.
    exclude_subjects : iterable
        Subjects that must not go in, and are taken out if they are; "7", "007",
        "S007" and "sub-07" are one. A name that matches nobody is an error.
    sfreq : float | None
        Rate of the store in Hz. None keeps that of each file; windows are then
        resampled when they are read.
    band : (float | None, float | None) | None
        Pass band in Hz, filtered without phase shift before resampling.
    notch : float | sequence of float | None
        Lines to take out, in Hz.
    unit : str | float | None
        Unit of the numbers that the reader returns (``"uV"``), or volts per
        number, for files that state none or a wrong one. None believes them.
    rename : mapping of str to str | None
        Electrodes of channels whose names say nothing (``{"EEG 001": "Cz"}``).
    max_abs : float | None
        Volts from the channel's mean, after filtering, beyond which a quarter of
        a second around is rejected. The default, a millivolt, is beyond blinks.
    flat_seconds : float | None
        Seconds without change from which on a stretch is rejected.
    bad_share : float
        A channel that is rejected for more than this share of the time is left
        out of its recording, instead of rejecting the recording.
    min_seconds : float
        Recordings, and stretches between artefacts, shorter than this are not
        used.
    n_jobs : int
        Processes. What is kept does not depend on it.
    verbose : bool | None
        None shows progress on terminals and in notebooks only.

    Returns
    -------
    Preparation
        What was done, and which files failed and why.

    Raises
    ------
    SpecError
        If a parameter is wrong or there is no recording.
    CorpusError
        If ``out`` cannot be written (disk full, …), holds something else, or
        holds this set with other settings. Nothing half-written is left.

    Notes
    -----
    Rejected stretches are marked, not deleted: the index tells them, and
    windows avoid them. The mean of each channel over its recording, an offset
    of the amplifier, is subtracted. Channels keep their names in tidy form
    (:func:`eegfound.montage.parse_names`).

    Examples
    --------
    >>> from eegfound.corpus import Corpus, prepare_corpus
    >>> done = prepare_corpus("eegmat/", "store", dataset="eegmat")  # doctest: +SKIP
    >>> Corpus("store").subjects  # doctest: +SKIP
    """
    began = time.monotonic()
    if not dataset or not str(dataset).strip():
        raise SpecError("dataset= names the set in the record of what a model has seen: say it.")
    known = known_set(dataset)
    settings = read_settings(
        sfreq=sfreq, band=band, notch=notch, unit=unit if unit is not None else known.unit,
        rename=rename, max_abs=max_abs, flat_seconds=flat_seconds, bad_share=bad_share,
        min_seconds=min_seconds,
    )  # fmt: skip
    if isinstance(exclude_subjects, str):
        raise SpecError(f"exclude_subjects={exclude_subjects!r} must be a list of subjects.")
    folder, asked = Path(out).expanduser(), [str(each) for each in exclude_subjects]
    task = Task(
        folder, str(dataset), subject_rule(subject, known.subject), subject is not None,
        frozenset(map(person, asked)), settings,
    )  # fmt: skip
    files = find_files(paths, str(dataset))  # type: ignore[arg-type]
    result = Preparation(folder, n_files=len(files))
    with locked(folder):
        run = _Run(task, Journal(folder), terms(dataset, licence, citation), result)
        try:
            run.over(files, n_jobs, verbose)
        except BaseException:
            run.clear()
            with suppress(CorpusError):  # the first failure is the one to tell
                run.journal.write_index()
            raise
        run.journal.write_index()
    result.seconds = time.monotonic() - began
    run.tell_missing(asked)
    if run.n_guessed > 1:
        warnings.warn(
            f"Nothing tells who was recorded in {run.n_guessed} files of {task.dataset!r}: each "
            "counts as a subject of its own. If somebody has several files, say subject= "
            "(--subject), or a hold-out divides them; subject='file' says that nobody has.",
            SignalWarning,
            stacklevel=2,
        )
    return result


class _Run:
    """One set going into a store."""

    def __init__(
        self, task: Task, journal: Journal, told: tuple[str, list[str]], result: Preparation
    ) -> None:
        self.task, self.journal, self.result = task, journal, result
        self.licence, self.citation = told
        self._check_settings()
        self.clear()
        self.met, self.n_guessed = set[str](), 0
        self._drop_excluded()
        self.known, self.contents, self.kept = Known(), dict[str, str](), set[str]()
        for entry in journal.of_kind("recording"):
            self._remember(entry)

    def clear(self) -> None:
        """Remove files that nobody finished."""
        for path in leftovers(self.task.out):
            path.unlink(missing_ok=True)

    def _check_settings(self) -> None:
        mine = [e for e in self.journal.of_kind("recording") if e["dataset"] == self.task.dataset]
        others = [e for e in mine if e["settings"] != self.task.settings.digest()]
        if others:
            old = others[0].get("prepared_with", {})
            new = self.task.settings.plain()
            changed = [
                f"{k} was {old.get(k)!r}, is {v!r}"
                for k, v in new.items()
                if _differ(old.get(k), v)
            ]
            raise CorpusError(
                f"out={str(self.task.out)!r} holds {self.task.dataset!r} prepared in another way "
                f"({'; '.join(changed)}): name another folder, or use the same parameters."
            )

    def _drop_excluded(self) -> None:
        for entry in self.journal.of_kind("recording"):
            if entry["dataset"] == self.task.dataset and self.task.excludes(entry["subject"]):
                with writing(self.task.out, "the removal of a subject"):
                    (self.task.out / entry["shard"]).unlink(missing_ok=True)
                self.journal.add(
                    {k: entry[k] for k in ("key", "file", "dataset", "subject")}
                    | {"kind": "excluded"}
                )
        self.met.update(
            person(e["subject"]) for e in self.journal.of_kind("excluded")
            if e["dataset"] == self.task.dataset and "subject" in e
        )  # fmt: skip

        # A copy of somebody who is excluded may be kept under another name.
        gone = {
            entry["of"] for entry in self.journal.of_kind("duplicate")
            if entry["dataset"] == self.task.dataset and self.task.excludes(entry["subject"])
        }  # fmt: skip
        kept = [e["recording"] for e in self.journal.of_kind("recording") if e["recording"] in gone]
        if kept:
            raise CorpusError(
                f"exclude_subjects: {kept} are recordings of excluded subjects, kept under another "
                "subject or set: exclude them there, too."
            )

    def _remember(self, entry: dict[str, Any]) -> None:
        self.known.add(entry["recording"], entry["seconds"], entry["signature"])
        self.contents[entry["content"]] = entry["recording"]
        self.kept.add(entry["recording"])

    def over(self, files: list[Path], n_jobs: int, verbose: bool | None) -> None:
        """Prepare what is not done yet, in the order of the files."""
        todo = [path for path in files if not self._done(path)]
        with (
            Progress(len(files), len(files) - len(todo), verbose) as progress,
            closing(self._results(todo, n_jobs)) as results,
        ):
            for entry in results:
                self._take(entry)
                progress.step(entry)

    def _results(self, todo: list[Path], n_jobs: int) -> Generator[dict[str, Any], None, None]:
        if n_jobs == 1 or len(todo) < 2:
            for path in todo:
                yield prepare_one(self.task, path)
            return
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        results = parallel(delayed(prepare_one)(self.task, path) for path in todo)
        with closing(results):  # ends the workers when somebody stops listening
            yield from results

    def _done(self, path: Path) -> bool:
        """Say whether an earlier run finished a file, and bring its facts up to date."""
        entry = self.journal.files.get(key_of(self.task, path))
        if entry is None or entry["kind"] not in ("recording", "duplicate"):
            return False
        try:
            changed = any(entry.get(k) != v for k, v in identity(path).items())
        except OSError:
            return False
        if changed or entry["settings"] != self.task.settings.digest():
            return False
        if entry["kind"] == "duplicate":
            alive = entry["of"] in self.kept
            self.result.n_duplicates += alive
            return alive
        shard = self.task.out / entry["shard"]
        if not shard.exists() or shard.stat().st_size != entry["bytes"]:
            return False
        facts = self._facts(entry) | {"subject": self.task.subject(path, entry.get("told"))}
        if self.task.excludes(facts["subject"]):
            return False
        self.n_guessed += self.task.guesses(path, entry.get("told"))
        if any(entry.get(k) != v for k, v in facts.items()):
            self.journal.add(entry | facts)
        self.result.n_done += 1
        return True

    def _facts(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {"licence": self.licence or entry["file_licence"], "citation": self.citation}

    def _take(self, entry: dict[str, Any]) -> None:
        """Write down what became of a file."""
        kind = entry["kind"]
        if kind == "excluded":
            self.result.n_excluded += 1
            self.met.add(person(entry["subject"]))
            return
        if kind == "failure":
            self.journal.add(entry)
            with suppress(Exception):  # the user's rule may fail, which is why it is one
                self.met.add(person(self.task.subject(Path(entry["file"]), None)))
            self.result.failures.append({k: entry[k] for k in ("file", "dataset", "reason")})
            return
        unfinished = Path(entry.pop("unfinished"))
        copy_of = self.contents.get(entry["content"]) or self.known.find(
            entry["seconds"], entry["signature"]
        )
        if copy_of is not None and copy_of != entry["recording"]:
            unfinished.unlink(missing_ok=True)
            kept = ("key", "file", "dataset", "settings", "size", "mtime_ns", "subject", "sha256")
            self.journal.add({k: entry[k] for k in kept} | {"kind": "duplicate", "of": copy_of})
            self.result.n_duplicates += 1
            return
        with writing(self.task.out, entry["shard"]):
            os.replace(unfinished, self.task.out / entry["shard"])
        entry |= self._facts(entry) | {"prepared_with": self.task.settings.plain()}
        self.journal.add(entry)
        self._remember(entry)
        self.n_guessed += self.task.guesses(Path(entry["file"]), entry["told"])
        self.result.n_new += 1

    def tell_missing(self, asked: list[str]) -> None:
        """Complain about exclusions that match nobody: somebody went in who must not."""
        missing = [name for name in asked if person(name) not in self.met]
        if not missing:
            return
        mine = (e for e in self.journal.of_kind("recording") if e["dataset"] == self.task.dataset)
        there = sorted({e["subject"] for e in mine}, key=natural)
        raise CorpusError(
            f"exclude_subjects: {missing} match nobody in {self.task.dataset!r}, where "
            f"{', '.join(there[:8])}{', …' if len(there) > 8 else ''} are in the store now. "
            "Prepare again with the right names: it takes them out, and goes on from here."
        )


def _differ(old: Any, new: Any) -> bool:
    """Compare as JSON would: tuples are lists there."""
    return _plain(old) != _plain(new)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
