"""The matrix that takes the channels of a recording to a target layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.montage.interpolation import nearest_sources, spline_weights
from eegfound.montage.layouts import Layout
from eegfound.montage.matching import VocabularyMatch, match_report
from eegfound.montage.names import ParsedName
from eegfound.montage.recording import NameReport, parse_names
from eegfound.montage.report import TargetRow

MISSING = ("raise", "nan", "interpolate", "nearest", "zero")
FILLS = ("interpolate", "nearest")


@dataclass(frozen=True)
class MappingTask:
    """Everything that decides how channels become target electrodes.

    Attributes
    ----------
    report : NameReport
        The recording's EEG channels.
    layout : Layout
        The target.
    target : NameReport
        The target's names as understood.
    missing : str
        What to do with electrodes that were not recorded.
    sources : mapping of int to ndarray, shape (3,)
        Direction of each channel that can be interpolated from.
    places : mapping of str to ndarray, shape (3,)
        Direction of target electrodes, and of the ends of its derivations.
    derives : bool
        True when derivations of the target are computed from electrodes.
    """

    report: NameReport
    layout: Layout
    target: NameReport
    missing: str
    sources: Mapping[int, np.ndarray]
    places: Mapping[str, np.ndarray]
    derives: bool


def plan_mapping(
    info: ChannelInfo, report: NameReport, layout: Layout, missing: str
) -> MappingTask:
    """Look up what a mapping needs.

    Parameters
    ----------
    info : ChannelInfo
        The recording.
    report : NameReport
        Its EEG channels, as understood.
    layout : Layout
        The target.
    missing : {"raise", "nan", "interpolate", "nearest", "zero"}
        What to do with electrodes that were not recorded.

    Returns
    -------
    MappingTask
        Input of :func:`mapping_matrix`.
    """
    target = parse_names(layout.ch_names)
    sources: dict[int, np.ndarray] = {}
    places: dict[str, np.ndarray] = {}
    if missing in FILLS:
        from eegfound.montage.positions import electrode_directions

        own = electrode_directions([c.raw for c in report.channels], info)
        sources = {
            i: own[c.raw]
            for i, c in enumerate(report.channels)
            if c.raw in own and c.kind != "bipolar"
        }
        wanted: dict[str, None] = dict.fromkeys(layout.ch_names)
        for channel in target.channels:
            if channel.kind == "bipolar" and channel.anode and channel.cathode:
                wanted.update(dict.fromkeys((channel.anode, channel.cathode)))
        places = electrode_directions(wanted, layout.info(info.sfreq))
    return MappingTask(
        report=report,
        layout=layout,
        target=target,
        missing=missing,
        sources=sources,
        places=places,
        # A model that has rows for electrodes and for derivations (LaBraM) must not get the
        # latter made up from the former unless everything is to be filled.
        derives=missing in FILLS or all(c.kind == "bipolar" for c in target.channels),
    )


def match_recorded(
    task: MappingTask, recorded: np.ndarray, *, on_duplicate: str = "raise"
) -> VocabularyMatch:
    """Find the channels recorded in an epoch among the target's electrodes."""
    channels = tuple(c for c, there in zip(task.report.channels, recorded) if there)
    some = NameReport(channels, task.report.common_reference, task.report.net)
    return match_report(some, task.layout.ch_names, on_duplicate=on_duplicate)


def mapping_matrix(
    task: MappingTask, recorded: np.ndarray, *, on_duplicate: str = "raise"
) -> tuple[np.ndarray, list[TargetRow]]:
    """Return the mapping for one pattern of recorded channels.

    Parameters
    ----------
    task : MappingTask
        From :func:`plan_mapping`.
    recorded : ndarray of bool, shape (n_channels,)
        Which channels were recorded.
    on_duplicate : {"raise", "first"}
        What to do with two channels that are one electrode.

    Returns
    -------
    matrix : ndarray, shape (n_target, n_channels)
        ``target = matrix @ channels``; rows of NaN for electrodes that stay
        missing.
    rows : list of TargetRow
        How each target electrode gets its signal.
    """
    channels = task.report.channels
    there = [i for i in range(len(channels)) if recorded[i]]
    n_target = task.layout.n_channels
    matrix = np.zeros((n_target, len(channels)))
    rows = [TargetRow(name, "missing") for name in task.layout.ch_names]

    match = match_recorded(task, recorded, on_duplicate=on_duplicate)
    for channel, row in zip(there, match.rows):
        if row >= 0:
            matrix[row, channel] = 1.0
            rows[row] = TargetRow(rows[row].name, "recorded", (channels[channel].raw,))

    by_name: dict[str, int] = {}
    for i in there:
        if channels[i].name is not None:
            by_name.setdefault(str(channels[i].name), i)
    fill = _Filler(task, there, by_name)
    for row, wanted in enumerate(task.target.channels):
        if rows[row].how == "recorded":
            continue
        weights, how, names = fill.row(task.layout.ch_names[row], wanted)
        if weights is None:
            matrix[row] = 0.0 if task.missing == "zero" else np.nan
            rows[row] = TargetRow(rows[row].name, "zero" if task.missing == "zero" else "missing")
        else:
            matrix[row] = weights
            rows[row] = TargetRow(rows[row].name, how, names)
    absent = [row.name for row in rows if row.how == "missing"]
    if absent and task.missing == "raise":
        raise SpecError(_not_recorded(absent, [channels[i].raw for i in there], task.layout))
    return matrix, rows


