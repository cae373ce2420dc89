"""Linear maps in float32 by the faster of the two libraries inside torch.

On the CPU torch multiplies matrices of float32 with MKL, which keeps the widest
instructions (AVX-512) for Intel's processors: on AMD's Zen 5 it does half of what oneDNN
does, which torch brings too.
"""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: First family of AMD's whose AVX-512 does twice what AVX2 does.
ZEN_5 = 26
#: Fewest tokens for which calling oneDNN is worth it.
FEWEST_TOKENS = 16

Network = TypeVar("Network", bound=nn.Module)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``, as :func:`torch.nn.functional.linear` does.

    In float32 on the CPU, oneDNN computes it where that is faster. Without gradients, which
    of the two it is depends on the processor and on the tokens of one sequence, never on
    how many sequences there are; nor do oneDNN's numbers of one depend on the others.

    Parameters
    ----------
    x : Tensor, shape (..., n_tokens, n_inputs)
        Vectors.
    weight : Tensor, shape (n_outputs, n_inputs)
        Matrix.
    bias : Tensor | None, shape (n_outputs,)
        What is added.

    Returns
    -------
    Tensor, shape (..., n_tokens, n_outputs)
        Mapped vectors.
    """
    training = torch.is_grad_enabled()
    if (
        not torch.jit.is_tracing()
        and x.ndim > (1 if training else 2)
        and x.shape[-2] >= FEWEST_TOKENS
        and x.dtype is weight.dtype is torch.float32
        and x.device.type == "cpu"
        and x.numel()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and torch.backends.mkldnn.enabled
        and onednn_is_faster()
    ):
        if not training:
            return _onednn(x, weight, bias)
        # Row by row: what is no view of something else may be written over.
        rows = _OneDNN.apply(x.flatten(0, -2), weight, bias)
        return rows.view(*x.shape[:-1], len(weight))
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` that computes with :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return mapped vectors."""
        return linear(input, self.weight, self.bias)


#: Classes of linear layers that do nothing but multiply and add.
PLAIN = (nn.Linear, Linear)


def quicken(network: Network) -> Network:
    """Let the linear layers of a network be :class:`Linear`, and return it.

    Their tensors, names and hooks stay; subclasses of :class:`torch.nn.Linear` are
    somebody's own and are left alone.
    """
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return network


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # What torch's own compiler calls; there is no public way to it for plain tensors.
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


class _OneDNN(torch.autograd.Function):
    """:func:`_onednn` of rows, with its gradients; theirs again (double backward) are torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        times = F.linear if torch.is_grad_enabled() else _onednn
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            times(grad, weight.t()) if to_x else None,
            times(grad.t(), x.t()) if to_weight else None,
            grad.sum(dim=0) if to_bias else None,
        )


@lru_cache
def onednn_is_faster() -> bool:
    """Return whether MKL leaves half of this processor's AVX-512 unused.

    Told by facts, not by a stopwatch: the same machine always computes the same numbers.
    """
    return (
        torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _amd_family() >= ZEN_5
        and _onednn_agrees()
    )


def _amd_family() -> int:
    """Return AMD's number of the processor's family, 0 for a processor of another maker."""
    try:
        told = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        told = platform.processor()  # Windows: "AMD64 Family 26 Model 68 ..., AuthenticAMD"
    family = re.search(r"family\D*(\d+)", told, re.IGNORECASE)
    return int(family[1]) if family and "AuthenticAMD" in told else 0


def _onednn_agrees() -> bool:
    """Return whether this version of torch has the operation, and it does what it should."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")
        for shape in ((2, 9, 24), (40, 24), (40,))
    )
    try:
        return all(
            torch.allclose(_onednn(x, weight, b), F.linear(x, weight, b), atol=1e-4)
            for b in (bias, None)
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
