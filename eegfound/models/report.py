"""What happened when weights met a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LoadReport:
    """Outcome of loading a state dict, tensor by tensor.

    Attributes
    ----------
    matched : tuple of str
        Tensors of the network that were filled from the file.
    missing : tuple of str
        Tensors the file should have had.
    unexpected : tuple of str
        Tensors of the file that the network does not know.
    mismatched : tuple of (str, tuple, tuple)
        Tensors of another shape or kind: key, shape in the file, in the network.
    optional : tuple of str
        Tensors that may be missing, were, and keep their initial values.
    dropped : tuple of str
        Tensors of the file that the plugin's converter leaves out on purpose.
    source : str
        File or description the tensors came from.
    record : mapping
        What the weights were trained on (the contamination record); empty where nobody
        told. ``datasets`` lists ``{"name", "subjects", "hours", ...}``.
    """

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[Any, ...], tuple[Any, ...]], ...] = ()
    optional: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    source: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when every tensor that must match did."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.mismatched)

    def summary(self) -> str:
        """Return one line with the counts."""
        return (
            f"{len(self.matched)} tensors matched, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} mismatched, "
            f"{len(self.optional)} optional left at their initial values, "
            f"{len(self.dropped)} dropped by the plugin's rules"
        )

    def faults(self, most: int = 5) -> str:
        """Return the faults in words, at most ``most`` of each kind."""
        parts = []
        for what, keys in (("missing", self.missing), ("unexpected", self.unexpected)):
            if keys:
                more = f" … and {len(keys) - most} more" if len(keys) > most else ""
                parts.append(f"{what}: {', '.join(keys[:most])}{more}")
        if self.mismatched:
            shown = [f"{k}: file {a}, network {b}" for k, a, b in self.mismatched[:most]]
            more = (
                f" … and {len(self.mismatched) - most} more" if len(self.mismatched) > most else ""
            )
            parts.append("other shape: " + "; ".join(shown) + more)
        return ". ".join(parts) or ("no tensor matched" if not self.matched else "none")

    def trained_on(self) -> str:
        """Return in words what the weights were trained on."""
        told = []
        for each in self.record.get("datasets", ()):
            subjects = each.get("subjects") or ()
            facts = [f"{len(subjects)} subjects"] if subjects else []
            facts += [f"{each['hours']:.3g} h"] if each.get("hours") else []
            told.append(each["name"] + (f" ({', '.join(facts)})" if facts else ""))
        return ", ".join(told) or "not told"

    def __str__(self) -> str:
        return f"{self.source}: {self.summary()}. Trained on: {self.trained_on()}"
