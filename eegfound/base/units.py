"""Physical units, and the check that data are EEG in the unit stated."""

from __future__ import annotations

import numpy as np

from eegfound.base.exceptions import SpecError, UnitError

#: Volts per unit.
UNITS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "nV": 1e-9}
#: Robust amplitude (median absolute deviation from the channel's median), in
#: volts, that a window of scalp EEG can have. Ordinary EEG lies near 5-30 µV;
#: the bounds leave room for high-pass filtered, infant and artefact-ridden data.
PLAUSIBLE_VOLTS = (5e-8, 2e-3)


def unit_factor(unit: str, to: str = "V") -> float:
    """Return the factor that takes values in ``unit`` to the unit ``to``.

    Parameters
    ----------
    unit, to : str
        One of ``"V"``, ``"mV"``, ``"uV"``, ``"nV"``.

    Returns
    -------
    float
        ``value_in_to = value_in_unit * factor``.
    """
    for name, value in (("unit", unit), ("to", to)):
        if value not in UNITS:
            raise SpecError(f"{name}={value!r} is not one of {sorted(set(UNITS) - {'µV', 'μV'})}.")
    return UNITS[unit] / UNITS[to]


def robust_amplitude(X: np.ndarray) -> float:
    """Return the median over channels of the median absolute deviation in time.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals in any unit; NaN channels are left out.

    Returns
    -------
    float
        NaN when nothing was recorded, 0.0 when all is flat.
    """
    flat = X.reshape(-1, X.shape[-1])
    if len(flat) > 256:  # an even sample says as much as the whole
        flat = flat[:: len(flat) // 256 + 1]
    flat = flat[~np.isnan(flat).any(axis=1)]
    if flat.size == 0:
        return float("nan")
    centred = flat - np.median(flat, axis=1, keepdims=True)
    spread = np.median(np.abs(centred), axis=1)
    moving = spread[spread > 0]
    return float(np.median(moving)) if moving.size else 0.0


def plausible_unit(amplitude: float) -> str | None:
    """Return the unit in which ``amplitude`` looks most like EEG, if any."""
    typical = 1e-5
    fits = [
        (abs(np.log10(amplitude * UNITS[unit] / typical)), unit)
        for unit in ("V", "mV", "uV", "nV")
        if PLAUSIBLE_VOLTS[0] <= amplitude * UNITS[unit] <= PLAUSIBLE_VOLTS[1]
    ]
    return min(fits)[1] if fits else None


def check_unit(X: np.ndarray, unit: str, *, name: str = "X") -> float:
    """Check that the amplitude of ``X`` can be EEG in ``unit``.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals.
    unit : str
        Unit the caller states.
    name : str
        Name of the array in the message.

    Returns
    -------
    float
        Factor from ``unit`` to volts.

    Raises
    ------
    UnitError
        If the amplitude cannot be EEG in ``unit``; the message names the
        ``unit=`` that would fit.
    """
    factor = unit_factor(unit)
    amplitude = robust_amplitude(X)
    low, high = PLAUSIBLE_VOLTS
    if np.isnan(amplitude) or amplitude == 0.0 or low <= amplitude * factor <= high:
        return factor
    words = {"V": "volts", "mV": "millivolts", "uV": "microvolts", "nV": "nanovolts"}
    better = plausible_unit(amplitude)
    hint = (
        f"did you mean unit={better!r}? (a factor of {factor / UNITS[better]:g} lies between them)"
        if better
        else "no usual unit fits: rescale the data to volts and pass unit='V' "
        "(raw ADC counts must be multiplied by the amplifier's resolution)"
    )
    raise UnitError(
        f"{name} has a median absolute amplitude of {amplitude:.2g}, which is not EEG in "
        f"{words.get(unit, 'microvolts')}; {hint}."
    )
