"""The transformer blocks of LaBraM's encoder, tokenizer and masked model.

Names of parameters are those of the published state dicts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn import drop_path
from eegfound_labram.attention import Attention


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return transformed tokens; dropout follows the second layer only."""
        hidden = self.fc1(x)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            hidden = F.gelu(hidden)
        else:  # nobody needs what it was
            torch.ops.aten.gelu_(hidden)
        return self.drop(self.fc2(hidden))


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale and stochastic depth."""

    def __init__(
        self, dim: int, heads: int, *, qkv_bias: bool, qk_norm: bool, init_values: float = 0.0,
        drop: float = 0.0, attn_drop: float = 0.0, drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(
            dim, heads, qkv_bias=qkv_bias, qk_norm=qk_norm, attn_drop=attn_drop, drop=drop
        )
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim, drop)
        scaled = init_values > 0
        self.gamma_1 = nn.Parameter(init_values * torch.ones(dim)) if scaled else None
        self.gamma_2 = nn.Parameter(init_values * torch.ones(dim)) if scaled else None
        self.drop_path = drop_path

    def forward(self, x: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return the tokens after attention and MLP.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, dim)
            All tokens.
        wanted : Tensor of bool | None, shape (n, n_tokens)
            Tokens that are asked for; None: all.

        Returns
        -------
        Tensor, shape (n, n_tokens, dim) or (n_wanted, dim)
            What is not asked for costs attention only.
        """
        if wanted is not None and self.drop_path and self.training:
            return self(x)[wanted]  # whole epochs are dropped, not tokens
        branch = self.attn(self.norm1(x), wanted)
        x = self._add(x if wanted is None else x[wanted], branch, self.gamma_1)
        return self._add(x, self.mlp(self.norm2(x)), self.gamma_2)

    def _add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        branch = drop_path(branch, self.drop_path, self.training)
        if not torch.is_grad_enabled():  # nobody needs the old stream: write over it
            return x.add_(branch) if gamma is None else x.addcmul_(branch, gamma)
        return x + branch if gamma is None else torch.addcmul(x, branch, gamma)


def place_tokens(network: Any, patches: Tensor, rows: Tensor, *, cls_row: int = 0) -> Tensor:
    """Add electrodes and times to patches, and put the class token first.

    Parameters
    ----------
    network : Module
        With ``cls_token``, ``pos_embed`` and ``time_embed``.
    patches : Tensor, shape (n, n_channels * n_patches, width)
        Embedded patches, channel by channel.
    rows : Tensor of int64, shape (n_channels,)
        0-based places of the electrodes in the vocabulary.
    cls_row : int
        Row of the table that the class token gets.

    Returns
    -------
    Tensor, shape (n, 1 + n_channels * n_patches, width)
        The transformer's input.
    """
    n, count, dim = patches.shape
    place = network.pos_embed[0, rows + 1][:, None] + network.time_embed[0, : count // len(rows)]
    place = place.reshape(count, dim)
    cls = network.cls_token[0, 0] + network.pos_embed[0, cls_row]
    if torch.is_grad_enabled():
        return torch.cat([cls.expand(n, 1, dim), patches + place], dim=1)
    x = patches.new_empty((n, 1 + count, dim))
    x[:, 0] = cls
    torch.add(patches, place, out=x[:, 1:])
    return x


def initialize(network: Any, *, cut: float = 2.0, convolutions: bool = False) -> None:
    """Draw initial weights as the reference does.

    Parameters
    ----------
    network : Module
        With ``cls_token``, ``pos_embed``, ``time_embed`` and ``blocks``.
    cut : float
        Absolute value at which the normal distribution of spread 0.02 is cut.
    convolutions : bool
        Whether convolutions are drawn so too, with zero bias.
    """
    for table in ("cls_token", "mask_token", "pos_embed", "time_embed"):
        if isinstance(getattr(network, table, None), nn.Parameter):
            nn.init.trunc_normal_(getattr(network, table), std=0.02, a=-cut, b=cut)
    kinds = (nn.Linear, nn.Conv2d) if convolutions else (nn.Linear,)
    for module in network.modules():
        if isinstance(module, kinds):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-cut, b=cut)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for i, block in enumerate(network.blocks, start=1):
            block.attn.proj.weight.div_((2 * i) ** 0.5)
            block.mlp.fc2.weight.div_((2 * i) ** 0.5)


def widen(network: Any) -> None:
    """Draw initial weights so that short trainings get somewhere.

    The published spread of 0.02 suits long trainings. In a narrow network it makes
    electrodes and times hardly visible beside patches, and blocks do little at
    first. Here linear layers keep variances (Glorot and Bengio, 2010), tables have
    the spread 0.2, and LayerScale begins at 1.

    Parameters
    ----------
    network : Module
        As for :func:`initialize`.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    for table in ("cls_token", "mask_token", "pos_embed", "time_embed"):
        if isinstance(getattr(network, table, None), nn.Parameter):
            nn.init.normal_(getattr(network, table), std=0.2)
    for block in network.blocks:
        if block.gamma_1 is not None:
            nn.init.ones_(block.gamma_1)
            nn.init.ones_(block.gamma_2)
