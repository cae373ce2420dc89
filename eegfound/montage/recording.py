"""Reading all channel names of a recording together.

Some facts stand only in the whole list: whether ``Cz`` in ``Fp1-Cz`` is the
reference of every channel, whether ``A1``, ``A2``, ``A3`` … are inputs of an
amplifier instead of ear electrodes, and which Geodesic Sensor Net ``E36``
belongs to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from eegfound.base import SpecError
from eegfound.montage.names import ParsedName, parse_name
from eegfound.montage.tables import EGI_128, EGI_NETS

_INPUT_LABEL = re.compile(r"^[A-I]\d{1,2}$")
_NET_LABEL = re.compile(r"^E(\d{1,3})$")
#: Share of the derivations that must have one cathode to call it the reference.
COMMON_SHARE = 0.75


@dataclass(frozen=True)
class NameReport:
    """What was understood of the channel names of one recording.

    Attributes
    ----------
    channels : tuple of ParsedName
        One entry per channel, in order.
    common_reference : str | None
        Electrode that all (or nearly all) pairs share as second electrode.
    net : str | None
        MNE's name of the Geodesic Sensor Net that ``E…`` names belong to.
    """

    channels: tuple[ParsedName, ...]
    common_reference: str | None = None
    net: str | None = None

    @property
    def names(self) -> list[str | None]:
        """Canonical name of each channel, None where there is none."""
        return [channel.name for channel in self.channels]

    @property
    def duplicates(self) -> dict[str, list[str]]:
        """Canonical names that several channels have, with the raw names."""
        counts = Counter(name for name in self.names if name is not None)
        return {
            name: [c.raw for c in self.channels if c.name == name]
            for name, count in counts.items()
            if count > 1
        }

    @property
    def unknown(self) -> list[str]:
        """Raw names that were not understood."""
        return [c.raw for c in self.channels if c.kind == "unknown"]

    @property
    def left_out(self) -> list[str]:
        """Raw names of channels that are not EEG."""
        return [c.raw for c in self.channels if not c.is_eeg]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data (for JSON)."""
        return {
            "channels": [asdict(channel) for channel in self.channels],
            "common_reference": self.common_reference,
            "net": self.net,
            "duplicates": self.duplicates,
            "unknown": self.unknown,
            "left_out": self.left_out,
        }

    def table(self) -> str:
        """Return "what I understood" as an aligned text table."""
        head = ("in the file", "understood as", "kind", "note")
        rows = [(c.raw, c.name or "-", c.kind, c.note) for c in self.channels]
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(3)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths)), row[3]]).rstrip()
            for row in (head, *rows)
        ]
        if self.common_reference:
            lines.append(f"All channels are referenced to {self.common_reference}.")
        for name, raws in self.duplicates.items():
            lines.append(f"{len(raws)} channels are {name}: {', '.join(raws)}.")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def parse_names(ch_names: Iterable[str]) -> NameReport:
    """Say what the channel names of a recording mean.

    Parameters
    ----------
    ch_names : iterable of str
        All channel names of the recording, as the file has them.

    Returns
    -------
    NameReport
        One :class:`ParsedName` per channel and what they have in common.

    Examples
    --------
    >>> from eegfound.montage import parse_names
    >>> report = parse_names(["EEG Fp1-CPz", "EEG T3-CPz", "EEG O1-CPz", "ECG"])
    >>> report.names, report.common_reference
    (['Fp1', 'T7', 'O1', None], 'CPz')
    """
    if isinstance(ch_names, str):
        raise SpecError(f"ch_names must be a sequence of names, got the string {ch_names!r}.")
    return _parse(tuple(str(name) for name in ch_names))


@lru_cache(maxsize=256)
def _parse(ch_names: tuple[str, ...]) -> NameReport:
    channels = [parse_name(name) for name in ch_names]
    channels = _amplifier_inputs(channels)
    channels, net = _sensor_net(channels)
    channels, common = _common_reference(channels)
    return NameReport(tuple(channels), common, net)


def _amplifier_inputs(channels: Sequence[ParsedName]) -> list[ParsedName]:
    """Take names like A1…A32, B1… for what they are: sockets, not places on the head.

    BioSemi and intracranial files use them; ``A1``, ``C3`` and ``F4`` among
    them would otherwise pass for an ear and two scalp electrodes.
    """
    labels = [c for c in channels if _INPUT_LABEL.match(c.cleaned.upper())]
    impossible = [c for c in labels if c.kind == "unknown"]
    if len(impossible) < 4:
        return list(channels)
    note = (
        "label of an amplifier input or a depth electrode, not of a place on the scalp: "
        "rename the channels by the table of your cap (raw.rename_channels)"
    )
    inputs = {c.raw for c in labels}
    return [
        ParsedName(c.raw, c.cleaned, None, "unknown", note=note) if c.raw in inputs else c
        for c in channels
    ]


def _sensor_net(channels: Sequence[ParsedName]) -> tuple[list[ParsedName], str | None]:
    """Find which Geodesic Sensor Net the E-names belong to; their numbers differ."""
    numbers: dict[str, int] = {}
    for channel in channels:
        match = _NET_LABEL.match(channel.cleaned.upper())
        if match and channel.kind == "electrode":
            numbers[channel.raw] = int(match.group(1))
    if not numbers:
        return list(channels), None
    if set(numbers.values()) <= {1, 2} and any(
        c.kind in ("electrode", "ear") and c.raw not in numbers for c in channels
    ):
        note = "eye electrode of a sleep recording (E1, E2 beside 10-20 names)"
        return [
            ParsedName(c.raw, c.cleaned, None, "non-eeg", note=note) if c.raw in numbers else c
            for c in channels
        ], None
    # A nearly complete set tells its size; a few electrodes are taken for the common 128.
    size = 257 if max(numbers.values()) > 129 else 129
    for small in (32, 65):
        if max(numbers.values()) <= small and len(numbers) >= 0.75 * (small - 1):
            size = small
            break
    return [
        _in_net(c, numbers[c.raw], size) if c.raw in numbers else c for c in channels
    ], EGI_NETS[size]


def _in_net(channel: ParsedName, number: int, size: int) -> ParsedName:
    if number == size and size != 32:
        note = f"E{number} is the vertex of a {size - 1}-channel Geodesic Sensor Net"
        return replace(channel, name="Cz", equivalent=None, note=note)
    if size == 129:
        equivalent = EGI_128.get(number)
        return replace(channel, name=f"E{number}", equivalent=equivalent)
    note = f"electrode of {EGI_NETS[size]}"
    return replace(channel, name=f"E{number}", equivalent=None, note=note)


def _common_reference(channels: Sequence[ParsedName]) -> tuple[list[ParsedName], str | None]:
    """Read pairs with one shared second electrode as referenced to it."""
    pairs = [c for c in channels if c.kind == "bipolar"]
    if len(pairs) < 2:
        return list(channels), None
    cathode, count = Counter(c.cathode for c in pairs).most_common(1)[0]
    if count < 2 or count < COMMON_SHARE * len(pairs) or cathode in {c.anode for c in pairs}:
        return list(channels), None
    note = f"referenced to {cathode}, as all channels are"
    result = []
    for channel in channels:
        if channel.kind == "bipolar" and channel.cathode == cathode:
            first = parse_name(channel.cleaned.partition("-")[0])
            channel = replace(first, raw=channel.raw, reference=cathode, note=note)
        result.append(channel)
    return result, cathode
