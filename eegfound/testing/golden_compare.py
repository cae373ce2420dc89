"""Comparing a reproduced value with the stored one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """How far an array may be from the stored one.

    Attributes
    ----------
    absolute, relative : float
        The difference may be ``absolute + relative * |stored|``.
    above : float
        Only stored values larger than this in magnitude are compared.
    """

    absolute: float = 1e-5
    relative: float = 0.0
    above: float = 0.0

    def __str__(self) -> str:
        """Return the bound as it is printed."""
        if not self.relative:
            return f"{self.absolute:.0e}"
        return f"{self.relative:.0e} relative" + (f" + {self.absolute:.0e}" * bool(self.absolute))


@dataclass(frozen=True)
class ArrayResult:
    """How one stored array was reproduced.

    Attributes
    ----------
    name : str
        Name in the file.
    ok : bool
        Whether it is within tolerance.
    max_abs_diff : float | None
        Largest absolute difference; None where values cannot be subtracted.
    tolerance : str
        The bound, or ``"exact"``.
    detail : str
        Why it is a miss, where a number does not say it.
    """

    name: str
    ok: bool
    max_abs_diff: float | None
    tolerance: str
    detail: str = ""


def compare(name: str, stored: Any, ours: Any, tolerance: Tolerance) -> ArrayResult:
    """Compare a reproduced value with the stored one.

    Parameters
    ----------
    name : str
        Name in the file.
    stored, ours : ndarray, number, list or dict
        Both of the same structure. NaN equals NaN.
    tolerance : Tolerance
        Bound for floating-point values; all else must be equal.

    Returns
    -------
    ArrayResult
        With the largest difference over all entries.
    """
    if isinstance(stored, Mapping):
        return _compare_mapping(name, stored, ours, tolerance)
    a, b = np.asarray(stored), np.asarray(ours)
    exact = a.dtype.kind != "f"
    bound = "exact" if exact else str(tolerance)
    if a.shape != b.shape:
        detail = f"shape {b.shape} instead of {a.shape}"
        return ArrayResult(name, False, None, bound, detail)
    if a.size == 0:
        return ArrayResult(name, True, 0.0, bound)
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        wrong = int(np.count_nonzero(a != b))
        return ArrayResult(name, not wrong, None, "exact", _count(wrong, a.size))
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    same = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(wide_a - wide_b))
    distance[np.isnan(distance)] = np.inf
    if exact:
        wrong = int(np.count_nonzero(~same))
        return ArrayResult(name, not wrong, float(distance.max()), bound, _count(wrong, a.size))
    if tolerance.above:
        distance = np.where(np.abs(wide_a) > tolerance.above, distance, 0.0)
    with np.errstate(invalid="ignore"):
        allowed = tolerance.absolute + tolerance.relative * np.nan_to_num(np.abs(wide_a), posinf=0)
    wrong = int(np.count_nonzero(distance > allowed))
    return ArrayResult(name, not wrong, float(distance.max()), bound, _count(wrong, a.size))


def _count(wrong: int, size: int) -> str:
    return f"{wrong} of {size} entries differ" if wrong and size > 1 else ""


def _compare_mapping(
    name: str, stored: Mapping[str, Any], ours: Any, tolerance: Tolerance
) -> ArrayResult:
    if not isinstance(ours, Mapping) or set(ours) != set(stored):
        found = set(ours) if isinstance(ours, Mapping) else set()
        faults = [f"without {sorted(set(stored) - found)[:3]}"] * bool(set(stored) - found)
        faults += [f"with unknown {sorted(found - set(stored))[:3]}"] * bool(found - set(stored))
        return ArrayResult(name, False, None, "exact", ", ".join(faults) or "not a mapping")
    parts = [compare(key, value, ours[key], tolerance) for key, value in stored.items()]
    missed = [part for part in parts if not part.ok]
    differences = [part.max_abs_diff for part in parts if part.max_abs_diff is not None]
    detail = ""
    if missed:
        first = f"{missed[0].name} {missed[0].detail}".strip()
        detail = f"{len(missed)} of {len(parts)} entries differ, first {first}"
    return ArrayResult(name, not missed, max(differences, default=None), str(tolerance), detail)
