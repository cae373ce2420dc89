"""The way up through SpecHi-Net, used in pretraining only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eegfound_specmoe.attention import Mode
from eegfound_specmoe.blocks import (
    Pair,
    TransformerBlock,
    act,
    conv,
    initialize,
    join_time,
    split_time,
    transposed,
)
from eegfound_specmoe.encoder import WIDTH, check_width
from eegfound_specmoe.times import PooledTimes


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of an encoded signal of ``n_times`` samples.

    Attributes
    ----------
    fine, coarse : Tensor, shape (n, n_channels, n_times)
        Two reconstructions of the signal, one per branch.
    stretched2, stretched1 : Tensor, shape (n, n_rows, n_channels * length)
        The auxiliary heads' rows; ``length`` is ``2 n_times / 15`` after the
        second stage and ``n_times / 30`` after the first.
    up1, up2 : Tensor, shape (n, 64, n_channels, length)
        Outputs of these stages.
    attended : Tensor, shape (n, n_channels * n_times / 30, 64)
        Output of the transformer block between them.
    """

    fine: Tensor
    coarse: Tensor
    stretched2: Tensor
    stretched1: Tensor
    up1: Tensor
    up2: Tensor
    attended: Tensor

    @property
    def signal(self) -> Tensor:
        """Mean of both reconstructions, in units of 0.1 mV."""
        return (self.fine + self.coarse) / 2


def _up1(p: float, w: int) -> Pair:
    h = w // 2
    return Pair(
        [
            conv(2 * w, w, 4, bias=True), *act(w), transposed(w, w, 4, 1, stride=2),
            *act(w), conv(w, h, 4, bias=True), *act(h),
        ],
        [
            conv(2 * w, w, 8, 4, bias=True), *act(w), transposed(w, w, 8, 4, stride=2),
            *act(w), nn.Dropout(p), conv(w, h, 8, 7, dilation=2, bias=True), *act(h),
        ],
    )  # fmt: skip


def _up2(p: float, w: int) -> Pair:
    h = w // 2
    return Pair(
        [
            transposed(w, h, 8, 3, stride=2), *act(h), conv(h, h, 4, bias=True), *act(h),
            conv(h, h, 4, bias=True), *act(h), nn.Dropout(p),
            transposed(h, h, 4, 1, stride=2), *act(h), conv(h, h, 4, bias=True),
        ],
        [
            transposed(w, h, 8, 4), *act(h), conv(h, h, 16, 8, bias=True), *act(h),
            conv(h, h, 16, 8, bias=True), *act(h), nn.Dropout(p),
            transposed(h, h, 8, 4, stride=2, extra=1), *act(h),
            transposed(h, h, 16, 16, stride=2, dilation=2, extra=1),
        ],
    )  # fmt: skip


def _up3(p: float, w: int) -> Pair:
    q, h = w // 4, w // 2
    return Pair(
        [
            transposed(w, h, 16, 7, stride=5), *act(h), conv(h, h, 4, 2, bias=True),
            *act(h), conv(h, q, 4, 2, bias=True), *act(q), nn.Dropout(p),
            transposed(q, q, 8, 1, stride=3, extra=1), *act(q), conv(q, 1, 4, 1, bias=True),
        ],
        [
            transposed(w, h, 16, 8), *act(h), conv(h, h, 16, 8, bias=True), *act(h),
            conv(h, q, 16, 8, bias=True), *act(q), nn.Dropout(p),
            transposed(q, q, 18, 9, stride=5), *act(q),
            transposed(q, 1, 65, 127, stride=3, dilation=4),
        ],
    )  # fmt: skip


class Decoder(nn.Module):
    """SpecHi-Net's decoder with its auxiliary heads.

    Parameters
    ----------
    heads, dropout, attention, width
        See :class:`eegfound_specmoe.encoder.Encoder`.
    n_rows : int
        Rows of the auxiliary heads: the number of channels of the training
        data (19 for the published weights).
    """

    def __init__(
        self, *, heads: int = 8, dropout: float = 0.2, attention: Mode = "auto", n_rows: int = 19,
        width: int = WIDTH,
    ) -> None:  # fmt: skip
        super().__init__()
        check_width(width, heads)
        self.n_rows = n_rows
        self.Up1 = _up1(dropout, width)
        self.TransformerEnc3 = TransformerBlock(
            width // 2, heads=heads, dropout=dropout, attention=attention
        )
        self.Up2 = _up2(dropout, width)
        self.Up3 = _up3(dropout, width)
        self.aux_head_up2 = nn.Sequential(nn.Linear(width // 2, n_rows))
        self.aux_head_up1 = nn.Sequential(nn.Linear(width // 2, n_rows))
        initialize(self)

    def forward(self, stages: Mapping[str, Tensor], times: PooledTimes) -> Decoded:
        """Reconstruct a signal.

        Parameters
        ----------
        stages : mapping of str to Tensor
            All that :meth:`eegfound_specmoe.encoder.Encoder.stages` yields.
        times : PooledTimes
            Positions that the encoder was given.

        Returns
        -------
        Decoded
            Reconstructions and what lies before them.

        Notes
        -----
        Two skips are not what one would expect, and the published weights were
        trained so: the second stage gets the re-read tokens of the encoder,
        and in the last one rows of the two branches alternate.
        """
        down3, down2 = stages["down3"], stages["down2"]
        n, _, n_channels, _ = down3.shape
        bottom = stages["bottom2"].reshape(down3.shape)
        up1 = join_time(self.Up1(*split_time(torch.cat([bottom, down3], dim=1))), n_channels)
        attended = self.TransformerEnc3(up1.flatten(2).transpose(1, 2), times.fine)
        skip = stages["tokens"].transpose(1, 2).reshape(down2.shape)
        joined = torch.cat([attended.transpose(1, 2).reshape(up1.shape), skip], dim=1)
        up2 = join_time(self.Up2(*split_time(joined)), n_channels)
        first = torch.cat([stages["fine"], stages["coarse"]], dim=-1).reshape(up2.shape)
        fine, coarse = self.Up3(*split_time(torch.cat([up2, first], dim=1)))
        return Decoded(
            fine=fine.reshape(n, n_channels, -1),
            coarse=coarse.reshape(n, n_channels, -1),
            stretched2=self.aux_head_up2(up2.flatten(2).transpose(1, 2)).transpose(1, 2),
            stretched1=self.aux_head_up1(attended).transpose(1, 2),
            up1=up1,
            up2=up2,
            attended=attended,
        )


def build_decoder(config: Mapping[str, Any], n_rows: int) -> Decoder:
    """Build the decoder that belongs to an expert of a configuration."""
    options = {key: config[key] for key in ("heads", "dropout", "attention") if key in config}
    return Decoder(n_rows=n_rows, width=config.get("features", WIDTH), **options)
