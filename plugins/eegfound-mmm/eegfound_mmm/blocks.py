"""The transformer over electrodes, regions and a class token.

Names of parameters are those of the authors' state dicts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn.fast_linear import linear
from eegfound_mmm.positions import position_table
from eegfound_mmm.topology import N_ELECTRODES, N_REGIONS, N_TOKENS, allowed_pairs


class Attention(nn.Module):
    """Multi-head self-attention with packed projections.

    Parameters
    ----------
    width, n_heads : int
        Length of a token, and among how many heads it is shared.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        if width % n_heads:
            raise SpecError(f"width={width} is not a multiple of n_heads={n_heads}.")
        self.n_heads = n_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Mix tokens, ``(n, n_tokens, width)``, where ``allowed`` is True."""
        n, n_tokens, width = x.shape
        packed = linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = packed.view(n, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, n_tokens, width))


class FeedForward(nn.Module):
    """Two layers with an exact GELU between them, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, n_tokens, width)``."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A block whose residual stream *is* the normed input.

    Neither pre-norm nor post-norm: attention is added to ``norm1(x)``, not to
    ``x``. The published weights were trained so.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Return ``(n, n_tokens, width)``."""
        x = self.norm1(x)
        x = x + self.attn(x, allowed)
        return x + self.mlp(self.norm2(x))


class TopologyTransformer(nn.Module):
    """A transformer over a part of the topology, all regions and a class token.

    Parameters
    ----------
    n_inputs : int
        Numbers per electrode and region that go in.
    width, depth, n_heads : int
        Length of a token, blocks, heads.
    position : str
        See :func:`eegfound_mmm.positions.position_table`.
    attention : {"global", "local"}
        See :func:`eegfound_mmm.topology.allowed_pairs`.
    """

    allowed: Tensor

    def __init__(
        self, n_inputs: int, width: int, depth: int, n_heads: int, *, position: str = "2d",
        attention: str = "global",
    ) -> None:  # fmt: skip
        super().__init__()
        self.position = position
        table = torch.tensor(position_table(position, width), dtype=torch.float32)
        self.pos_embed = nn.Parameter(table)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.patch_embed = nn.Linear(n_inputs, width)
        self.blocks = nn.ModuleList(Block(width, n_heads) for _ in range(depth))
        # In the published file, but never called.
        self.norm = nn.LayerNorm(width)
        self.fc_norm = nn.LayerNorm(width)
        pairs = torch.tensor(allowed_pairs(attention))  # type: ignore[arg-type]
        self.register_buffer("allowed", pairs, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def places(self, rows: Tensor) -> Tensor:
        """Return the rows of the position table that a montage's tokens have.

        Parameters
        ----------
        rows : Tensor of int64, shape (n_channels,)
            Electrodes.

        Returns
        -------
        Tensor of int64, shape (n_channels + 18,)
            Of electrodes, regions and class token. ``position="1d"`` counts
            tokens, so order and number of electrodes matter there.
        """
        last = torch.arange(N_ELECTRODES, N_TOKENS, device=rows.device)
        if self.position == "1d":
            counted = torch.arange(len(rows) + N_REGIONS, device=rows.device)
            return torch.cat([counted, last[-1:]])
        return torch.cat([rows, last])

    def allowed_among(self, rows: Tensor) -> Tensor:
        """Return who may attend to whom in a montage, ``(n_tokens, n_tokens)``."""
        last = torch.arange(N_ELECTRODES, N_TOKENS, device=rows.device)
        tokens = torch.cat([rows, last])
        return self.allowed[tokens][:, tokens]

    def forward(self, x: Tensor, rows: Tensor, depth: int | None = None) -> Tensor:
        """Encode electrodes and regions.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels + 17, n_inputs)
            Electrodes, then regions.
        rows : Tensor of int64, shape (n_channels,)
            Electrodes.
        depth : int | None
            Blocks to run; None runs all.

        Returns
        -------
        Tensor, shape (n, n_channels + 18, width)
            Electrodes, regions, class token.
        """
        places = self.pos_embed[self.places(rows)]
        tokens = self.patch_embed(x) + places[:-1]
        last = (self.cls_token + places[-1]).expand(len(x), -1, -1)
        tokens = torch.cat([tokens, last.to(tokens.dtype)], dim=1)
        allowed = self.allowed_among(rows)
        for block in self.blocks[:depth]:
            tokens = block(tokens, allowed)
        return tokens
