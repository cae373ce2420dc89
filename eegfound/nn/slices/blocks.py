"""The transformer block of the slice networks, with few tokens in a sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn import drop_path, rotary_angles, rotate
from eegfound.nn.fast_linear import PLAIN, linear
from eegfound.nn.slices.names import smooth_names

#: Epsilon of the norms inside the networks.
EPS = 1e-6
#: Spread of initial weights.
STD = 0.02


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of a sequence.

    Parameters
    ----------
    dim, heads : int
        Width of a token and number of heads.
    drop, attn_drop : float
        Dropout on the output and on the weights.
    """

    def __init__(self, dim: int, heads: int, *, drop: float = 0.0, attn_drop: float = 0.0) -> None:
        super().__init__()
        self.heads, self.head_dim, self.attn_drop = heads, dim // heads, attn_drop
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)

    def forward(
        self, x: Tensor, angles: Tensor | None = None, n_queries: int | None = None
    ) -> Tensor:
        """Return attended tokens.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, dim)
            Normed tokens.
        angles : Tensor | None, shape (n_tokens, n_pairs)
            Rotary angles of queries and keys.
        n_queries : int | None
            Only the last so many tokens are wanted; None wants all.

        Returns
        -------
        Tensor, shape (n, n_queries, dim)
            Attended values.
        """
        q, k, v = self.project(x, angles, n_queries)
        out = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.attn_drop if self.training else 0.0
        )
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))

    def project(
        self, x: Tensor, angles: Tensor | None = None, n_queries: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each ``(n, heads, n_tokens, head_dim)``."""
        if n_queries is None or type(self.qkv) not in PLAIN:  # LoRA: to be called as a whole
            q, k, v = self._heads(self.qkv(x), 3)
            q = q if n_queries is None else q[:, :, -n_queries:]
        else:
            dim = x.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self._heads(linear(x[:, -n_queries:], weight[:dim], bias[:dim]), 1)
            k, v = self._heads(linear(x, weight[dim:], bias[dim:]), 2)
        if angles is not None:
            q = rotate(q, angles[-q.shape[2] :], interleaved=True)
            k = rotate(k, angles, interleaved=True)
        return q, k, v

    def weights(self, x: Tensor) -> Tensor:
        """Return the softmax weights, ``(n, heads, n_tokens, n_tokens)``."""
        q, k, _ = self.project(x)
        return (q @ k.transpose(2, 3) * self.head_dim**-0.5).softmax(dim=-1)

    def _heads(self, joined: Tensor, n: int) -> tuple[Tensor, ...]:
        shape = (*joined.shape[:2], n, self.heads, self.head_dim)
        return joined.view(shape).permute(2, 0, 3, 1, 4).unbind(0)


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return transformed tokens; dropout follows both layers."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class Block(nn.Module):
    """Pre-norm transformer block.

    Parameters
    ----------
    dim, heads : int
        Width of a token and number of heads.
    drop, attn_drop, drop_path : float
        Dropout after layers, on attention weights, and stochastic depth.
    """

    def __init__(
        self, dim: int, heads: int, *, drop: float = 0.0, attn_drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads, drop=drop, attn_drop=attn_drop)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, drop=drop)
        self.drop_path = drop_path

    def forward(
        self, x: Tensor, angles: Tensor | None = None, n_queries: int | None = None
    ) -> Tensor:
        """Return the tokens after attention and MLP.

        Without gradients ``x`` itself is written over. See :class:`Attention`
        for the parameters.
        """
        attended = self.attn(self.norm1(x), angles, n_queries)
        x = self._add(x if n_queries is None else x[:, -n_queries:], attended)
        return self._add(x, self.mlp(self.norm2(x)))

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        branch = drop_path(branch, self.drop_path, self.training)
        return x + branch if torch.is_grad_enabled() else x.add_(branch)


def stack(
    depth: int, dim: int, heads: int, *, drop: float = 0.0, attn_drop: float = 0.0,
    drop_path: float = 0.0,
) -> nn.ModuleList:  # fmt: skip
    """Return ``depth`` blocks whose stochastic depth grows linearly from 0 to ``drop_path``."""
    rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
    return nn.ModuleList(
        Block(dim, heads, drop=drop, attn_drop=attn_drop, drop_path=rate) for rate in rates
    )


class TimeEmbed(nn.Module):
    """Rotary angles of slices: half of each head turns, by half a step per slice.

    Parameters
    ----------
    head_dim : int
        Width of a head.

    Notes
    -----
    ``freqs`` stands in published files, so it is loaded and not computed anew.
    """

    freqs: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("freqs", rotary_angles(torch.ones(1), head_dim // 2)[0])

    def forward(self, slices: Tensor) -> Tensor:
        """Return angles ``(n_tokens, n_pairs)`` of tokens that stand in ``slices``."""
        return (slices.to(self.freqs) / 2)[:, None] * self.freqs


def initialize(
    network: nn.Module, blocks: nn.ModuleList, std: float = STD, names_std: float | None = None
) -> None:
    """Draw initial weights as the reference does.

    Parameters
    ----------
    network : Module
        Linear maps, convolutions and tokens get a truncated normal and tables
        a normal one; biases are zero.
    blocks : ModuleList
        The ``i``-th block's last maps of both branches are divided by
        ``sqrt(2 i)``.
    std : float
        Spread of linear maps and convolutions; that of tokens and tables is 0.02.
    names_std : float | None
        Spread of tables of electrodes that are alike where electrodes are close; see
        :func:`eegfound.nn.slices.names.smooth_names`. None: as said, each row on its own.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=std)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            if names_std is None:
                nn.init.normal_(module.weight, std=STD)
            else:
                smooth_names(module.weight, names_std)
    for name, parameter in network.named_parameters(recurse=False):
        if name.endswith("_token"):
            nn.init.trunc_normal_(parameter, std=STD)
    with torch.no_grad():
        for i, block in enumerate(blocks, start=1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_((2 * i) ** 0.5)
            block.mlp.fc2.weight.div_((2 * i) ** 0.5)
