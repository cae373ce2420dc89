"""Time stamps of samples, and the positions that the transformer blocks see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

#: Windows are filled with zeros up to a multiple of this.
MULTIPLE = 120
#: Fewest samples of all channels together that the convolutions take.
FEWEST = 360

Stamps = Literal["finetuning", "pretraining"]


def padded_length(n_channels: int, n_times: int) -> int:
    """Return the length that the network runs on.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window.

    Returns
    -------
    int
        The next multiple of 120 that gives 360 samples over all channels.

    Examples
    --------
    >>> from eegfound_specmoe.times import padded_length
    >>> padded_length(22, 800), padded_length(1, 200)
    (840, 360)
    """
    least = max(n_times, -(-FEWEST // n_channels))
    return -(-least // MULTIPLE) * MULTIPLE


def time_stamps(
    n_times: int, *, stamps: Stamps = "finetuning", segments: Tensor | None = None
) -> Tensor:
    """Return the time stamp of every sample.

    Parameters
    ----------
    n_times : int
        Samples of the window, without padding.
    stamps : {"finetuning", "pretraining"}
        ``"finetuning"``: from 0.1 to 1.1 whatever the duration.
        ``"pretraining"``: from ``1 + 10 b`` to ``10 + 10 b`` for the b-th
        window of a recording.
    segments : Tensor of int64 | None, shape (n,)
        The ``b`` of each window; None takes 0. Only for ``"pretraining"``.

    Returns
    -------
    Tensor of float32, shape (n or 1, n_times)
        Time stamps.
    """
    if stamps == "finetuning":
        return torch.linspace(0.1, 1.1, n_times, dtype=torch.float64).float()[None]
    b = torch.zeros(1) if segments is None else segments
    b = b.to("cpu", torch.float64)[:, None]
    steps = torch.linspace(1.0, 10.0, n_times, dtype=torch.float64)
    return (steps + 10 * b).float()


@dataclass(frozen=True)
class PooledTimes:
    """Positions of the transformer blocks.

    Attributes
    ----------
    fine : Tensor of float32, shape (n or 1, n_channels * n_times / 30)
        For the blocks of width 64.
    coarse : Tensor of float32, shape (n or 1, n_channels * n_times / 60)
        For the block of width 128.

    Notes
    -----
    Averages count the zeros beyond the edges, so the first and last positions
    are too small, and each entry is repeated for all channels before the next
    one comes, unlike the tokens. The published weights were trained so.
    """

    fine: Tensor
    coarse: Tensor

    @classmethod
    def of(cls, stamps: Tensor, n_channels: int) -> PooledTimes:
        """Pool time stamps, ``(n or 1, n_times)``, zeros of the padding included."""
        pooled = F.avg_pool1d(stamps[:, None], 8, 5, 4)
        fine = F.avg_pool1d(pooled, 16, 6, 6)
        coarse = F.avg_pool1d(pooled, 32, 12, 12)
        return cls(*(part[:, 0].repeat_interleave(n_channels, dim=1) for part in (fine, coarse)))
