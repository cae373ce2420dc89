"""Finding a recording's channels in a model's list of electrodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eegfound.base import SpecError
from eegfound.montage.names import ParsedName
from eegfound.montage.recording import NameReport, parse_names
from eegfound.montage.tables import EAR_SUBSTITUTE


@dataclass(frozen=True)
class VocabularyMatch:
    """Where the channels of a recording stand in a vocabulary.

    Attributes
    ----------
    rows : tuple of int
        0-based row of each channel, -1 where it has none.
    names : tuple of str | None
        The vocabulary's own name of each channel, None where it has none.
    unknown : tuple of str
        Raw names of EEG channels (or names not understood) without a row.
    left_out : tuple of str
        Raw names of channels that are no EEG (ECG, triggers, ``A2-A1``).
    aliased : tuple of (str, str)
        Raw name and vocabulary name of channels that were matched by another
        name than their own (T3 as T7, M1 as A1, E36 as C3).
    report : NameReport
        What was understood of the names.
    """

    rows: tuple[int, ...]
    names: tuple[str | None, ...]
    unknown: tuple[str, ...]
    left_out: tuple[str, ...]
    aliased: tuple[tuple[str, str], ...]
    report: NameReport


class _Index:
    """A vocabulary, ready to be searched by each of the rules."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.names = tuple(vocabulary)
        self.exact: dict[str, int] = {}
        self.canonical: dict[str, int] = {}
        self.place: dict[str, int] = {}
        report = parse_names(vocabulary)
        self.net = report.net
        self.kinds = [channel.kind for channel in report.channels]
        for row, (name, parsed) in enumerate(zip(self.names, report.channels)):
            self.exact.setdefault(name.upper(), row)
            self.exact.setdefault(parsed.cleaned.upper(), row)
            if parsed.name is not None:
                # Where T3 and T7 are both rows, the name T7 belongs to the second.
                if parsed.name.upper() == parsed.cleaned.upper():
                    self.canonical[parsed.name] = row
                else:
                    self.canonical.setdefault(parsed.name, row)
            if parsed.equivalent is not None:
                self.place.setdefault(parsed.equivalent, row)

    def find(self, channel: ParsedName) -> tuple[int, int]:
        """Return the row of a channel and the number of the rule that found it."""
        for step, rule in enumerate(_RULES):
            row = rule(self, channel)
            if row is not None:
                return row, step
        return -1, -1


def _exact(index: _Index, channel: ParsedName) -> int | None:
    if channel.reference is not None:
        row = index.exact.get(f"{channel.cleaned}-{channel.reference}".upper())
        if row is not None:
            return row
    return index.exact.get(channel.cleaned.upper())


def _same_electrode(index: _Index, channel: ParsedName) -> int | None:
    return index.canonical.get(channel.name) if channel.name else None


def _other_ear_name(index: _Index, channel: ParsedName) -> int | None:
    substitute = EAR_SUBSTITUTE.get(channel.name or "")
    return index.canonical.get(substitute) if substitute else None


def _same_place(index: _Index, channel: ParsedName) -> int | None:
    if channel.equivalent is not None:
        return index.canonical.get(channel.equivalent)
    return index.place.get(channel.name) if channel.name else None


_RULES: tuple[Callable[[_Index, ParsedName], int | None], ...] = (
    _exact,
    _same_electrode,
    _other_ear_name,
    _same_place,
)
#: From this rule on, a channel only stands in for the electrode of the row.
_STAND_IN = _RULES.index(_other_ear_name)


def match_vocabulary(ch_names: Iterable[str], vocabulary: Sequence[str]) -> VocabularyMatch:
    """Find the channels of a recording in a vocabulary.

    Rules, in this order: the name itself without prefix and reference (in any
    case), the same electrode by its older or newer name, ear lobe for mastoid
    of the same side, the 10-10 place of a Geodesic Sensor Net electrode.

    Parameters
    ----------
    ch_names : iterable of str
        Channel names of a recording.
    vocabulary : sequence of str
        Names that a model knows, in order.

    Returns
    -------
    VocabularyMatch
        Row and name of each channel, and what has no place.

    Raises
    ------
    SpecError
        If two channels fall on one row.

    Examples
    --------
    >>> from eegfound.montage import match_vocabulary
    >>> match_vocabulary(["EEG T3-REF", "Cz.."], ["T7", "CZ", "T3"]).rows
    (2, 1)
    >>> match_vocabulary(["EEG T3-REF", "Cz.."], ["T7", "CZ"]).aliased
    (('EEG T3-REF', 'T7'),)
    """
    return match_report(parse_names(ch_names), vocabulary)


def match_report(
    report: NameReport, vocabulary: Sequence[str], *, on_duplicate: str = "raise"
) -> VocabularyMatch:
    """Find channels that were read already; see :func:`match_vocabulary`.

    Parameters
    ----------
    report : NameReport
        The names as understood.
    vocabulary : sequence of str
        Names that a model knows, in order.
    on_duplicate : {"raise", "first"}
        What to do with two names of one electrode. ``"first"`` gives the row to
        the channel found by the stricter rule (then to the earlier one) and
        leaves the other without a row.

    Returns
    -------
    VocabularyMatch
        Row and name of each channel.
    """
    index = _Index(vocabulary)
    found = [_find(index, channel, report.net) for channel in report.channels]
    owner: dict[int, int] = {}
    for position, (row, step) in enumerate(found):
        if row < 0:
            continue
        if row not in owner:
            owner[row] = position
            continue
        rival = owner[row]
        steps = sorted((found[rival][1], step))
        # A stand-in (mastoid for ear, net electrode for 10-10 place) gives way to the
        # electrode itself; two names of one electrode are a mistake in the recording.
        if on_duplicate == "raise" and not steps[0] < _STAND_IN <= steps[1]:
            first, second = report.channels[rival].raw, report.channels[position].raw
            raise SpecError(
                f"Channels {first!r} and {second!r} are both electrode {index.names[row]!r}: keep "
                f"one of them (for instance raw.drop_channels([{second!r}]))."
            )
        if step < found[rival][1]:
            owner[row] = position
    rows = tuple(
        row if row >= 0 and owner[row] == position else -1
        for position, (row, _) in enumerate(found)
    )
    raws = [channel.raw for channel in report.channels]
    return VocabularyMatch(
        rows=rows,
        names=tuple(index.names[row] if row >= 0 else None for row in rows),
        unknown=tuple(c.raw for c, row in zip(report.channels, rows) if row < 0 and c.is_eeg),
        left_out=tuple(c.raw for c, row in zip(report.channels, rows) if row < 0 and not c.is_eeg),
        aliased=tuple(
            (raw, index.names[row])
            for raw, row, (_, step) in zip(raws, rows, found)
            if row >= 0 and step > 0
        ),
        report=report,
    )


def _find(index: _Index, channel: ParsedName, net: str | None) -> tuple[int, int]:
    row, step = index.find(channel)
    if row < 0:
        return -1, -1
    # An amplifier input called C3 must not become the electrode C3; a vocabulary of
    # such inputs is itself read as inputs, and then the names may meet.
    if channel.kind == "unknown" and index.kinds[row] != "unknown":
        return -1, -1
    # E36 of a 64-channel net is not E36 of the 128-channel net.
    if step == 0 and index.net is not None and net not in (None, index.net):
        name = channel.name or ""
        if name.startswith("E") and index.names[row].upper() == name:
            return -1, -1
    return row, step
