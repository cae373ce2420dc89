"""What a :class:`~eegfound.montage.MontageMapper` did, for people and for scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from eegfound.montage.recording import NameReport


@dataclass(frozen=True)
class TargetRow:
    """How one electrode of the target gets its signal.

    Attributes
    ----------
    name : str
        Electrode of the target.
    how : str
        ``"recorded"``, ``"same place"`` (recorded, under another name of the
        same electrode), ``"derived"`` (difference of two electrodes),
        ``"interpolated"``, ``"nearest"``, ``"zero"`` or ``"missing"`` (NaN).
    sources : tuple of str
        Raw names of the channels it is made of; empty for ``"interpolated"``,
        which uses all located electrodes.
    """

    name: str
    how: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class MontageReport:
    """What became of the channels of a recording.

    Attributes
    ----------
    names : NameReport
        What was understood of the channel names.
    target : str
        Name of the target layout.
    rows : tuple of TargetRow
        One entry per electrode of the target.
    dropped : tuple of (str, str)
        Raw name and reason of each channel that is not used.
    aliased : tuple of (str, str)
        Raw name and target name where the two are not the same word.
    """

    names: NameReport
    target: str
    rows: tuple[TargetRow, ...]
    dropped: tuple[tuple[str, str], ...]
    aliased: tuple[tuple[str, str], ...]

    def of(self, how: str) -> list[str]:
        """Return the target electrodes that got their signal in one way."""
        return [row.name for row in self.rows if row.how == how]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data (for JSON)."""
        return {
            "target": self.target,
            "rows": [asdict(row) for row in self.rows],
            "dropped": [list(pair) for pair in self.dropped],
            "aliased": [list(pair) for pair in self.aliased],
            "names": self.names.to_dict(),
        }

    def __str__(self) -> str:
        lines = [f"Target {self.target}: {len(self.rows)} electrodes."]
        ways: dict[str, list[str]] = {}
        for row in self.rows:
            ways.setdefault(row.how, []).append(row.name)
        lines += [f"  {how} ({len(found)}): {', '.join(found)}" for how, found in ways.items()]
        if self.aliased:
            told = ", ".join(f"{raw} as {name}" for raw, name in self.aliased)
            lines.append(f"  taken for another name: {told}")
        if self.dropped:
            told = ", ".join(f"{raw} ({why})" for raw, why in self.dropped)
            lines.append(f"  not used: {told}")
        return "\n".join(lines)
