"""Self-attention of LaBraM's blocks, and a way to compute it fast among few tokens."""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound_labram.derived import Deriving

#: Up to here the matrix of attention weights is small enough to be written out.
_FEW_TOKENS = 192
#: Attention weights (numbers) that are worth having at once.
_CACHED_WEIGHTS = 100_000
#: Logits (natural) whose exponentials, and sums of them, float32 holds without a shift.
_SAFE_LOGIT = 60.0


class Queries(NamedTuple):
    """What normed, centred queries are multiplied with and shifted by.

    Attributes
    ----------
    gain, shift : Tensor, shape (head_dim,)
        They hold the affine parts of the norms of queries *and* keys (what a key's
        shift adds is the same for all keys of a query, so softmax drops it), the scale
        of the logits, and the change to base 2.
    bounded : bool
        Whether no logit can be beyond ``_SAFE_LOGIT``.
    """

    gain: Tensor
    shift: Tensor
    bounded: bool


class Attention(Deriving):
    """Multi-head self-attention with optional norm of queries and keys.

    Parameters
    ----------
    dim, heads : int
        Width of a token and number of heads.
    qkv_bias : bool
        Biases of queries and values (keys have none).
    qk_norm : bool
        LayerNorm over each head's queries and keys.
    attn_drop, drop : float
        Dropout on the weights and on the output.
    """

    def __init__(
        self, dim: int, heads: int, *, qkv_bias: bool, qk_norm: bool, attn_drop: float = 0.0,
        drop: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.head_dim, self.attn_drop = heads, dim // heads, attn_drop
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.q_norm = nn.LayerNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.k_norm = nn.LayerNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)

    def forward(self, x: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return attended tokens, ``(n, n_tokens, dim)``.

        With ``wanted``, of bool ``(n, n_tokens)``, only those, ``(n_wanted, dim)``.
        """
        n, n_tokens, dim = x.shape
        chosen = ... if wanted is None else wanted
        if self._writes_weights_out(x):
            return self.proj(self._attend_few(x)[chosen].to(x.dtype))
        qkv = self.qkv(x)  # called, not read: LoRA stands in its place
        if self.q_bias is not None and self.v_bias is not None:
            qkv = qkv + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = qkv.view(n, n_tokens, 3, self.heads, self.head_dim).unbind(2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
            dropout_p=self.attn_drop if self.training else 0.0,
        )  # fmt: skip
        out = out.transpose(1, 2).reshape(n, n_tokens, dim)[chosen]
        return self.proj_drop(self.proj(out))

    def _writes_weights_out(self, x: Tensor) -> bool:
        """Return whether :meth:`_attend_few` serves: few tokens, inference, processor."""
        return (
            x.shape[1] <= _FEW_TOKENS
            and x.device.type == "cpu"
            and not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling())
        )

    def _attend_few(self, x: Tensor) -> Tensor:
        """Attend among few tokens, in float32, for inference.

        Heads are narrow (20 to 50 wide) and tokens few, where LayerNorm, softmax and
        the fused kernel spend most of their time on overhead. Here weights are powers
        of 2 that nobody has divided by their sum; the sum comes out of the product
        with the values, which have a column of ones.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, dim)
            Tokens.

        Returns
        -------
        Tensor of float32, shape (n, n_tokens, dim)
            Attended values.
        """
        n, n_tokens, dim = x.shape
        heads, width = self.heads, self.head_dim
        qkv = self._project_centred(x).view(n, n_tokens, 3, heads, width)
        # Keys and values are filled up: products of such sizes are faster, and torch
        # rounds powers at the end of an array otherwise if 16 do not divide its size.
        filled = _up(n_tokens, 16)
        keys = qkv.new_zeros((n, heads, filled, width))
        bounded = self._norm(qkv, keys[:, :, :n_tokens])
        values = qkv.new_zeros((n, heads, filled, _up(width + 1, 8)))
        values[:, :, :n_tokens, :width] = qkv[:, :, 2].transpose(1, 2)
        values[:, :, :n_tokens, width] = 1
        queries = qkv[:, :, 0].transpose(1, 2)
        out = qkv.new_empty((n, n_tokens, heads, width))
        # A few epochs at a time: the weights stay in the processor's cache.
        step = min(n, max(1, _CACHED_WEIGHTS // (heads * n_tokens**2)))
        weights = qkv.new_empty((step * heads, n_tokens, filled))
        sums = qkv.new_empty((step * heads, n_tokens, values.shape[-1]))
        keys = keys.mT
        parts = (each.split(step) for each in (queries, keys, values, out.transpose(1, 2)))
        for q, k, v, to in zip(*parts):
            count = len(q) * heads
            if count < len(weights):  # the last few
                weights, sums = weights[:count], sums[:count]
            torch.bmm(q.reshape(count, n_tokens, width), k.flatten(0, 1), out=weights)
            if not bounded:
                weights -= weights[..., :n_tokens].amax(dim=-1, keepdim=True)
                weights[..., n_tokens:] = 0
            torch.bmm(weights.exp2_(), v.flatten(0, 1), out=sums)
            each = sums.view(len(q), heads, n_tokens, -1)
            torch.div(each[..., :width], each[..., width : width + 1], out=to)
        return out.view(n, n_tokens, dim)

    def _project_centred(self, x: Tensor) -> Tensor:
        """Return queries, keys and values in float32, as a new tensor.

        Where queries and keys are normed they have no mean over a head. If the
        projection is a frozen matrix of float32, the mean is taken out of its rows
        once instead.
        """
        n, n_tokens, _ = x.shape
        biases = () if self.q_bias is None or self.v_bias is None else (self.q_bias, self.v_bias)
        if self.q_norm is not None and type(self.qkv) is nn.Linear and x.dtype == torch.float32:
            sources = (self.qkv.weight, *biases)
            if self.frozen(*sources):
                weight, bias = self.derive("projection", sources, self._centred_projection)
                return F.linear(x, weight, bias)
        qkv = self.qkv(x).float()
        if biases:
            qkv += torch.cat([biases[0], torch.zeros_like(biases[0]), biases[1]])
        if self.q_norm is not None:
            both = qkv.view(n, n_tokens, 3, self.heads, self.head_dim)[:, :, :2]
            both -= both.mean(dim=-1, keepdim=True)
        return qkv

    def _centred_projection(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of queries, keys and values, the first two centred per head."""

        def centre(rows: Tensor) -> Tensor:
            rows = rows.double().view(3, self.heads, self.head_dim, -1).clone()
            rows[:2] -= rows[:2].mean(dim=2, keepdim=True)
            return rows.flatten(0, 2).float()

        weight = centre(self.qkv.weight)
        if self.q_bias is None or self.v_bias is None:
            return weight, None
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return weight, centre(bias).squeeze(-1)

    def _norm(self, qkv: Tensor, keys: Tensor) -> bool:
        """Norm and scale queries and keys.

        Parameters
        ----------
        qkv : Tensor of float32, shape (n, n_tokens, 3, heads, head_dim)
            From :meth:`_project_centred`. Queries are overwritten, so that a query
            times a key is a logit to base 2, up to a number that all keys of a query
            share.
        keys : Tensor, shape (n, heads, n_tokens, head_dim)
            Where keys go.

        Returns
        -------
        bool
            Whether powers of 2 of these need no shift.
        """
        q, k = qkv[:, :, 0], qkv[:, :, 1]
        if self.q_norm is None or self.k_norm is None:
            q *= self.head_dim**-0.5 / log(2)
            keys.copy_(k.transpose(1, 2))
            return False
        # Not a product with a vector, which is faster but rounds the last rows otherwise.
        spread = qkv[:, :, :2].square().mean(dim=-1, keepdim=True)
        q_scale, k_scale = spread.add_(self.q_norm.eps).rsqrt_().unbind(2)
        torch.mul(k.transpose(1, 2), k_scale.transpose(1, 2), out=keys)
        sources = (self.q_norm.weight, self.q_norm.bias, self.k_norm.weight)
        queries: Queries = self.derive("queries", sources, self._merged_norms)
        torch.addcmul(queries.shift, q.mul_(q_scale), queries.gain, out=q)
        return queries.bounded

    def _merged_norms(self) -> Queries:
        """Return both norms' affine parts as one for queries."""
        assert self.q_norm is not None
        assert self.k_norm is not None
        q, k, width = self.q_norm, self.k_norm, self.head_dim
        scaled = k.weight.double() * width**-0.5
        gain, shift = q.weight.double() * scaled, q.bias.double() * scaled
        # A normed vector is at most sqrt(width) long.
        longest = width**0.5 * gain.abs().max() + torch.linalg.vector_norm(shift)
        bounded = bool(longest * width**0.5 <= _SAFE_LOGIT)
        return Queries((gain / log(2)).float(), (shift / log(2)).float(), bounded)


def _up(number: int, step: int) -> int:
    """Return the next multiple of ``step``."""
    return -(-number // step) * step
