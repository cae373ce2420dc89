"""Multi-dimensional position encoding: one sine table per axis, side by side."""

from __future__ import annotations

from typing import Literal

import numpy as np

from eegfound.base import SpecError
from eegfound_mmm.topology import N_ELECTRODES, N_REGIONS, degrees, ranks

Position = Literal["1d", "2d", "3d", "sph"]
POSITIONS: tuple[str, ...] = ("1d", "2d", "3d", "sph")


def axis_encoding(places: np.ndarray, width: int) -> np.ndarray:
    r"""Encode places along one axis.

    With :math:`\omega_j = 10000^{-2j/\mathrm{width}}`: first all
    :math:`\sin(p\,\omega_j)`, then all :math:`\cos(p\,\omega_j)` (the paper
    interleaves them; the authors' code does not).

    Parameters
    ----------
    places : ndarray, shape (n,)
        Coordinates, fractions allowed.
    width : int
        Even length of a vector.

    Returns
    -------
    ndarray of float64, shape (n, width)
        The table.
    """
    omega = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    angles = np.outer(np.asarray(places, dtype=np.float64), omega)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def position_table(kind: str, width: int) -> np.ndarray:
    """Return the position vectors of all tokens of the topology.

    Parameters
    ----------
    kind : {"2d", "1d", "3d", "sph"}
        ``"2d"``: ranks along x and y, half the width each (what the published
        weights have). ``"1d"``: number of the token. ``"3d"``: ranks along x,
        y and z. ``"sph"``: azimuth and elevation in degrees.
    width : int
        Length of a vector.

    Returns
    -------
    ndarray of float64, shape (80, width)
        Electrodes, regions, and zeros for the class token.

    Raises
    ------
    SpecError
        If the kind is unknown or the width cannot be shared out in even parts.

    Examples
    --------
    >>> from eegfound_mmm.positions import position_table
    >>> position_table("2d", 64).shape
    (80, 64)
    """
    if kind == "1d":
        places = np.arange(N_ELECTRODES + N_REGIONS, dtype=np.float64)[:, None]
    elif kind == "2d":
        places = ranks()[:, :2]
    elif kind == "3d":
        places = ranks()
    elif kind == "sph":
        places = degrees()
    else:
        raise SpecError(f"position={kind!r} is not one of {POSITIONS}.")
    n_axes = places.shape[1]
    # A whole number of (sine, cosine) pairs per axis; the first axes get the rest.
    pairs = [len(part) for part in np.array_split(np.arange(width // 2), n_axes)]
    if width % 2 or min(pairs) == 0 or (n_axes == 2 and width % 4):
        raise SpecError(
            f"width={width} cannot be shared between the {n_axes} axes of position={kind!r}: "
            f"use a multiple of {4 if n_axes == 2 else 2} of at least {2 * n_axes}."
        )
    axes = [axis_encoding(axis, 2 * n) for axis, n in zip(places.T, pairs, strict=True)]
    return np.concatenate([np.concatenate(axes, axis=1), np.zeros((1, width))])
