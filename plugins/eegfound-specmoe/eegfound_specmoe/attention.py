"""SpecHi-Net's attention: normalized over queries, in little memory.

Every token hands out a total weight of one to the tokens that look at it (the
softmax runs over queries, so columns sum to one and rows do not), and a token's
weight on itself comes from a score of zero, not from a masked one.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from eegfound.base import SpecError

Mode = Literal["auto", "dense", "chunked"]
MODES = ("auto", "dense", "chunked")

#: Up to here all scores of a batch are written out.
_FEW_TOKENS = 128
#: Scores (numbers) that are worth having at once: 2 MB on the CPU, 256 MB elsewhere.
_SCORES, _SCORES_ELSEWHERE = 2**19, 2**26


def attend(q: Tensor, k: Tensor, v: Tensor, *, mode: Mode = "auto") -> Tensor:
    """Attend with weights that sum to one over queries.

    Parameters
    ----------
    q, k, v : Tensor, shape (n_epochs, n_heads, n_tokens, n_features)
        Rotated queries, keys and values.
    mode : {"auto", "dense", "chunked"}
        ``"dense"`` writes all weights out. ``"chunked"`` computes a few
        columns of weights, applies them and forgets them: a column needs its own
        scores only, so the result is the same up to rounding. Gradients
        compute them again. ``"auto"`` is dense for up to 128 tokens.

    Returns
    -------
    Tensor, shape (n_epochs, n_heads, n_tokens, n_features)
        ``sum_j A[i, j] v[j]`` with ``A[i, j] = exp S[i, j] / sum_i' exp S[i', j]``
        and ``S = q k^T / sqrt(n_features)`` with zeros on its diagonal.

    Raises
    ------
    SpecError
        If the mode is unknown.
    """
    if mode not in MODES:
        raise SpecError(f"attention={mode!r} is not one of {MODES}.")
    q = q * q.shape[-1] ** -0.5
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    # An exported program has no loop over a number of rows that it does not know.
    if mode == "dense" or exporting() or (mode == "auto" and q.shape[-2] <= _FEW_TOKENS):
        scores = k @ q.transpose(-2, -1)  # a row per key
        scores.diagonal(dim1=-2, dim2=-1).zero_()
        return scores.softmax(dim=-1).transpose(-2, -1) @ v
    rows = (part.flatten(0, 1) for part in (q, k, v))
    return _Chunked.apply(*rows).unflatten(0, q.shape[:2])


def _blocks(q: Tensor) -> tuple[int, int]:
    """Return heads at a time and keys at a time.

    On the CPU both depend on the number of tokens alone, so that an epoch's
    numbers do not depend on its batch; one head's scores stay in the
    processor's cache.
    """
    n_rows, n_tokens, _ = q.shape
    if q.device.type == "cpu":
        return 1, max(1, min(n_tokens, _SCORES // n_tokens))
    return n_rows, max(1, min(n_tokens, _SCORES_ELSEWHERE // (n_rows * n_tokens)))


def _weights(keys: Tensor, queries: Tensor, first: int, out: Tensor) -> Tensor:
    """Write the weights of some keys, from number ``first`` on: a row per key."""
    torch.bmm(keys, queries, out=out)
    out.diagonal(offset=first, dim1=-2, dim2=-1).zero_()
    return torch.softmax(out, dim=-1, out=out)


class _Chunked(torch.autograd.Function):
    """Attention in blocks; only its input is kept for gradients.

    Long rows of scores meet short rows of values, so results over all queries
    are gathered transposed, ``(n_features, n_tokens)``.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return attended values, ``(n_rows, n_tokens, n_features)``."""
        ctx.save_for_backward(q, k, v)
        n_rows, n_tokens, width = q.shape
        group, step = _blocks(q)
        buffer = q.new_empty(group, step, n_tokens)
        out = q.new_empty(n_rows, width, n_tokens)
        for row in range(0, n_rows, group):
            some = slice(row, row + group)
            queries, total = q[some].transpose(1, 2).contiguous(), out[some]
            for first in range(0, n_tokens, step):
                part = slice(first, first + step)
                keys, values = k[some, part], v[some, part].transpose(1, 2)
                weights = _weights(keys, queries, first, buffer[:, : keys.shape[1]])
                if first == 0:
                    torch.bmm(values, weights, out=total)
                else:
                    total.baddbmm_(values, weights)
        return out.transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return gradients of queries, keys and values."""
        q, k, v = ctx.saved_tensors
        n_rows, n_tokens, width = q.shape
        group, step = _blocks(q)
        buffers = q.new_empty(2, group, step, n_tokens)
        grad_q = q.new_zeros(n_rows, width, n_tokens)
        grad_k, grad_v = torch.empty_like(k), torch.empty_like(v)
        for row in range(0, n_rows, group):
            some = slice(row, row + group)
            handed, total = grad[some].contiguous(), grad_q[some]
            queries, turned = (x.transpose(1, 2).contiguous() for x in (q[some], handed))
            for first in range(0, n_tokens, step):
                part = slice(first, first + step)
                keys, values = k[some, part], v[some, part]
                count = keys.shape[1]
                weights = _weights(keys, queries, first, buffers[0, :, :count])
                to_values = torch.bmm(weights, handed)
                grad_v[some, part] = to_values
                # Softmax: dS = A (dA - sum A dA), and that sum is v times its gradient.
                scores = torch.bmm(values, turned, out=buffers[1, :, :count])
                scores -= (values * to_values).sum(dim=-1, keepdim=True)
                scores *= weights
                scores.diagonal(offset=first, dim1=-2, dim2=-1).zero_()
                grad_k[some, part] = torch.bmm(scores, q[some])
                total.baddbmm_(keys.transpose(1, 2), scores)
        return grad_q.transpose(1, 2), grad_k, grad_v
