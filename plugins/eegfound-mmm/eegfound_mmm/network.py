"""MMM's encoder.

Yi, Wang, Ren, Li: "Learning Topology-Agnostic EEG Representations with
Geometry-Aware Modeling", NeurIPS 2023. Names of parameters are the published
ones, so files go both ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound_mmm.blocks import TopologyTransformer
from eegfound_mmm.topology import N_ELECTRODES, N_REGIONS

#: Numbers per electrode: differential entropy of five bands.
N_BANDS = 5


class MMM(EncoderNetwork):
    """MMM's encoder: electrodes, 17 region tokens and a class token.

    Parameters
    ----------
    pooling : str
        Read-out (changes nothing in the network).
    width, depth, n_heads : int
        Length of a token, blocks, heads.
    position : {"2d", "1d", "3d", "sph"}
        See :func:`eegfound_mmm.positions.position_table`.
    attention : {"global", "local"}
        Electrodes attend to all electrodes, or to those of their region.
    missing : {"drop", "zero"}
        What becomes of electrodes that were not recorded: no tokens, or tokens
        whose input is zero and that take part in attention.
    region_tokens : {"zeros", "normal"} | array-like, shape (17, 5) | None
        What the region tokens start from where the weights hold none (the
        published file does not). None is ``"zeros"``; ``"normal"`` draws from
        N(0, 1), as the authors do before fine-tuning.
    windows : {"mean", "concat"}
        How read-outs treat the windows of an epoch.
    """

    def __init__(
        self, *, pooling: str = "flatten", width: int = 64, depth: int = 6, n_heads: int = 8,
        position: str = "2d", attention: str = "global", missing: str = "drop",
        region_tokens: Any = None, windows: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, known in (
            ("missing", missing, ("drop", "zero")), ("windows", windows, ("mean", "concat"))
        ):  # fmt: skip
            if value not in known:
                raise SpecError(f"{name}={value!r} is not one of {known}.")
        self.width, self.n_layers, self.n_heads = width, depth, n_heads
        self.missing, self.windows, self.attention = missing, windows, attention
        self.supernodes = nn.Parameter(_first_tokens(region_tokens))
        self.network = TopologyTransformer(
            N_BANDS, width, depth, n_heads, position=position, attention=attention
        )

    def place(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the policy for electrodes that were not recorded.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels, 5)
            Features of the recorded electrodes.
        rows : Tensor of int64, shape (n_channels,)
            Which they are.

        Returns
        -------
        x : Tensor, shape (n, n_tokens, 5)
            What the network reads.
        rows : Tensor of int64, shape (n_tokens,)
            Electrodes of its rows.
        recorded : Tensor of int64, shape (n_channels,)
            Where the recorded electrodes stand among them.
        """
        if self.missing == "drop":
            return x, rows, torch.arange(len(rows), device=rows.device)
        whole = x.new_zeros(len(x), N_ELECTRODES, x.shape[-1]).index_copy(1, rows, x)
        return whole, torch.arange(N_ELECTRODES, device=rows.device), rows

    def encode(self, x: Tensor, rows: Tensor, layer: int | None = None) -> Tensor:
        """Encode windows.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels, 5)
            Normalized differential entropy; a hidden electrode is all zero.
        rows : Tensor of int64, shape (n_channels,)
            Electrodes.
        layer : int | None
            Blocks to run; None runs all. There is no final norm.

        Returns
        -------
        Tensor, shape (n, n_channels + 18, width)
            Electrodes, regions S1 to S17, class token.
        """
        regions = self.supernodes.expand(len(x), -1, -1).to(x.dtype)
        return self.network(torch.cat([x, regions], dim=1), rows, layer)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch, window by window.

        Parameters
        ----------
        batch : SignalBatch
            Features, ``(n, n_channels, n_windows, 5)`` or ``(n, n_channels, 5)``.
        layer : int | None
            See :class:`eegfound.models.network.EncoderNetwork`.

        Returns
        -------
        Tokens
            Window after window; regions and class token are summaries.
        """
        x = split_windows(batch.signal)
        n, n_windows = len(batch.signal), len(x) // len(batch.signal)
        x, rows, recorded = self.place(x, batch.rows)
        tokens = self.encode(x, rows, layer)
        if len(recorded) != len(rows):
            tokens = torch.cat([tokens[:, recorded], tokens[:, len(rows) :]], dim=1)
        n_tokens = tokens.shape[1]
        channels = torch.arange(n_tokens, device=tokens.device)
        channels = torch.where(channels < len(recorded), channels, -1)
        times = torch.arange(n_windows, device=tokens.device).repeat_interleave(n_tokens)
        return Tokens(
            tokens.reshape(n, n_windows * n_tokens, self.width),
            channels.repeat(n_windows),
            times,
            (channels < 0).repeat(n_windows),
        )

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Compute MMM's own read-outs from regions and class token.

        ``"flatten"``: all 18 of them, what the authors' head reads;
        ``"regions"``: the 17 regions, the paper's unified representation;
        ``"mean"``: the mean region; ``"cls"``: the class token.
        """
        n, width = len(tokens.values), self.width
        n_windows = int(tokens.times[-1]) + 1
        last = tokens.values.view(n, n_windows, -1, width)[:, :, -N_REGIONS - 1 :]
        if pooling == "flatten":
            read = last.flatten(2)
        elif pooling == "regions":
            read = last[:, :, :-1].flatten(2)
        elif pooling == "mean":
            read = last[:, :, :-1].mean(dim=2)
        elif pooling == "cls":
            read = last[:, :, -1]
        else:
            return None
        return read.flatten(1) if self.windows == "concat" else read.mean(dim=1)

    def readout_parameters(self) -> set[str]:
        """Return the region tokens: the published file has none."""
        return {"supernodes"}

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of attention in every block."""
        return ("network.blocks.*.attn.in_proj_weight", "network.blocks.*.attn.out_proj")

    def layer_index(self, name: str) -> int:
        """Return 0 for inputs and positions, i + 1 for block i."""
        parts = name.split(".")
        if parts[:2] == ["network", "blocks"]:
            return int(parts[2]) + 1
        if parts[-2:-1] in (["norm"], ["fc_norm"]):
            return self.n_layers + 1
        return 0


def split_windows(signal: Tensor) -> Tensor:
    """Return every window of every epoch as a sample of its own.

    Parameters
    ----------
    signal : Tensor, shape (n, n_channels, n_windows, 5) or (n, n_channels, 5)
        Features.

    Returns
    -------
    Tensor, shape (n * n_windows, n_channels, 5)
        Epoch by epoch.

    Raises
    ------
    SpecError
        If these are no features of five bands.
    """
    if signal.ndim not in (3, 4) or signal.shape[-1] != N_BANDS:
        raise SpecError(
            f"MMM reads differential entropy, (n, n_channels, n_windows, {N_BANDS}), and got shape "
            f"{tuple(signal.shape)}: pass windows of EEG through its front end first."
        )
    if signal.ndim == 3:
        return signal
    return signal.transpose(1, 2).flatten(0, 1)


def _first_tokens(region_tokens: Any) -> Tensor:
    if region_tokens is None or (isinstance(region_tokens, str) and region_tokens == "zeros"):
        return torch.zeros(1, N_REGIONS, N_BANDS)
    if isinstance(region_tokens, str):
        if region_tokens == "normal":
            return torch.randn(1, N_REGIONS, N_BANDS)
        raise SpecError(
            f"region_tokens={region_tokens!r} is not 'zeros', 'normal' or an array of shape "
            f"({N_REGIONS}, {N_BANDS})."
        )
    values = np.asarray(region_tokens, dtype=np.float32)
    if values.size != N_REGIONS * N_BANDS or values.shape[-2:] != (N_REGIONS, N_BANDS):
        raise SpecError(
            f"region_tokens has shape {values.shape}; one vector of {N_BANDS} bands for each of "
            f"the {N_REGIONS} regions is needed."
        )
    return torch.tensor(values.reshape(1, N_REGIONS, N_BANDS))


def build_encoder(**config: Any) -> MMM:
    """Build the encoder; see :class:`MMM` for the options."""
    return MMM(**config)
