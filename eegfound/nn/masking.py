"""Choosing what a masked objective hides."""

from __future__ import annotations

import torch
from torch import Tensor


def hide_largest(noise: Tensor, n_visible: int) -> Tensor:
    """Hide all but the ``n_visible`` smallest entries of each row.

    Parameters
    ----------
    noise : Tensor, shape (..., n)
        Independent numbers.
    n_visible : int
        How many stay visible in each row.

    Returns
    -------
    Tensor of bool, shape (..., n)
        True where hidden.

    Examples
    --------
    >>> import torch
    >>> from eegfound.nn import hide_largest
    >>> hide_largest(torch.tensor([[0.9, 0.1, 0.5]]), 1).tolist()
    [[True, False, True]]
    """
    ranks = noise.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    return ranks >= n_visible


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``values`` where the mask is True.

    Parameters
    ----------
    values : Tensor
        Any shape.
    mask : Tensor of bool or numbers
        Broadcasts against ``values``.

    Returns
    -------
    Tensor, shape ()
        Zero where the mask is empty.
    """
    weight = torch.broadcast_to(mask.to(values.dtype), values.shape)
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
