"""Layers of the electrode temporal encoder and of the electrode graph.

Key names are the suite's own; the authors published no code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn import rotate

EPS = 1e-6
PLACEMENTS = ("sublayer_out", "pre")
#: Keys and values of a sequence in one layer, each ``(n, heads, n_tokens, head_dim)``.
KeysValues = tuple[Tensor, Tensor]


def rms_norm(dim: int) -> nn.RMSNorm:
    """Return the norm used everywhere in the model."""
    return nn.RMSNorm(dim, eps=EPS)


class SwiGLU(nn.Module):
    """Gated feed-forward layer without biases.

    Parameters
    ----------
    dim, hidden : int
        Width outside and inside.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(dim, hidden, bias=False)
        self.up_proj = nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return transformed tokens, ``(..., dim)``."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class CausalAttention(nn.Module):
    """Multi-head attention to the past, with rotary positions and no biases.

    Parameters
    ----------
    dim, heads : int
        Width of a token and number of heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def _split(self, x: Tensor) -> Tensor:
        n, n_tokens, dim = x.shape
        return x.view(n, n_tokens, self.heads, dim // self.heads).transpose(1, 2)

    def keys_values(self, x: Tensor, angles: Tensor) -> KeysValues:
        """Return what later tokens will see of these, ``(n, n_tokens, dim)``."""
        keys = rotate(self._split(self.k_proj(x)), angles, interleaved=False)
        return keys, self._split(self.v_proj(x))

    def forward(self, x: Tensor, angles: Tensor, past: KeysValues | None = None) -> Tensor:
        """Attend to a token itself and to those before it.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, dim)
            Tokens; with ``past`` a single one.
        angles : Tensor, shape (n_tokens, dim / heads / 2)
            Rotary angles of their positions.
        past : (Tensor, Tensor) | None
            Keys and values of all tokens before.

        Returns
        -------
        Tensor, shape (n, n_tokens, dim)
            Attended tokens.
        """
        queries = rotate(self._split(self.q_proj(x)), angles, interleaved=False)
        keys, values = self.keys_values(x, angles)
        if past is not None:
            keys = torch.cat([past[0], keys], dim=2)
            values = torch.cat([past[1], values], dim=2)
        out = F.scaled_dot_product_attention(queries, keys, values, is_causal=past is None)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and feed-forward layer with a norm each.

    Parameters
    ----------
    dim, heads, hidden : int
        Sizes.
    placement : {"sublayer_out", "pre"}
        Whether the output of a sub-layer is normed before it is added, or its
        input.
    """

    def __init__(self, dim: int, heads: int, hidden: int, placement: str) -> None:
        super().__init__()
        if placement not in PLACEMENTS:
            raise SpecError(f"placement={placement!r} is not one of {PLACEMENTS}.")
        self.pre = placement == "pre"
        self.attn = CausalAttention(dim, heads)
        self.attn_norm = rms_norm(dim)
        self.ffn = SwiGLU(dim, hidden)
        self.ffn_norm = rms_norm(dim)

    def keys_values(self, x: Tensor, angles: Tensor) -> KeysValues:
        """Return what later tokens will see of these in this layer."""
        return self.attn.keys_values(self.attn_norm(x) if self.pre else x, angles)

    def forward(self, x: Tensor, angles: Tensor, past: KeysValues | None = None) -> Tensor:
        """Return the tokens after both sub-layers; see :class:`CausalAttention`."""
        if self.pre:
            x = x + self.attn(self.attn_norm(x), angles, past)
            return x + self.ffn(self.ffn_norm(x))
        x = x + self.attn_norm(self.attn(x, angles, past))
        return x + self.ffn_norm(self.ffn(x))


class TwoLayerHead(nn.Module):
    """A small network that reads a vector: next signal, or scores of a task.

    Parameters
    ----------
    dim, n_outputs : int
        Length of the vector and of what is read.
    dropout : float
        Dropout after the activation while training.
    """

    def __init__(self, dim: int, n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim)
        self.fc2 = nn.Linear(dim, n_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(..., n_outputs)``."""
        return self.fc2(self.dropout(F.silu(self.fc1(x))))


def initialize(module: nn.Module) -> None:
    """Draw linear layers and free tables with a spread of 0.02, biases zero.

    Norms keep their ones. (Ours: the paper does not say.)
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    norms = {id(p) for m in module.modules() if isinstance(m, nn.RMSNorm) for p in m.parameters()}
    linear = {id(p) for m in module.modules() if isinstance(m, nn.Linear) for p in m.parameters()}
    for parameter in module.parameters():
        if id(parameter) not in norms | linear:
            nn.init.normal_(parameter, std=0.02)
