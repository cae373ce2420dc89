"""A store of prepared recordings, opened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.corpus.errors import CorpusError
from eegfound.corpus.journal import FAILURES, FORMAT, INDEX, JOURNAL, read_header
from eegfound.corpus.shards import Shard
from eegfound.corpus.subjects import natural, one_name_each, same_people, same_subject

if TYPE_CHECKING:
    import pandas as pd

    from eegfound.corpus.source import CorpusSource


class Corpus:
    """Recordings prepared by :func:`eegfound.corpus.prepare_corpus`.

    Only the index is read; signals stay on disk until windows are asked for.

    Parameters
    ----------
    path : path-like
        The store.

    Attributes
    ----------
    path : Path
        The store.
    index : DataFrame
        One row per recording: dataset, subject, file, rate, channels, seconds,
        rejected stretches, licence, and where it is.
    people : dict of str to str
        For each ``"dataset/subject"`` a name of that person, the same for all under which
        copies of a recording are known.

    Raises
    ------
    CorpusError
        If there is no finished store at ``path``.

    Examples
    --------
    >>> from eegfound.corpus import Corpus
    >>> train, held_out = Corpus("store").split(0.1, seed=0)  # doctest: +SKIP
    >>> source = train.source("labram", window_seconds=4)  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import pandas as pd

        self.path = Path(path).expanduser()
        header = read_header(self.path)
        if not header:
            raise CorpusError(
                f"{self.path} is no prepared corpus: make one with prepare_corpus(paths, out) or "
                "`eegfound prepare FOLDER --out STORE`."
            )
        if header.get("format") != FORMAT:
            raise CorpusError(
                f"{self.path} has format {header.get('format')!r} of a store, this version reads "
                f"{FORMAT}: prepare it again."
            )
        place = self.path / INDEX
        if not place.exists():
            begun = " was interrupted" if (self.path / JOURNAL).exists() else " has not begun"
            raise CorpusError(
                f"The preparation of {self.path}{begun}: run it again, it goes on where it was."
            )
        try:
            self.index = pd.read_parquet(place)
        except (OSError, ValueError) as error:
            raise CorpusError(
                f"{place} is damaged ({error}): prepare again with the same parameters, which "
                "makes the index anew."
            ) from error
        # Of the whole store: a part may lack the recording that two names share.
        self.people = same_people(self._subjects(), self._also_in())

    def _with(self, keep: np.ndarray) -> Corpus:
        view = object.__new__(Corpus)
        view.path, view.index = self.path, self.index[keep].reset_index(drop=True)
        view.people = self.people
        return view

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return (
            f"Corpus({str(self.path)!r}: {len(self)} recordings of {len(self.subjects)} subjects, "
            f"{self.hours:.1f} h)"
        )

    @property
    def subjects(self) -> list[str]:
        """Everybody who was recorded, as ``"dataset/subject"``."""
        return sorted(set(self._subjects()), key=natural)

    @property
    def datasets(self) -> list[str]:
        """Names of the sets."""
        return sorted(set(self.index["dataset"]))

    @property
    def hours(self) -> float:
        """Hours outside of rejected stretches."""
        return float(self.index["usable_seconds"].sum()) / 3600

    @property
    def failures(self) -> pd.DataFrame:
        """Files that could not be prepared: file, dataset, reason."""
        import pandas as pd

        return pd.read_parquet(self.path / FAILURES)

    def _subjects(self) -> list[str]:
        return [f"{d}/{s}" for d, s in zip(self.index["dataset"], self.index["subject"])]

    def _also_in(self) -> list[list[str]]:
        """Return who else the copies of each recording belong to."""
        known = "also_in" in self.index
        return [list(names) for names in self.index["also_in"]] if known else [[]] * len(self)

    def summary(self) -> pd.DataFrame:
        """Return one row per set: what is there, and under which terms."""
        import pandas as pd

        rows = []
        for name in self.datasets:
            own = self.index[self.index["dataset"] == name]
            counts = [len(names) for names in own["ch_names"]]
            rows.append(
                {
                    "dataset": name,
                    "subjects": own["subject"].nunique(),
                    "recordings": len(own),
                    "hours": round(float(own["seconds"].sum()) / 3600, 3),
                    "usable_hours": round(float(own["usable_seconds"].sum()) / 3600, 3),
                    "sfreq": ", ".join(f"{rate:g}" for rate in sorted(set(own["sfreq"]))),
                    "channels": str(min(counts))
                    if min(counts) == max(counts)
                    else f"{min(counts)}-{max(counts)}",
                    "licence": ", ".join(sorted(set(own["licence"]))),
                    "bytes": int(own["bytes"].sum()),
                }
            )
        return pd.DataFrame(rows)

    def record(self) -> dict[str, Any]:
        """Return what is in the store: the contamination record.

        Returns
        -------
        dict
            ``datasets`` (name, licence, citation, subjects, n_recordings, hours)
            and ``hours``; plain data.
        """
        return contamination(self.index, self.index["usable_seconds"].to_numpy())

    def digest(self) -> str:
        """Return what tells these recordings from others: content, people, rejected stretches."""
        facts = [
            self.index["content"].tolist(), self._subjects(), self._also_in(),
            [intervals(value).tolist() for value in self.index["rejected"]],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def select(
        self,
        subjects: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        datasets: Iterable[str] | None = None,
    ) -> Corpus:
        """Return part of the corpus; nothing is copied.

        Parameters
        ----------
        subjects, exclude : iterable | None
            Subjects to keep, and to leave out: ``"dataset/subject"``, or a
            subject alone, which means that of every set. A set's name with
            ``/*`` means all of it. A recording that is known under several names
            has all of them, and who is left out is so under every name.
        datasets : iterable of str | None
            Sets to keep.

        Returns
        -------
        Corpus
            The part.

        Raises
        ------
        SpecError
            If a subject or set is not there, or nothing is left.
        """
        keep = np.ones(len(self), dtype=bool)
        if subjects is not None:
            keep &= self._named(subjects, "subjects")
        if exclude is not None:
            person = np.array([self.people[name] for name in self._subjects()], dtype=object)
            keep &= ~np.isin(person, person[self._named(exclude, "exclude")])
        if datasets is not None:
            asked = [datasets] if isinstance(datasets, str) else list(datasets)
            unknown = sorted(set(asked) - set(self.datasets))
            if unknown:
                raise SpecError(f"datasets={unknown} are not in {self.path}: {self.datasets}.")
            keep &= self.index["dataset"].isin(asked).to_numpy()
        if not keep.any():
            raise SpecError("Nothing is left of the corpus by subjects=, exclude= and datasets=.")
        return self._with(keep)

    def _named(self, wanted: Iterable[Any], name: str) -> np.ndarray:
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        known = [{name, *also} for name, also in zip(self._subjects(), self._also_in())]
        found = np.zeros(len(self), dtype=bool)
        for subject in wanted:
            text = str(subject)
            dataset, _, last = text.rpartition("/")
            full, alone = f"{dataset}/{same_subject(last)}", same_subject(text)
            own = np.array([
                any(
                    dataset == name.rpartition("/")[0]
                    if last == "*"
                    else name == full or name.rpartition("/")[2] == alone
                    for name in names
                )
                for names in known
            ])  # fmt: skip
            if not own.any():
                raise SpecError(
                    f"{name}: {subject!r} is not in {self.path}; there are "
                    f"{', '.join(self.subjects[:8])}{', …' if len(self.subjects) > 8 else ''}."
                )
            found |= own
        return found

    def split(self, fraction: float, seed: int = 0) -> tuple[Corpus, Corpus]:
        """Hold subjects out.

        Parameters
        ----------
        fraction : float
            Share of the subjects of each set that is held out, at least one of
            each set with several.
        seed : int
            Which.

        Returns
        -------
        train, held_out : Corpus
            No subject is in both, under whatever name.

        Raises
        ------
        SpecError
            If nobody would be left on one side.
        """
        if not 0 < fraction < 1:
            raise SpecError(f"fraction={fraction!r} must lie between 0 and 1.")
        rng = np.random.default_rng(seed)
        out: set[str] = set()
        names = one_name_each(self._subjects(), self.people)
        people = sorted(set(names), key=natural)
        for dataset in self.datasets:
            own = [s for s in people if s.rpartition("/")[0] == dataset]
            count = min(max(1, round(fraction * len(own))), len(own) - 1)
            out.update(own[i] for i in rng.permutation(len(own))[:count])
        held_out = np.array([s in out for s in names])
        if not held_out.any() or held_out.all():
            raise SpecError(
                f"{self.path} has {len(self.subjects)} subject(s): none can be held out."
            )
        return self._with(~held_out), self._with(held_out)

    def read(self, number: int) -> tuple[np.ndarray, ChannelInfo, np.ndarray]:
        """Return a whole recording.

        Parameters
        ----------
        number : int
            Row of ``index``.

        Returns
        -------
        data : ndarray of float32, shape (n_channels, n_times)
            Volts.
        info : ChannelInfo
            Names and rate.
        rejected : ndarray of int64, shape (n_stretches, 2)
            ``[start, stop)`` in samples: artefacts.
        """
        row = self.index.iloc[number]
        shard = Shard(self.path / row["shard"])
        return shard.read(0, shard.n_times), shard.info, intervals(row["rejected"])

    def source(
        self,
        model: Any,
        *,
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        subjects: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        on_unknown: Literal["drop", "raise"] = "drop",
        missing: Literal["skip", "interpolate", "raise"] = "skip",
        groups: Literal["subject", "recording", "dataset"] = "subject",
        front_end_params: dict[str, Any] | None = None,
    ) -> CorpusSource:
        """Return the windows of a model's pretraining.

        Parameters
        ----------
        model : str | FoundationModel
            Whose rate, unit and electrodes windows are brought to.
        window_seconds : float | None
            Length of a window. None: four seconds, or the nearest length the
            model was made for.
        stride_seconds : float | None
            Hop; None is the length. Windows never touch a rejected stretch.
        subjects, exclude : iterable | None
            See :meth:`select`.
        on_unknown : {"drop", "raise"}
            Electrodes the model does not know.
        missing : {"skip", "interpolate", "raise"}
            Recordings without all the electrodes of a model that needs them all.
        groups : {"subject", "recording", "dataset"}
            What is never split between training and hold-out.
        front_end_params : dict | None
            Options of the model's front end.

        Returns
        -------
        CorpusSource
            An :class:`eegfound.pretraining.source.WindowSource`.

        Raises
        ------
        SpecError
            If no recording can be used; the message says why.
        """
        from eegfound.corpus.source import make_source

        part = self if subjects is None and exclude is None else self.select(subjects, exclude)
        return make_source(
            part, model, window_seconds=window_seconds, stride_seconds=stride_seconds,
            on_unknown=on_unknown, missing=missing, groups=groups,
            front_end_params=front_end_params,
        )  # fmt: skip


def intervals(value: Any) -> np.ndarray:
    """Return stretches as they come out of a Parquet column, shape (n, 2)."""
    return np.array([list(pair) for pair in value], dtype=np.int64).reshape(-1, 2)


def contamination(index: pd.DataFrame, seconds: np.ndarray) -> dict[str, Any]:
    """Return which sets and subjects stand in an index, with the seconds of each row."""
    told = []
    for name in sorted(set(index["dataset"])):
        mine = (index["dataset"] == name).to_numpy()
        own = index[mine]
        citation = list(dict.fromkeys(text for cited in own["citation"] for text in cited))
        told.append(
            {
                "name": name,
                "licence": ", ".join(sorted(set(own["licence"]))),
                "citation": "; ".join(citation),
                "subjects": sorted(set(own["subject"]), key=natural),
                "n_recordings": len(own),
                "hours": round(float(seconds[mine].sum()) / 3600, 4),
            }
        )
    # A copy was not kept, but what it holds is there: its set and subject were seen, too.
    own_names = {f"{d}/{s}" for d, s in zip(index["dataset"], index["subject"])}
    copies = {name for names in index.get("also_in", ()) for name in names} - own_names
    for name in sorted(copies, key=natural):
        dataset, _, subject = name.rpartition("/")
        mine_too = next((each for each in told if each["name"] == dataset), None)
        if mine_too is None:
            mine_too = {"name": dataset, "licence": "", "citation": "", "subjects": [],
                        "n_recordings": 0, "hours": 0.0}  # fmt: skip
            told.append(mine_too)
        mine_too["subjects"] = sorted({*mine_too["subjects"], subject}, key=natural)
    return {"datasets": told, "hours": round(float(np.sum(seconds)) / 3600, 4)}
