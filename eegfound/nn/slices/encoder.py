"""The encoder: attention inside a slice of time, summarized by a few tokens."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound.nn import cut_patches
from eegfound.nn.fast_linear import linear
from eegfound.nn.slices.blocks import EPS, STD, Block, initialize, stack
from eegfound.nn.slices.tables import PATCH, VOCABULARY


class _PatchEmbed(nn.Module):
    """A linear map of each patch, stored as the convolution it is elsewhere."""

    def __init__(self, width: int, patch: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, (1, patch), stride=(1, stride))

    def forward(self, patches: Tensor) -> Tensor:
        return linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class SliceEncoder(EncoderNetwork):
    """Reads each slice of time on its own into a few summary tokens.

    Parameters
    ----------
    pooling : str
        Read-out (changes nothing in the network itself).
    width : int
        Length of a token.
    n_summary : int
        Summary tokens per slice.
    depths : sequence of int
        Blocks of encoder, predictor and reconstructor; the first counts here.
    heads : int
        Attention heads.
    patch, stride : int
        Samples per slice and hop between slices; ``stride=None`` is ``patch``.
    n_names : int
        Rows of the table of channels.
    drop_rate, attn_drop_rate, drop_path_rate : float
        Dropout in training; stochastic depth grows linearly over blocks.
    init_std : float
        Spread of initial weights. The reference's 0.02 is small for narrow
        networks: features then hardly depend on the signal at first.
    names_std : float | None
        Spread of the table of electrodes, drawn smoothly over the cap (see
        :func:`eegfound.nn.slices.names.smooth_names`); None draws row by row with
        0.02, as the reference does.

    Notes
    -----
    Nothing tells the encoder when a slice happens: time enters in predictor and
    reconstructor only. Channels are told apart by their row in ``chan_embed``
    alone, so their order does not matter.
    """

    def __init__(
        self, *, pooling: str = "mean", width: int = 64, n_summary: int = 1,
        depths: tuple[int, ...] = (2, 2, 4), heads: int = 4, patch: int = PATCH,
        stride: int | None = None, n_names: int = len(VOCABULARY), drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0, init_std: float = STD,
        names_std: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pooling, self.width, self.n_layers = pooling, width, depths[0]
        self.n_summary, self.patch, self.stride = n_summary, patch, stride or patch
        self.summary_token = nn.Parameter(torch.zeros(1, n_summary, width))
        self.patch_embed = _PatchEmbed(width, patch, self.stride)
        self.chan_embed = nn.Embedding(n_names, width)
        self.blocks = stack(
            depths[0], width, heads, drop=drop_rate, attn_drop=attn_drop_rate,
            drop_path=drop_path_rate,
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=EPS)
        initialize(self, self.blocks, init_std, names_std)

    def cut(self, signal: Tensor) -> Tensor:
        """Cut a signal into slices.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            Samples; those after the last whole slice are not used.

        Returns
        -------
        Tensor, shape (n, n_slices, n_channels, patch)
            A view where torch can make one.

        Raises
        ------
        SpecError
            If the signal is shorter than one slice.
        """
        if signal.shape[-1] < self.patch:
            raise SpecError(
                f"{signal.shape[-1]} samples do not fill one slice of {self.patch}: pass longer "
                "windows."
            )
        return cut_patches(signal, self.patch, self.stride).transpose(1, 2)

    def embed(
        self, signal: Tensor, ids: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return patches as tokens that know their channel.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            Samples in the network's unit.
        ids : Tensor of int64 | None, shape (n_channels,)
            Row of each channel in the table; None takes rows 0, 1, 2, ….
        mask : Tensor of int64 | None, shape (n_visible_slices, n_visible_channels)
            Visible patches as ``slice * n_channels + channel``; None sees all.

        Returns
        -------
        Tensor, shape (n, n_slices, n_channels, width)
            With a mask, only the visible ones.
        """
        patches = self.cut(signal)
        n_channels = patches.shape[2]
        if ids is None:
            ids = torch.arange(n_channels, device=signal.device)
        names = self.chan_embed(ids.reshape(-1))
        if mask is not None:
            patches, names = patches.flatten(1, 2)[:, mask], names[mask % n_channels]
        return self.patch_embed(patches) + names

    def encode(
        self, signal: Tensor, ids: Tensor | None = None, mask: Tensor | None = None,
        layer: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the summary tokens of every slice.

        Parameters
        ----------
        signal, ids, mask
            See :meth:`embed`.
        layer : int | None
            Blocks to run, at least one; None runs all, and the final norm.

        Returns
        -------
        Tensor, shape (n, n_slices, n_summary, width)
            With a mask, of the slices that have visible patches.
        """
        tokens = self.embed(signal, ids, mask)
        n, n_slices = tokens.shape[:2]
        x = self._with_summary(tokens)
        last = self.n_layers if layer is None else layer
        for i, block in enumerate(self.blocks[:last], start=1):
            # Nobody reads what the last block makes of the channels.
            x = block(x, n_queries=self.n_summary if i == last else None)
        if layer is None:
            x = self.norm(x)
        return x.reshape(n, n_slices, self.n_summary, self.width)

    def attention_weights(self, signal: Tensor, ids: Tensor | None = None, *, layer: int) -> Tensor:
        """Return the attention weights of a block.

        Parameters
        ----------
        signal, ids
            See :meth:`embed`.
        layer : int
            Block, counted from 1.

        Returns
        -------
        Tensor, shape (n * n_slices, heads, n_tokens, n_tokens)
            Channels first, then summary tokens.
        """
        if not 1 <= layer <= self.n_layers:
            raise SpecError(f"layer={layer} must lie in 1…{self.n_layers}.")
        x = self._with_summary(self.embed(signal, ids))
        for block in self.blocks[: layer - 1]:
            x = block(x)
        block = cast(Block, self.blocks[layer - 1])
        return block.attn.weights(block.norm1(x))

    def _with_summary(self, tokens: Tensor) -> Tensor:
        """Return one sequence per slice with the summary tokens at its end."""
        sequences = tokens.flatten(0, 1)
        summary = self.summary_token.to(tokens.dtype).expand(sequences.shape[0], -1, -1)
        return torch.cat([sequences, summary], dim=1)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`.

        All tokens are summary tokens. ``layer=0``, where they know nothing of
        the signal yet, gives the embedded patches instead.
        """
        if layer == 0:
            x = self.embed(batch.signal, batch.rows)
            n_slices, n_channels = x.shape[1:3]
            times = torch.arange(n_slices, device=x.device).repeat_interleave(n_channels)
            channels = torch.arange(n_channels, device=x.device).repeat(n_slices)
            return Tokens(x.flatten(1, 2), channels, times)
        x = self.encode(batch.signal, batch.rows, layer=layer)
        times = torch.arange(x.shape[1], device=x.device).repeat_interleave(self.n_summary)
        nowhere = torch.full_like(times, -1)
        return Tokens(x.flatten(1, 2), nowhere, times, torch.ones_like(times, dtype=torch.bool))

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Reduce over slices; the summary tokens of a slice stay side by side.

        ``"mean"``, ``"max"`` and ``"mean_std"`` are taken over slices of
        ``n_summary * width`` features; the other read-outs are the suite's.
        """
        if pooling not in ("mean", "max", "mean_std") or not bool(tokens.is_summary.all()):
            return None
        slices = tokens.values.unflatten(1, (-1, self.n_summary)).flatten(2)
        if pooling == "max":
            return slices.amax(dim=1)
        mean = slices.mean(dim=1)
        if pooling == "mean":
            return mean
        return torch.cat([mean, slices.std(dim=1, correction=0)], dim=1)

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of attention in every block."""
        return ("blocks.*.attn.qkv", "blocks.*.attn.proj")

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.n_layers + 1 if name.startswith("norm.") else 0
