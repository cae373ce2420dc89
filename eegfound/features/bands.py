"""Tables of frequency bands in Hz."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eegfound.base import SpecError

Bands = Mapping[str, tuple[float, float]]

#: Bands that touch, read as ``low <= f < high`` by :func:`band_power`.
CLASSIC_BANDS: dict[str, tuple[float, float]] = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
#: Bands of the SEED features, read as ``low <= f <= high``: with windows of
#: one second no frequency is in two of them.
DE_BANDS: dict[str, tuple[float, float]] = {
    "delta": (1.0, 3.0),
    "theta": (4.0, 7.0),
    "alpha": (8.0, 13.0),
    "beta": (14.0, 30.0),
    "gamma": (31.0, 50.0),
}
#: The variant with shared edges that the same literature uses in running text.
DE_BANDS_SHARED_EDGES: dict[str, tuple[float, float]] = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 14.0),
    "beta": (14.0, 31.0),
    "gamma": (31.0, 50.0),
}
TABLES: dict[str, dict[str, tuple[float, float]]] = {
    "classic": CLASSIC_BANDS,
    "seed": DE_BANDS,
    "seed_shared": DE_BANDS_SHARED_EDGES,
}


def resolve_bands(bands: str | Bands) -> dict[str, tuple[float, float]]:
    """Return the table of bands that a parameter stands for.

    Parameters
    ----------
    bands : str | mapping of str to (float, float)
        Name of a table, or the table: band name to edges in Hz.

    Returns
    -------
    dict
        Band name to edges in Hz.

    Raises
    ------
    SpecError
        If the name is unknown or an interval is empty.
    """
    if isinstance(bands, str):
        if bands not in TABLES:
            raise SpecError(
                f"bands={bands!r} is not one of {list(TABLES)} nor a dict of intervals."
            )
        return TABLES[bands]
    if not isinstance(bands, Mapping):
        raise SpecError(
            f"bands={bands!r} is not one of {list(TABLES)} nor a dict of intervals, "
            "{'alpha': (8, 13)}."
        )
    table = {str(name): (float(low), float(high)) for name, (low, high) in dict(bands).items()}
    if not table:
        raise SpecError("bands is empty: name at least one interval, {'alpha': (8, 13)}.")
    for name, (low, high) in table.items():
        if not 0 <= low < high:
            raise SpecError(f"Band {name!r} = ({low:g}, {high:g}) Hz is not an interval.")
    return table


def check_bands(table: Bands, sfreq: float) -> None:
    """Raise if a band reaches beyond the Nyquist frequency.

    Parameters
    ----------
    table : mapping of str to (float, float)
        Bands in Hz.
    sfreq : float
        Rate in Hz.
    """
    for name, (_, high) in table.items():
        if high > sfreq / 2:
            raise SpecError(
                f"Band {name!r} reaches {high:g} Hz, but signals at {sfreq:g} Hz end at "
                f"{sfreq / 2:g} Hz: pass bands= without it, or data at {2 * high:g} Hz or more."
            )


def band_bins(freqs: np.ndarray, table: Bands, *, closed: bool) -> list[tuple[str, slice]]:
    """Return which DFT bins belong to each band.

    Parameters
    ----------
    freqs : ndarray, shape (n_bins,)
        Frequencies in Hz, increasing.
    table : mapping of str to (float, float)
        Bands in Hz.
    closed : bool
        Whether the upper edge belongs to the band.

    Returns
    -------
    list of (str, slice)
        Band name and its bins.

    Raises
    ------
    SpecError
        If a band holds no bin.
    """
    # A bin that equals an edge up to rounding is on the edge.
    slack = 1e-9 * max(freqs[-1], 1.0)
    found = []
    for name, (low, high) in table.items():
        start = int(np.searchsorted(freqs, low - slack))
        stop = int(np.searchsorted(freqs, high + slack if closed else high - slack))
        if stop <= start:
            raise SpecError(
                f"No DFT frequency lies in band {name!r} ({low:g}-{high:g} Hz): the windows are "
                "too short for so narrow a band. Use longer windows or wider bands."
            )
        found.append((name, slice(start, stop)))
    return found
