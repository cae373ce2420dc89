"""Transformer blocks of the neural tokenizer (no biases) and of GPT-2 (with them).

Names of parameters are those of GPT-2 code: ``ln_1``, ``attn.c_attn``,
``attn.c_proj``, ``ln_2``, ``mlp.c_fc``, ``mlp.c_proj``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention with queries, keys and values from one matrix.

    Parameters
    ----------
    width, heads : int
        Width of a token and number of heads.
    bias : bool
        Whether both linear layers have a bias.
    """

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width, bias=bias)
        self.c_proj = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, width)
            Tokens.
        mask : Tensor of bool | None, shape (n_tokens, n_tokens)
            True where a row's token sees a column's. None: all see all (the
            reference's helper turns causal without a mask, and is always
            given one).

        Returns
        -------
        Tensor, shape (n, n_tokens, width)
            Attended tokens.
        """
        n, n_tokens, width = x.shape
        qkv = self.c_attn(x).view(n, n_tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.c_proj(out.transpose(1, 2).reshape(n, n_tokens, width))


class Mlp(nn.Module):
    """Two linear layers, four times as wide in between, with the exact GELU."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=bias)
        self.c_proj = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return transformed tokens."""
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Pre-norm transformer block.

    Parameters
    ----------
    width, heads : int
        See :class:`Attention`.
    bias : bool
        Biases of linear layers and of LayerNorm (eps 1e-5).
    """

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-5, bias=bias)
        self.attn = Attention(width, heads, bias=bias)
        self.ln_2 = nn.LayerNorm(width, eps=1e-5, bias=bias)
        self.mlp = Mlp(width, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens after attention (see :meth:`Attention.forward`) and MLP."""
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


def initialize(module: nn.Module, depth: int) -> None:
    """Draw weights as GPT-2 does: spread 0.02, less on residual branches.

    Parameters
    ----------
    module : Module
        All linear layers and embeddings in it are drawn anew.
    depth : int
        Number of blocks: ``c_proj`` gets the spread ``0.02 / sqrt(2 * depth)``.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            branch = name.endswith("c_proj")
            nn.init.normal_(part.weight, std=0.02 / (2 * depth) ** 0.5 if branch else 0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
