"""Stochastic depth (Huang et al., arXiv 1603.09382)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Drop the whole branch of randomly chosen epochs, and scale up the others.

    Parameters
    ----------
    x : Tensor, shape (n_epochs, ...)
        Output of a residual branch.
    rate : float
        Probability of dropping.
    training : bool
        Nothing is dropped otherwise.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    if not training or rate <= 0:
        return x
    keep = 1 - rate
    kept = torch.empty(len(x), *[1] * (x.ndim - 1), device=x.device).bernoulli_(keep) / keep
    return x * kept.to(x.dtype)


class DropPath(nn.Module):
    """:func:`drop_path` as a module.

    Parameters
    ----------
    rate : float
        Probability of dropping.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch, dropped for some epochs while training."""
        return drop_path(x, self.rate, self.training)
