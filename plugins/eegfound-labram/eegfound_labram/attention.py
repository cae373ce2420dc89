"""Self-attention of LaBraM's blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn.fast_linear import PLAIN, linear
from eegfound_labram.derived import Deriving


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
        if self._norms_in_place(x):
            qkv = self._project_centred(x).view(n, n_tokens, 3, self.heads, self.head_dim)
            self._norm_and_scale(qkv)
            q, k, v = qkv.unbind(2)
            scale: float | None = 1.0
        else:
            qkv = self.qkv(x)  # called, not read: LoRA stands in its place
            if self.q_bias is not None and self.v_bias is not None:
                qkv = qkv + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
            q, k, v = qkv.view(n, n_tokens, 3, self.heads, self.head_dim).unbind(2)
            if self.q_norm is not None and self.k_norm is not None:
                q, k = self.q_norm(q), self.k_norm(k)
            scale = None
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), scale=scale,
            dropout_p=self.attn_drop if self.training else 0.0,
        )  # fmt: skip
        out = out.transpose(1, 2).reshape(n, n_tokens, dim).to(x.dtype)
        return self.proj_drop(self.proj(out if wanted is None else out[wanted]))

    def _norms_in_place(self, x: Tensor) -> bool:
        """Return whether queries and keys are normed by :meth:`_norm_and_scale`.

        For inference on a processor: rows are as short as a head (20 to 50 numbers), and
        there LayerNorm spends most of its time on overhead. Attention is then computed
        in float32.
        """
        return (
            self.q_norm is not None
            and x.device.type == "cpu"
            and not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling())
        )

    def _project_centred(self, x: Tensor) -> Tensor:
        """Return queries, keys and values in float32; the first two have no mean per head.

        If the projection is a frozen matrix of float32, the mean is taken out of its
        rows once instead.
        """
        biases = () if self.q_bias is None or self.v_bias is None else (self.q_bias, self.v_bias)
        watched = self.qkv._forward_hooks or self.qkv._forward_pre_hooks
        if type(self.qkv) in PLAIN and not watched and x.dtype == torch.float32:
            sources = (self.qkv.weight, *biases)
            if self.frozen(*sources):
                weight, bias = self.derive("projection", sources, self._centred_projection)
                return linear(x, weight, bias)
        qkv = self.qkv(x).to(torch.float32, copy=True)  # a hook may have kept what it returned
        if biases:
            qkv += torch.cat([biases[0], torch.zeros_like(biases[0]), biases[1]])
        both = qkv.view(*x.shape[:2], 3, self.heads, self.head_dim)[:, :, :2]
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

    def _norm_and_scale(self, qkv: Tensor) -> None:
        """Overwrite centred queries and keys, so that their product is a logit.

        Up to a number that all keys of a query share: what the keys' shift adds is
        such a number, and softmax drops it.

        Parameters
        ----------
        qkv : Tensor of float32, shape (n, n_tokens, 3, heads, head_dim)
            From :meth:`_project_centred`.
        """
        assert self.q_norm is not None
        assert self.k_norm is not None
        both, q = qkv[:, :, :2], qkv[:, :, 0]
        # Not a product with a vector, which is faster but rounds the last rows otherwise.
        spread = both.square().sum(dim=-1, keepdim=True)
        both *= spread.add_(self.head_dim * self.q_norm.eps).rsqrt_()
        sources = (self.q_norm.weight, self.q_norm.bias, self.k_norm.weight)
        gain, shift = self.derive("norms", sources, self._merged_norms)
        torch.addcmul(shift, q, gain, out=q)

    def _merged_norms(self) -> tuple[Tensor, Tensor]:
        """Return what makes a query of length 1 do the work of both norms and of the scale.

        LayerNorm's vectors are sqrt(head_dim) long, keys too, and logits are divided by
        sqrt(head_dim).
        """
        assert self.q_norm is not None
        assert self.k_norm is not None
        width, keys = self.head_dim, self.k_norm.weight.double()
        gain = self.q_norm.weight.double() * keys * width**0.5
        return gain.float(), (self.q_norm.bias.double() * keys).float()
