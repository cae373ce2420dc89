"""Bring features to mean 0 and spread 1, by numbers taken from training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from eegfound.base import SpecError

#: Of what a mean and of what a spread is taken; see :class:`Standardize`.
SHARING = ("feature", "slice", "all")

#: Epochs whose statistics are computed at a time.
_BLOCK = 256


class Standardize(nn.Module):
    """Subtract a fixed mean and divide by a fixed spread, set from training data.

    A feature may consist of slices (tokens, electrodes, moments) of the same
    width, side by side; a slice that was not recorded is NaN, counts nowhere
    and stays NaN.

    Parameters
    ----------
    n_features : int
        Length of the feature vector, all slices together.
    n_slices : int
        Equal parts of the vector.
    sharing : {"feature", "slice", "all"}
        ``"feature"``: each number has its own mean and spread. ``"slice"``:
        its own mean, but one spread for all slices (that around the slices'
        own means), so that a rarely recorded electrode is not magnified; a
        slice that was never recorded gets the mean of the others. ``"all"``:
        mean and spread are those of all slices together, so that what tells
        one token from another is kept.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int, *, n_slices: int = 1, sharing: str = "feature") -> None:
        super().__init__()
        if sharing not in SHARING:
            raise SpecError(f"sharing={sharing!r} is not one of {SHARING}.")
        self.n_slices, self.sharing = n_slices, sharing
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def set_from(self, features: Tensor, weight: Tensor, *, floor: float = 0.0) -> None:
        """Take mean and spread of weighted features.

        Parameters
        ----------
        features : Tensor, shape (n_epochs, ...)
            Features, flat or in slices; NaN where not recorded.
        weight : Tensor, shape (n_epochs,)
            Weight of each epoch.
        floor : float
            The spread counts as at least ``floor`` times the feature's root
            mean square.
        """
        features = features.flatten(1)
        if self.sharing != "feature" or torch.isnan(features).any():
            return self.set_from_blocks(in_blocks(features, weight), floor=floor)
        share = (weight / weight.sum()).to(features.dtype)[:, None]
        mean = (share * features).sum(dim=0)
        spread = (share * (features - mean) ** 2).sum(dim=0).sqrt()
        self._keep(mean, spread, (share * features**2).sum(dim=0).sqrt(), floor)

    def set_from_blocks(
        self, blocks: Iterable[tuple[Tensor, Tensor]], *, floor: float = 0.0
    ) -> None:
        """Take mean and spread of features that come in blocks, each seen once.

        Parameters
        ----------
        blocks : iterable of (Tensor, Tensor)
            Features and weights as in :meth:`set_from`, of some epochs each.
        floor : float
            See :meth:`set_from`.

        Notes
        -----
        Blocks are merged with the update of Chan, Golub and LeVeque (1979), in
        float64: two blocks of total weights ``a`` and ``b`` and means ``m`` and
        ``n`` have the summed squares ``S + T + (m - n)**2 * a * b / (a + b)``.
        """
        total = self.mean.new_zeros(self.mean.shape, dtype=torch.float64)
        mean, squares = torch.zeros_like(total), torch.zeros_like(total)
        for features, weight in blocks:
            flat = features.flatten(1).to(total)
            recorded = ~torch.isnan(flat)
            share = torch.where(recorded, weight.to(total)[:, None], 0.0)
            flat = torch.where(recorded, flat, 0.0)
            here = share.sum(dim=0)
            own = (share * flat).sum(dim=0) / _or_one(here)
            spread = (share * (flat - own) ** 2).sum(dim=0)
            both, apart = _or_one(total + here), own - mean
            squares += spread + apart**2 * total * here / both
            mean += apart * here / both
            total += here
        self._keep(*self._share(total, mean, squares), floor)

    def _share(self, total: Tensor, mean: Tensor, squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, spread and root mean square of each number."""
        if self.sharing == "feature":
            spread = (squares / _or_one(total)).sqrt()
            return mean, spread, (spread**2 + mean**2).sqrt()
        total, mean, squares = (t.view(self.n_slices, -1) for t in (total, mean, squares))
        whole = _or_one(total.sum(dim=0))
        common = (total * mean).sum(dim=0) / whole
        if self.sharing == "all":
            squares = squares + total * (mean - common) ** 2
            mean = common.expand_as(mean)
        mean = torch.where(total > 0, mean, common)
        spread = (squares.sum(dim=0) / whole).sqrt().expand_as(mean)
        size = (spread**2 + (total * mean**2).sum(dim=0) / whole).sqrt()
        return mean.flatten(), spread.flatten(), size.flatten()

    def _keep(self, mean: Tensor, spread: Tensor, size: Tensor, floor: float) -> None:
        # A feature that does not vary says nothing; dividing by its rounding
        # noise would make it shout.
        spread = torch.maximum(spread, floor * size)
        flat = spread <= 1e-6 * (mean.abs() + 1e-6)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(flat, torch.ones_like(spread), spread))

    def forward(self, features: Tensor) -> Tensor:
        """Return standardized features, ``(n_epochs, n_features)``."""
        return (features - self.mean) / self.scale


def _or_one(total: Tensor) -> Tensor:
    """Return divisors: 1 where nothing was counted."""
    return torch.where(total > 0, total, torch.ones_like(total))


def in_blocks(features: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features and weights of a few hundred epochs at a time."""
    for first in range(0, len(features), _BLOCK):
        yield features[first : first + _BLOCK], weight[first : first + _BLOCK]
