"""The way down through SpecHi-Net: three stages of two branches, and the bottom.

Darankoum, Habermacher, Volle, Grudinin: "SpecMoE: Spectral Mixture-of-Experts
Foundation Model for Cross-Species EEG Decoding", arXiv 2603.16739.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound_specmoe.attention import Mode
from eegfound_specmoe.blocks import (
    Branch,
    Pair,
    TransformerBlock,
    act,
    conv,
    initialize,
    join_time,
    split_time,
)
from eegfound_specmoe.times import PooledTimes

#: Features of a published expert's output.
WIDTH = 128
#: Parts of the encoder in order, as their parameters are named.
PARTS = ("Down1", "Down2", "TransformerEnc1", "Down3", "Bottom1", "TransformerEnc2", "Bottom2")
#: The last that each part yields; see :meth:`Encoder.stages`.
STAGES = ("coarse", "down2", "attention1", "down3", "bottom1", "attention2", "bottom2")


class Bottom(nn.Module):
    """Two convolutions that keep the shape, ``(n, width, n_times)``."""

    def __init__(self, dropout: float, width: int = WIDTH) -> None:
        super().__init__()
        self.features = Branch(
            conv(width, width, 8), *act(width), nn.Dropout(dropout),
            conv(width, width, 8), *act(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        return self.features(x)


def _down1(p: float, w: int) -> Pair:
    q, h = w // 4, w // 2
    return Pair(
        [
            conv(1, q, 4), *act(q), nn.MaxPool1d(8, 5, 2), nn.Dropout(p),
            conv(q, h, 4), *act(h),
            conv(h, h, 4), *act(h), nn.MaxPool1d(16, 3, 7),
        ],
        [
            conv(1, q, 65, 97, stride=3, dilation=4), *act(q), nn.MaxPool1d(18, 5, 9),
            nn.Dropout(p),
            conv(q, h, 16, 8), *act(h),
            conv(h, h, 16, 8), *act(h), nn.MaxPool1d(16, 1, 8),
        ],
    )  # fmt: skip


def _down2(p: float, w: int) -> Pair:
    h = w // 2
    return Pair(
        [
            conv(h, h, 4), *act(h), nn.MaxPool1d(4, 2, 2), nn.Dropout(p),
            conv(h, h, 4), *act(h),
            conv(h, h, 4), *act(h), nn.MaxPool1d(8, 2, 3),
        ],
        [
            conv(h, h, 16, 11, dilation=2), *act(h), nn.MaxPool1d(8, 2, 4), nn.Dropout(p),
            conv(h, h, 16, 8), *act(h),
            conv(h, h, 16, 8), *act(h), nn.MaxPool1d(8, 2, 4),
        ],
    )  # fmt: skip


def _down3(p: float, w: int) -> Pair:
    h = w // 2
    return Pair(
        [
            conv(h, w, 4), *act(w), nn.MaxPool1d(4, 2, 1), nn.Dropout(p),
            conv(w, w, 4), *act(w),
        ],
        [
            conv(h, w, 8, 5, dilation=2), *act(w), nn.MaxPool1d(8, 2, 4), nn.Dropout(p),
            conv(w, w, 8, 4), *act(w),
        ],
    )  # fmt: skip


def check_width(width: int, heads: int) -> None:
    """Raise if the transformer blocks cannot be cut into heads of even length.

    Raises
    ------
    SpecError
        If ``width`` is not a positive multiple of ``4 * heads``.
    """
    if width < 1 or heads < 1 or width % (4 * heads):
        raise SpecError(f"width={width!r} must be a positive multiple of 4 * heads, {4 * heads}.")


class Encoder(nn.Module):
    """SpecHi-Net without its decoder: one expert.

    Parameters
    ----------
    heads : int
        Heads of both transformer blocks; the published weights have 8.
    dropout : float
        Dropout between layers while training.
    attention : {"auto", "dense", "chunked"}
        See :func:`eegfound_specmoe.attention.attend`.
    width : int
        Features of the output, a multiple of ``4 * heads``; the stages before
        have a quarter and a half of it. The published weights have 128.

    Notes
    -----
    Several arrays are re-read in another shape where a permutation would be
    expected; the published weights were trained so.
    """

    def __init__(
        self, *, heads: int = 8, dropout: float = 0.2, attention: Mode = "auto", width: int = WIDTH
    ) -> None:
        super().__init__()
        check_width(width, heads)
        block = partial(TransformerBlock, heads=heads, dropout=dropout, attention=attention)
        self.Down1 = _down1(dropout, width)
        self.Down2 = _down2(dropout, width)
        self.TransformerEnc1 = block(width // 2)
        self.Down3 = _down3(dropout, width)
        self.Bottom1 = Bottom(dropout, width)
        self.TransformerEnc2 = block(width)
        self.Bottom2 = Bottom(dropout, width)
        self.drop = nn.Dropout(dropout)
        initialize(self)

    def stages(self, x: Tensor, times: PooledTimes) -> Iterator[tuple[str, Tensor]]:
        """Run the encoder stage by stage.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels, n_times)
            In units of 0.1 mV at 200 Hz; ``n_times`` a multiple of 120 and
            ``n_channels * n_times`` at least 360.
        times : PooledTimes
            Positions of the same length.

        Yields
        ------
        name : str
            ``"fine"``, ``"coarse"`` (the two branches of the first stage,
            ``(n, 64, n_channels * n_times / 15)``), ``"down2"`` ``(n, 64,
            n_channels, n_times / 30)``, ``"tokens"`` and ``"attention1"``
            ``(n, n_channels * n_times / 30, 64)``, ``"down3"`` ``(n, 128,
            n_channels, n_times / 60)``, ``"bottom1"`` ``(n, 128, n_channels *
            n_times / 60)``, ``"attention2"`` with the last two axes swapped,
            and ``"bottom2"``, the output, like ``"bottom1"``; for ``width=128``.
        value : Tensor
            The stage's output.
        """
        n, n_channels, _ = x.shape
        row = x.reshape(n, 1, -1)  # channels one after another
        fine, coarse = (self.drop(part) for part in self.Down1(row, row))
        yield "fine", fine
        yield "coarse", coarse
        down2 = self.drop(join_time(self.Down2(fine, coarse), n_channels))
        yield "down2", down2
        # Re-read, not permuted: memory of (feature, channel, time) as (token, feature).
        tokens = down2.reshape(n, -1, down2.shape[1])
        yield "tokens", tokens
        y = self.TransformerEnc1(tokens, times.fine)
        yield "attention1", y
        mixed = y.transpose(1, 2).reshape(down2.shape)
        down3 = self.drop(join_time(self.Down3(*split_time(mixed)), n_channels))
        yield "down3", down3
        bottom1 = self.Bottom1(down3.flatten(2))
        yield "bottom1", bottom1
        y = self.TransformerEnc2(bottom1.transpose(1, 2), times.coarse)
        yield "attention2", y
        yield "bottom2", self.Bottom2(y.transpose(1, 2))

    def forward(self, x: Tensor, times: PooledTimes) -> Tensor:
        """Return the output alone, ``(n, 128, n_channels * n_times / 60)``."""
        return dict(self.stages(x, times))["bottom2"]
