"""Layers whose output rows have a bounded norm (spatial filters, linear probes)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bounded_rows(weight: Tensor, max_norm: float) -> Tensor:
    """Shrink the rows whose norm is larger than ``max_norm``.

    Parameters
    ----------
    weight : Tensor, shape (n_outputs, ...)
        Weights; all inputs of an output row count together.
    max_norm : float
        Largest norm of a row.

    Returns
    -------
    Tensor
        ``w * max_norm / (|w| + 1e-7)`` for the rows that are too long, the
        others as they are.
    """
    norms = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
    return torch.where(norms > max_norm, weight * (max_norm / (norms + 1e-7)), weight)


class _MaxNorm(nn.Module):
    """Projects the stored weight while training; only reads it otherwise."""

    weight: Tensor
    max_norm: float

    def bounded(self) -> Tensor:
        """Return the weight with rows of bounded norm."""
        if not self.training:
            return bounded_rows(self.weight, self.max_norm)
        with torch.no_grad():
            self.weight.copy_(bounded_rows(self.weight, self.max_norm))
        return self.weight


class MaxNormLinear(_MaxNorm, nn.Linear):
    """Linear layer with bounded rows.

    Parameters
    ----------
    in_features, out_features : int
        As in :class:`torch.nn.Linear`.
    max_norm : float
        Largest norm of a row; longer ones are shrunk, and while training the
        shrunk row replaces the stored one before each forward pass.
    bias : bool
        Whether the layer has a bias.
    """

    def __init__(
        self, in_features: int, out_features: int, *, max_norm: float = 1.0, bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.max_norm = max_norm

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x @ weight.T + bias``."""
        return F.linear(x, self.bounded(), self.bias)


class MaxNormConv1d(_MaxNorm, nn.Conv1d):
    """One-dimensional convolution with bounded rows.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
        As in :class:`torch.nn.Conv1d`.
    max_norm : float
        See :class:`MaxNormLinear`.
    **options : Any
        Further options of :class:`torch.nn.Conv1d`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, *, max_norm: float = 1.0,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.max_norm = max_norm

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved signal."""
        return self._conv_forward(x, self.bounded(), self.bias)
