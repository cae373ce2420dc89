"""Windows of a corpus, ready for a network."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfound.base import ChannelInfo, SignalWarning, SpecError
from eegfound.corpus.corpus import Corpus, contamination, intervals
from eegfound.corpus.errors import CorpusError
from eegfound.corpus.groups import group_names
from eegfound.corpus.plans import MontagePlan, plan_montage_of
from eegfound.corpus.shards import OpenShards, Shard
from eegfound.corpus.stretches import usable
from eegfound.estimators._batches import Job
from eegfound.models import FoundationModel, InputSpec
from eegfound.models.spec import load_object

if TYPE_CHECKING:
    import pandas as pd

#: Length of a window where nobody states one, in seconds.
USUAL_SECONDS = 4.0
#: Windows from which a front end learns at the most, and their bytes.
FIT_WINDOWS, FIT_BYTES = 1024, 128 * 2**20
_GROUPS = ("subject", "recording", "dataset")
_MISSING = ("skip", "interpolate", "raise")


@dataclass(frozen=True)
class Layout:
    """Where the windows are.

    Attributes
    ----------
    recording : ndarray of int32, shape (n_windows,)
        Row of the index.
    start : ndarray of int64, shape (n_windows,)
        First sample in the shard.
    length : ndarray of int64, shape (n_recordings,)
        Samples of a window in each recording.
    """

    recording: np.ndarray
    start: np.ndarray
    length: np.ndarray


class CorpusSource:
    """Windows of recordings with different electrodes and rates.

    Made by :meth:`eegfound.corpus.Corpus.source`; follows
    :class:`eegfound.pretraining.source.WindowSource`. Nothing is kept in memory
    beyond the windows that were asked for. It can be pickled.

    Attributes
    ----------
    skipped : list of (str, int)
        Why recordings cannot be used, and how many.
    window_seconds, stride_seconds : float
        Length and hop.
    front_end : Transformer | None
        Front end of the model, once it has learned or was given.
    """

    def __init__(
        self, corpus: Corpus, model: FoundationModel, index: pd.DataFrame, layout: Layout,
        plans: list[MontagePlan], which: np.ndarray, *, window_seconds: float,
        stride_seconds: float, groups: str, skipped: list[tuple[str, int]],
        front_end_params: dict[str, Any],
    ) -> None:  # fmt: skip
        self._index, self._layout = index, layout
        self._model = model
        self._plans, self._which = plans, which
        self._shards = OpenShards(corpus.path)
        self._names = index["shard"].tolist()
        self._grouping = groups
        self._groups = group_names(index, groups, corpus.people)
        self.front_end: Any = None
        self._front_end_params = front_end_params
        self.window_seconds, self.stride_seconds = window_seconds, stride_seconds
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._layout.recording)

    def __repr__(self) -> str:
        return (
            f"CorpusSource({len(self)} windows of {self.window_seconds:g} s for "
            f"{self._model.name}, {len(self._index)} recordings, {len(self._plans)} montages)"
        )

    @property
    def groups(self) -> np.ndarray:
        """Subject, recording or set of every window, shape (n_windows,).

        Subjects (sets) that share a recording are one group, under the first of their names.
        """
        return np.array(self._groups.of, dtype=str)[self._layout.recording]

    @property
    def aliases(self) -> dict[str, str]:
        """Groups by the other names that they have."""
        return self._groups.aliases

    @property
    def alike(self) -> np.ndarray:
        """Windows with the same number have the same electrodes and length, (n_windows,)."""
        numbers: dict[Any, int] = {}
        codes = [
            numbers.setdefault((plan.key, plan.plan.n_model_times(int(length))), len(numbers))
            for plan, length in zip(
                (self._plans[which] for which in self._which), self._layout.length
            )
        ]
        return np.array(codes, dtype=np.int32)[self._layout.recording]

    @property
    def model(self) -> str:
        """Name of the model that windows are made for."""
        return self._model.name

    @property
    def n_montages(self) -> int:
        """How many different ways into the model there are."""
        return len(self._plans)

    @property
    def electrodes(self) -> list[str]:
        """Names of the rows that a front end is given: all electrodes of the source."""
        return list(self._all_electrodes())

    def jobs(self, indices: Sequence[int]) -> list[Job]:
        """Return windows for the network, grouped by their electrodes.

        Parameters
        ----------
        indices : sequence of int
            Which windows.

        Returns
        -------
        list of Job
            ``Job.epochs`` are places within ``indices``, rising; jobs come in an
            order of their electrodes.
        """
        places: dict[tuple[Any, ...], list[int]] = {}
        signals: dict[tuple[Any, ...], list[np.ndarray]] = {}
        plans: dict[tuple[Any, ...], MontagePlan] = {}
        front_end = self._fitted_front_end()
        for place, (plan, signal) in enumerate(self._read(np.asarray(indices, dtype=np.int64))):
            if front_end is not None:
                signal = self._features(front_end, plan, signal)
            key = (*plan.key, signal.shape)
            plans.setdefault(key, plan)
            places.setdefault(key, []).append(place)
            signals.setdefault(key, []).append(signal)
        return [
            Job(
                np.array(places[key], dtype=np.int64), plans[key].electrodes, np.stack(signals[key])
            )
            for key in sorted(places)
        ]

    def _read(self, windows: np.ndarray) -> list[tuple[MontagePlan, np.ndarray]]:
        """Read windows, neighbours on the disk after one another, and return them in order."""
        there = np.lexsort((self._layout.start[windows], self._layout.recording[windows]))
        found = {place: self._signal(int(windows[place])) for place in there.tolist()}
        self._shards.forget()
        return [found[place] for place in range(len(windows))]

    def _signal(self, window: int) -> tuple[MontagePlan, np.ndarray]:
        recording = int(self._layout.recording[window])
        plan = self._plans[self._which[recording]]
        start = int(self._layout.start[window])
        shard = self._shards.get(self._names[recording])
        volts = shard.read(start, start + int(self._layout.length[recording]))
        return plan, plan.apply(volts)

    def _features(self, front_end: Any, plan: MontagePlan, signal: np.ndarray) -> np.ndarray:
        """Pass one window through the front end, which knows all electrodes of the source."""
        rows = self._all_electrodes()
        own = [rows[name] for name in plan.electrodes.names]
        wide = np.full((1, len(rows), signal.shape[-1]), np.nan, dtype=np.float32)
        wide[0, own] = signal
        return np.ascontiguousarray(front_end.transform(wide)[0, own], dtype=np.float32)

    def fit_front_end(self, indices: Sequence[int] | None = None) -> CorpusSource:
        """Let the model's front end, if it has one, learn from some windows.

        Without a call it learns from all windows of the source when it is first
        needed. Either way it sees at most 1024, evenly spread.

        Parameters
        ----------
        indices : sequence of int | None
            Windows of the training part; None means all.

        Returns
        -------
        CorpusSource
            Itself.
        """
        if self._model.front_end is None:
            return self
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        slowest = min(self._plans, key=lambda plan: plan.plan.info.sfreq).plan
        rows = self._all_electrodes()
        each = 4 * len(rows) * slowest.n_model_times(int(self._layout.length[0]))
        count = min(len(chosen), FIT_WINDOWS, max(1, FIT_BYTES // each))
        chosen = np.sort(chosen)[np.linspace(0, len(chosen) - 1, count).round().astype(int)]
        together: np.ndarray | None = None
        for at, window in enumerate(chosen.tolist()):
            plan, signal = self._signal(window)
            if together is None:
                together = np.full((count, len(rows), signal.shape[-1]), np.nan, np.float32)
            n = min(signal.shape[-1], together.shape[-1])
            own = [rows[name] for name in plan.electrodes.names]
            together[at, own, :n] = signal[:, :n]
            together[at, own, n:] = 0
        self._shards.forget()
        front_end = load_object(self._model.front_end)(slowest, **self._front_end_params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SignalWarning)  # stretches without a change
            self.front_end = front_end.fit(together, groups=self.groups[chosen])
        return self

    def _fitted_front_end(self) -> Any:
        if self._model.front_end is not None and self.front_end is None:
            self.fit_front_end()
        return self.front_end

    def _all_electrodes(self) -> dict[str, int]:
        names = dict.fromkeys(n for plan in self._plans for n in plan.electrodes.names)
        return {name: row for row, name in enumerate(names)}

    def digest(self) -> str:
        """Return what tells these windows from others: content, model, cut."""
        facts = {
            "content": self._index["content"].tolist(),
            "rejected": [intervals(value).tolist() for value in self._index["rejected"]],
            "groups": self._index["subject"].tolist(),
            "model": [self._model.name, repr(self._model.input)],
            "front_end": repr(sorted(self._front_end_params.items())),
            "plans": [repr(plan.key) for plan in self._plans],
            "cut": [self.window_seconds, self.stride_seconds, self._grouping, len(self)],
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """Return what goes in: the contamination record, as plain data.

        Returns
        -------
        dict
            ``datasets`` (name, licence, citation, subjects, n_recordings, hours),
            ``n_windows``, ``hours``, ``window_seconds``.
        """
        counts = np.bincount(self._layout.recording, minlength=len(self._index))
        # Overlapping windows do not make a recording longer.
        seconds = counts * min(self.window_seconds, self.stride_seconds)
        seconds = np.minimum(seconds, self._index["usable_seconds"].to_numpy())
        told = contamination(self._index, seconds)
        return told | {"n_windows": len(self), "window_seconds": self.window_seconds}


def make_source(
    corpus: Corpus, model: Any, *, window_seconds: float | None, stride_seconds: float | None,
    on_unknown: str, missing: str, groups: str, front_end_params: dict[str, Any] | None,
) -> CorpusSource:  # fmt: skip
    """Plan the windows of a corpus; see :meth:`eegfound.corpus.Corpus.source`."""
    from eegfound.models import get_model

    model = get_model(model) if isinstance(model, str) else model
    for name, value, allowed in (("groups", groups, _GROUPS), ("missing", missing, _MISSING)):
        if value not in allowed:
            raise SpecError(f"{name}={value!r} is not one of {allowed}.")
    seconds = window_length(model.input, window_seconds, model.name)
    stride = seconds if stride_seconds is None else float(stride_seconds)
    if not stride > 0:
        raise SpecError(f"stride_seconds={stride_seconds!r} must be positive.")
    plans, which, reasons = _plans(corpus, model, on_unknown, missing)
    index = corpus.index
    recordings, starts, lengths = [], [], np.zeros(len(index), dtype=np.int64)
    for number in np.flatnonzero(which >= 0).tolist():
        rate, n_times = float(index["sfreq"].iloc[number]), int(index["n_times"].iloc[number])
        length, step = round(seconds * rate), max(1, round(stride * rate))
        free = usable(intervals(index["rejected"].iloc[number]), n_times)
        own = np.concatenate([np.arange(a, b - length + 1, step) for a, b in free])
        lengths[number] = length
        if not len(own):
            reasons.append(f"no stretch of {seconds:g} s without artefacts")
            continue
        starts.append(own.astype(np.int64))
        recordings.append(np.full(len(own), number, dtype=np.int32))
    skipped = [(reason, count) for reason, count in Counter(reasons).most_common()]
    if not starts:
        why = "; ".join(f"{count} recording(s): {reason}" for reason, count in skipped)
        raise SpecError(f"{model.name} has no window in {corpus.path}: {why}")
    if skipped:
        total = sum(count for _, count in skipped)
        why = "; ".join(f"{count}: {reason}" for reason, count in skipped[:3])
        warnings.warn(
            f"{total} of {len(index)} recordings are not used for {model.name} ({why}).",
            SignalWarning,
            stacklevel=3,
        )
    used = np.unique(np.concatenate(recordings))
    moved = np.full(len(index), -1, dtype=np.int32)
    moved[used] = np.arange(len(used))
    layout = Layout(moved[np.concatenate(recordings)], np.concatenate(starts), lengths[used])
    return CorpusSource(
        corpus, model, index.iloc[used].reset_index(drop=True), layout, plans, which[used],
        window_seconds=seconds, stride_seconds=stride, groups=groups, skipped=skipped,
        front_end_params=dict(front_end_params or {}),
    )  # fmt: skip


def window_length(spec: InputSpec, asked: float | None, name: str) -> float:
    """Return the length of windows in seconds.

    Parameters
    ----------
    spec : InputSpec
        The model's contract.
    asked : float | None
        What the user wants.
    name : str
        Name of the model.

    Raises
    ------
    SpecError
        If the model cannot take windows of that length in one pass.
    """
    shortest = spec.shortest / spec.sfreq
    longest = math.inf if spec.max_samples is None else spec.max_samples / spec.sfreq
    if asked is None:
        low, high = spec.window_seconds or (USUAL_SECONDS, USUAL_SECONDS)
        return min(max(min(max(USUAL_SECONDS, low), high), shortest), longest)
    # A hundredth of a sample: lengths in seconds are rounded numbers.
    slack = 0.01 / spec.sfreq
    if not shortest - slack <= asked <= longest + slack:
        above = "" if longest == math.inf else f" to {longest:g}"
        raise SpecError(
            f"window_seconds={asked!r}: {name} takes windows of {shortest:g}{above} s"
            f"{' or more' if longest == math.inf else ''} in one pass."
        )
    return float(asked)


def _plans(
    corpus: Corpus, model: FoundationModel, on_unknown: str, missing: str
) -> tuple[list[MontagePlan], np.ndarray, list[str]]:
    """Return the plans, which recording has which (-1: none), and reasons against."""
    known: dict[Any, int | str] = {}
    plans: list[MontagePlan] = []
    which = np.full(len(corpus.index), -1, dtype=np.int32)
    reasons: list[str] = []
    columns = (corpus.index[c] for c in ("shard", "bytes", "sfreq", "ch_names"))
    for number, (shard, size, rate, names) in enumerate(zip(*columns)):
        _check_shard(corpus, shard, size)
        key: Any = (tuple(names), float(rate))
        info = ChannelInfo(key[0], rate)
        if model.input.needs_positions:
            info = Shard(corpus.path / shard).info
            key = (*key, json.dumps({k: list(v) for k, v in (info.positions or {}).items()}))
        if key not in known:
            try:
                found = plan_montage_of(model, info, on_unknown=on_unknown, missing=missing)
                known[key] = len(plans)
                plans.append(found)
            except SpecError as error:
                if missing == "raise" or on_unknown == "raise":
                    raise
                known[key] = str(error)
        answer = known[key]
        if isinstance(answer, str):
            reasons.append(answer)
        else:
            which[number] = answer
    return plans, which, reasons


def _check_shard(corpus: Corpus, shard: str, size: int) -> None:
    path = corpus.path / shard
    if not path.exists() or path.stat().st_size != size:
        raise CorpusError(
            f"The shard {path} is missing or not as long as it was: prepare again with the same "
            "parameters, which makes only what is not there."
        )
