"""Statistics of features per band, over time and channels, and their use.

The spatial pattern survives: all channels share five means and five spreads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from eegfound.base import SpecError

Normalization = Literal["gaussian", "minmax"]
NORMALIZATIONS: tuple[str, ...] = ("gaussian", "minmax")


def check_normalization(kind: str) -> None:
    """Raise if there is no such normalization."""
    if kind not in NORMALIZATIONS:
        raise SpecError(f"normalization={kind!r} is not one of {NORMALIZATIONS}.")


@dataclass(frozen=True)
class BandStatistics:
    """Mean, spread and range of each band.

    Attributes
    ----------
    mean, std, low, high : ndarray of float64, shape (n_bands,)
        Mean, population standard deviation (ddof 0), minimum and maximum.
    """

    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, weight: np.ndarray | None = None) -> BandStatistics:
        """Take the statistics of features.

        Parameters
        ----------
        features : ndarray, shape (n, ..., n_bands)
            NaN where a channel was not recorded.
        weight : ndarray | None, shape (n,)
            Weight of each entry of the first axis in mean and spread.

        Returns
        -------
        BandStatistics
            Over everything but the band.
        """
        values = np.asarray(features, dtype=np.float64)
        share = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)
        table = values.reshape(-1, values.shape[-1])
        each = np.repeat(share, len(table) // len(values))
        kept = ~np.isnan(table[:, 0])
        table, each = table[kept], each[kept, None]
        total = each.sum()
        mean = (each * table).sum(axis=0) / total
        variance = (each * (table - mean) ** 2).sum(axis=0) / total
        return cls(mean, np.sqrt(variance), table.min(axis=0), table.max(axis=0))

    def apply(self, features: np.ndarray, kind: str = "gaussian") -> np.ndarray:
        """Normalize features.

        Parameters
        ----------
        features : ndarray, shape (..., n_bands)
            Features.
        kind : {"gaussian", "minmax"}
            ``(v - mean) / std`` or ``(v - low) / (high - low)``. A band that
            does not vary is only shifted.

        Returns
        -------
        ndarray of float64
            Same shape.
        """
        check_normalization(kind)
        if kind == "gaussian":
            shift, scale = self.mean, self.std
        else:
            shift, scale = self.low, self.high - self.low
        flat = scale <= 1e-9 * (np.abs(shift) + 1e-9)
        return (np.asarray(features, dtype=np.float64) - shift) / np.where(flat, 1.0, scale)
