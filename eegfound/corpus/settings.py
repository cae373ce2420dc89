"""What is done to every recording of a set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eegfound.base import SpecError, unit_factor
from eegfound.base.info import MIN_SFREQ


@dataclass(frozen=True)
class Settings:
    """Parameters of :func:`eegfound.corpus.prepare_corpus` that change the signals.

    Attributes
    ----------
    sfreq : float | None
        Rate of the store in Hz; None keeps that of each file.
    band : (float | None, float | None) | None
        Pass band in Hz.
    notch : tuple of float
        Lines to take out, in Hz.
    unit : str | float | None
        Unit of what the reader returns, or volts per unit; None believes the file.
    rename : mapping of str to str
        Channel names to use instead of the file's.
    max_abs : float | None
        Volts from which on a sample is an artefact.
    flat_seconds : float | None
        Seconds without any change from which on a channel is dead.
    bad_share : float
        Share of the recording that a channel may be bad before it is left out.
    min_seconds : float
        Shortest recording, and shortest stretch between artefacts.
    """

    sfreq: float | None = None
    band: tuple[float | None, float | None] | None = None
    notch: tuple[float, ...] = ()
    unit: str | float | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    max_abs: float | None = 1e-3
    flat_seconds: float | None = 2.0
    bad_share: float = 0.5
    min_seconds: float = 4.0

    def volts(self, known: bool) -> float:
        """Return volts per unit of what a reader returned.

        Parameters
        ----------
        known : bool
            Whether the reader says that it returns volts.
        """
        if self.unit is None:
            if not known:
                raise SpecError(
                    "holds numbers without a physical unit (raw converter units): pass "
                    "unit=<volts per unit> (--unit), or dataset= of a set that is known."
                )
            return 1.0
        return unit_factor(self.unit) if isinstance(self.unit, str) else float(self.unit)

    def digest(self) -> str:
        """Return what tells these settings from others."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()[:16]

    def plain(self) -> dict[str, Any]:
        """Return them as plain data."""
        return asdict(self) | {"rename": dict(self.rename)}


def read_settings(
    *, sfreq: Any, band: Any, notch: Any, unit: Any, rename: Any, max_abs: Any,
    flat_seconds: Any, bad_share: Any, min_seconds: Any,
) -> Settings:  # fmt: skip
    """Check what the user gave.

    Raises
    ------
    SpecError
        Naming the parameter that is wrong.
    """
    if sfreq is not None and not MIN_SFREQ <= float(sfreq) < float("inf"):
        raise SpecError(f"sfreq={sfreq!r} is not the rate of EEG in Hz (at least {MIN_SFREQ:g}).")
    if isinstance(unit, str):
        unit_factor(unit)
    elif unit is not None and not 0 < float(unit) < float("inf"):
        raise SpecError(f"unit={unit!r} is neither a unit nor a positive number of volts per unit.")
    for name, value in (
        ("max_abs", max_abs), ("flat_seconds", flat_seconds), ("min_seconds", min_seconds),
    ):  # fmt: skip
        if value is not None and not float(value) > 0:
            raise SpecError(f"{name}={value!r} must be positive" + _or_none(name))
    if not 0 < float(bad_share) <= 1:
        raise SpecError(f"bad_share={bad_share!r} must lie in (0, 1].")
    return Settings(
        sfreq=None if sfreq is None else float(sfreq),
        band=_band(band),
        notch=_lines(notch),
        unit=unit if unit is None or isinstance(unit, str) else float(unit),
        rename={str(k): str(v) for k, v in dict(rename or {}).items()},
        max_abs=None if max_abs is None else float(max_abs),
        flat_seconds=None if flat_seconds is None else float(flat_seconds),
        bad_share=float(bad_share),
        min_seconds=float(min_seconds),
    )


def _or_none(name: str) -> str:
    return "." if name == "min_seconds" else ", or None."


def _band(band: Any) -> tuple[float | None, float | None] | None:
    if band is None:
        return None
    if not isinstance(band, Sequence) or isinstance(band, str) or len(band) != 2:
        raise SpecError(f"band={band!r} must be (low, high) in Hz; None leaves a side open.")
    low, high = (None if edge is None else float(edge) for edge in band)
    for edge in (low, high):
        if edge is not None and not edge > 0:
            raise SpecError(f"band={band!r}: edges are positive frequencies in Hz, or None.")
    if low is not None and high is not None and low >= high:
        raise SpecError(f"band={band!r}: the lower edge must lie below the upper one.")
    return (low, high)


def _lines(notch: Any) -> tuple[float, ...]:
    if notch is None:
        return ()
    lines = [notch] if isinstance(notch, int | float) else list(notch)
    if any(not float(line) > 0 for line in lines):
        raise SpecError(f"notch={notch!r}: lines are positive frequencies in Hz.")
    return tuple(float(line) for line in lines)