class _Filler:
    """Weights for target electrodes without a channel of their own."""

    def __init__(self, task: MappingTask, there: Sequence[int], by_name: dict[str, int]) -> None:
        self.task = task
        self.by_name = by_name
        self.located = [i for i in there if i in task.sources]
        self.raws = [channel.raw for channel in task.report.channels]
        self.directions = np.array([task.sources[i] for i in self.located]).reshape(-1, 3)
        self.places: dict[str, np.ndarray] = {}
        if task.missing in FILLS:
            if not self.located:
                raise SpecError(
                    f"missing={task.missing!r} needs electrodes with a known position, but none "
                    f"of {[self.raws[i] for i in there][:8]} has one: rename the channels to "
                    "10-20 names, set a montage (raw.set_montage), or pass missing='nan'."
                )
            self.places = self._all_places()

    def _all_places(self) -> dict[str, np.ndarray]:
        """Compute all weights at once: the spline system is solved only once."""
        names = list(self.task.places)
        points = np.array([self.task.places[name] for name in names]).reshape(-1, 3)
        if self.task.missing == "interpolate":
            weights = spline_weights(self.directions, points)
        else:
            order = [str(self.task.report.channels[i].name or self.raws[i]) for i in self.located]
            weights = np.eye(len(self.located))[nearest_sources(self.directions, points, order)]
        full = np.zeros((len(names), len(self.raws)))
        full[:, self.located] = weights
        return dict(zip(names, full))

    def row(self, name: str, wanted: ParsedName) -> tuple[np.ndarray | None, str, tuple[str, ...]]:
        """Return weights over all channels, how they were made, and from what."""
        if wanted.kind == "bipolar" and wanted.anode and wanted.cathode:
            return self._derived(wanted) if self.task.derives else (None, "missing", ())
        if self.task.missing not in FILLS:
            return None, "missing", ()
        return self._electrode(name, wanted.name)

    def _electrode(
        self, name: str, canonical: str | None
    ) -> tuple[np.ndarray | None, str, tuple[str, ...]]:
        if canonical in self.by_name:  # T3 where T7 was recorded: the same electrode
            channel = self.by_name[canonical]
            unit = np.zeros(len(self.raws))
            unit[channel] = 1.0
            return unit, "same place", (self.raws[channel],)
        weights = self.places.get(name)
        if weights is None:
            return None, "missing", ()
        if self.task.missing == "nearest":
            return weights, "nearest", (self.raws[int(np.argmax(weights))],)
        return weights, "interpolated", ()

    def _derived(self, wanted: ParsedName) -> tuple[np.ndarray | None, str, tuple[str, ...]]:
        if wanted.name in self.by_name:
            return self._electrode("", wanted.name)
        parts: list[np.ndarray] = []
        sources: tuple[str, ...] = ()
        references: set[str] = set()
        for end in (str(wanted.anode), str(wanted.cathode)):
            weights, _, names = self._electrode(end, end)
            if weights is None:
                return None, "missing", ()
            parts.append(weights)
            sources += names
            if end in self.by_name:
                reference = self.task.report.channels[self.by_name[end]].reference
                references.add((reference or "").upper())
        if len(references) > 1:  # C3-A2 minus C4-A1 is not C3-C4
            return None, "missing", ()
        return parts[0] - parts[1], "derived", sources


def apply_matrix(
    matrix: np.ndarray, signal: np.ndarray, epochs: np.ndarray, out: np.ndarray
) -> None:
    """Write ``matrix @ signal`` of some epochs to ``out``.

    Parameters
    ----------
    matrix : ndarray, shape (n_target, n_channels)
        From :func:`mapping_matrix`.
    signal : ndarray, shape (n_epochs, n_channels, n_times)
        Input; channels with weight zero are not looked at.
    epochs : ndarray of int
        Epochs to map.
    out : ndarray, shape (n_epochs, n_target, n_times)
        Output; rows that only copy are bit-exact.
    """
    finite = np.isfinite(matrix).all(axis=1)
    copies = finite & ((matrix != 0).sum(axis=1) == 1) & (matrix == 1).any(axis=1)
    zeros = finite & ~matrix.any(axis=1)
    mixed = finite & ~copies & ~zeros
    rows, columns = np.flatnonzero(copies), matrix[copies].argmax(axis=1)
    used = np.flatnonzero(matrix[mixed].any(axis=0))
    weights = matrix[np.ix_(mixed, used)].astype(out.dtype)
    everything = len(epochs) == len(signal)
    # Slices instead of index arrays where all epochs are alike: twice as fast.
    part = signal if everything else signal[epochs]
    result = out if everything else np.empty((len(epochs), *out.shape[1:]), dtype=out.dtype)
    result[:, rows] = part[:, columns]
    result[:, zeros] = 0
    result[:, ~finite] = np.nan
    if mixed.any():
        # One product per epoch, so that its numbers do not depend on its neighbors.
        result[:, mixed] = weights @ part[:, used]
    if not everything:
        out[epochs] = result


def _not_recorded(absent: Sequence[str], there: Sequence[str], layout: Layout) -> str:
    def some(names: Sequence[str]) -> str:
        told = ", ".join(map(str, names[:12]))
        return told + (f", … ({len(names)} in all)" if len(names) > 12 else "")

    return (
        f"Target {layout.name!r} has electrodes that were not recorded: {some(absent)}. Recorded "
        f"are {some(there)}. Ways out: missing='interpolate' (spherical splines), "
        "missing='nearest', missing='nan' (for models that take any subset), missing='zero', or "
        "a target without these electrodes."
    )
