"""Cutting a signal into patches."""

from __future__ import annotations

from torch import Tensor


def cut_patches(signal: Tensor, size: int, stride: int | None = None) -> Tensor:
    """Cut the last axis into (possibly overlapping) patches.

    Parameters
    ----------
    signal : Tensor, shape (..., n_times)
        Samples; those after the last whole patch are not used.
    size : int
        Samples per patch.
    stride : int | None
        Hop between patches; None is ``size``.

    Returns
    -------
    Tensor, shape (..., n_patches, size)
        A view where torch can make one.

    Examples
    --------
    >>> import torch
    >>> from eegfound.nn import cut_patches
    >>> cut_patches(torch.arange(5), 3, 1).tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    """
    return signal.unfold(-1, size, stride or size)
