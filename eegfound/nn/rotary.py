"""Rotary position embedding (Su et al., RoFormer, arXiv 2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, dim: int, *, base: float = 10000.0) -> Tensor:
    """Return the angle by which each pair of features is turned.

    Parameters
    ----------
    positions : Tensor, shape (..., n_tokens)
        Position of each token; need not be a whole number.
    dim : int
        Number of features that are turned, in pairs.
    base : float
        Pair ``i`` turns by ``position * base ** (-2 i / dim)``.

    Returns
    -------
    Tensor, shape (..., n_tokens, dim / 2)
        Angles in radians, in float32, or float64 for positions in float64.

    Examples
    --------
    >>> import torch
    >>> from eegfound.nn import rotary_angles
    >>> rotary_angles(torch.arange(2), 4).tolist()
    [[0.0, 0.0], [1.0, 0.009999999776482582]]
    """
    dtype = torch.float64 if positions.dtype == torch.float64 else torch.float32
    steps = torch.arange(0, dim, 2, dtype=dtype, device=positions.device)
    return positions.to(dtype)[..., None] * base ** (-steps / dim)


def rotate(x: Tensor, angles: Tensor, *, interleaved: bool) -> Tensor:
    """Turn pairs of features by angles.

    Parameters
    ----------
    x : Tensor, shape (..., n_tokens, n_features)
        Queries, keys or values.
    angles : Tensor, shape (..., n_tokens, n_pairs)
        From :func:`rotary_angles`; must broadcast against ``x``. The first
        ``2 * n_pairs`` features are turned, the others stay.
    interleaved : bool
        True pairs features ``(0, 1), (2, 3), …``; False pairs the first half
        of the turned features with the second.

    Returns
    -------
    Tensor, shape (..., n_tokens, n_features)
        Of the same dtype as ``x``.
    """
    turned = 2 * angles.shape[-1]
    head, rest = x[..., :turned], x[..., turned:]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = (head[..., 0::2], head[..., 1::2]) if interleaved else head.chunk(2, dim=-1)
    parts = (first * cos - second * sin, second * cos + first * sin)
    out = torch.stack(parts, dim=-1).flatten(-2) if interleaved else torch.cat(parts, dim=-1)
    return out if not rest.shape[-1] else torch.cat([out, rest], dim=-1)
