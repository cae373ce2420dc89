"""From a recording and a target to the mapping between them, decided once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.montage.layouts import Layout, get_layout
from eegfound.montage.mapping import (
    MappingTask,
    mapping_matrix,
    match_recorded,
    plan_mapping,
)
from eegfound.montage.recording import NameReport, parse_names
from eegfound.montage.report import MontageReport


@dataclass(frozen=True)
class MontagePlan:
    """The mapping of one recording to one target.

    Attributes
    ----------
    task : MappingTask
        What decides the mapping of single epochs.
    picks : ndarray of int
        Channels of the recording that are used.
    mapping : ndarray, shape (n_target, n_channels)
        Mapping where everything was recorded.
    rank : int
        Rank of its finite rows.
    report : MontageReport
        What became of each channel.
    info_out : ChannelInfo
        Channel facts of the output.
    """

    task: MappingTask
    picks: np.ndarray
    mapping: np.ndarray
    rank: int
    report: MontageReport
    info_out: ChannelInfo


def plan_montage(
    info: ChannelInfo, target: Any = None, *, missing: str = "raise", on_unknown: str = "raise"
) -> MontagePlan:
    """Decide how a recording is brought to a target.

    Parameters
    ----------
    info : ChannelInfo
        The recording.
    target : object | None
        See :func:`eegfound.montage.get_layout`; None keeps what was recorded.
    missing : {"raise", "nan", "interpolate", "nearest", "zero"}
        What to do with target electrodes that were not recorded.
    on_unknown : {"raise", "drop"}
        What to do with names that are not understood.

    Returns
    -------
    MontagePlan
        The mapping and its report.

    Raises
    ------
    SpecError
        If names are not understood, nothing can be used, or electrodes are
        missing and ``missing="raise"``.
    """
    eeg = info.eeg_picks()
    names = parse_names([info.ch_names[i] for i in eeg])
    layout = get_layout(target) if target is not None else _own_layout(names)
    task = plan_mapping(info, names, layout, missing)
    match = match_recorded(task, np.ones(len(eeg), dtype=bool), on_duplicate="first")
    used = [
        i
        for i, channel in enumerate(names.channels)
        if match.rows[i] >= 0
        or _is_end(task, i)
        or _is_spelling(task, i)
        or (i in task.sources and channel.is_eeg)
    ]
    _check_understood(names, used, on_unknown)
    if not used:
        raise SpecError(
            f"None of the channels {[c.raw for c in names.channels][:8]} can be used for the "
            f"target {layout.name!r} ({', '.join(layout.ch_names[:8])}, …)."
        )
    kept = NameReport(tuple(names.channels[i] for i in used), names.common_reference, names.net)
    task = plan_mapping(info, kept, layout, missing)
    matrix, rows = mapping_matrix(task, np.ones(len(used), dtype=bool), on_duplicate="first")
    picks = np.array([eeg[i] for i in used])
    mapping = np.zeros((layout.n_channels, info.n_channels))
    mapping[:, picks] = matrix
    dropped = [
        (c.raw, c.note if c.kind == "unknown" or not c.is_eeg else "not in the target")
        for i, c in enumerate(names.channels)
        if i not in used
    ]
    dropped += [(name, "not EEG by type") for i, name in enumerate(info.ch_names) if i not in eeg]
    report = MontageReport(names, layout.name, tuple(rows), tuple(dropped), match.aliased)
    finite = matrix[np.isfinite(matrix).all(axis=1)]
    rank = int(np.linalg.matrix_rank(finite)) if len(finite) else 0
    return MontagePlan(task, picks, mapping, rank, report, _info_out(info, layout, report))


def _check_understood(names: NameReport, used: list[int], on_unknown: str) -> None:
    unknown = [c for i, c in enumerate(names.channels) if c.kind == "unknown" and i not in used]
    if unknown and on_unknown == "raise":
        raws = [c.raw for c in unknown]
        raise SpecError(
            f"Channel(s) {raws[:12]}{'…' if len(raws) > 12 else ''}: "
            f"{'; '.join(sorted({c.note for c in unknown}))}. Rename them to 10-20 names, set "
            "their type (raw.set_channel_types), or leave them out with on_unknown='drop'."
        )


def _is_spelling(task: MappingTask, channel: int) -> bool:
    """Say whether a channel is another spelling of an electrode that has a row.

    Where T3 and T7 are both recorded, each in other epochs, both are needed.
    """
    name = task.report.channels[channel].name
    return name is not None and name in task.target.names


def _is_end(task: MappingTask, channel: int) -> bool:
    """Say whether a channel is an end of a derivation that the target wants."""
    if not task.derives:
        return False
    name = task.report.channels[channel].name
    return name is not None and any(
        name in (wanted.anode, wanted.cathode)
        for wanted in task.target.channels
        if wanted.kind == "bipolar"
    )


def _own_layout(names: NameReport) -> Layout:
    """Return the recording's electrodes under canonical names."""
    twice = names.duplicates
    kept = [c.cleaned if c.name in twice else c.name for c in names.channels if c.name is not None]
    for name, raws in twice.items():
        spellings = [c.cleaned.upper() for c in names.channels if c.name == name]
        if len(set(spellings)) < len(spellings):
            raise SpecError(
                f"Channels {raws} are all electrode {name!r}: keep one of them "
                f"(for instance raw.drop_channels({raws[1:]}))."
            )
    if not kept:
        raise SpecError(
            f"None of the channels {[c.raw for c in names.channels][:8]} is understood as EEG."
        )
    return Layout("recorded electrodes", tuple(str(name) for name in kept))


def _info_out(info: ChannelInfo, layout: Layout, report: MontageReport) -> ChannelInfo:
    positions = dict(layout.coordinates or {})
    for row in report.rows:
        if info.positions and row.how == "recorded" and row.sources[0] in info.positions:
            positions[row.name] = info.positions[row.sources[0]]
    return ChannelInfo(layout.ch_names, info.sfreq, positions=positions or None)
