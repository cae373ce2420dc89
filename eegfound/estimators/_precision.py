"""In which numbers a network computes, and where fewer bits are worth it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eegfound.base import SpecError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Cosine of the embeddings in float32 and bfloat16 that ``dtype="auto"`` asks for.
AGREEMENT = 0.999


@dataclass(frozen=True)
class Precision:
    """Numbers that weights are kept in, and numbers that are computed with.

    Attributes
    ----------
    weights : torch.dtype
        Weights are rounded to these.
    arithmetic : torch.dtype
        What the network runs in.
    """

    weights: torch.dtype
    arithmetic: torch.dtype

    @property
    def name(self) -> str:
        """Text that differs wherever embeddings may."""
        return f"{self.weights}/{self.arithmetic}".replace("torch.", "")


def check_dtype(dtype: str, *, auto: bool = True) -> None:
    """Refuse what is no name of a precision.

    Raises
    ------
    SpecError
        If it is none.
    """
    known = [*sorted(DTYPES), *(["auto"] if auto else [])]
    if dtype not in known:
        raise SpecError(f"dtype={dtype!r} is not one of {known}.")


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype called ``dtype``."""
    check_dtype(dtype, auto=False)
    return DTYPES[dtype]


def has_bfloat16(device: str) -> bool:
    """Say whether a device multiplies matrices of bfloat16 in hardware.

    Processors without such instructions (AVX512-BF16, AMX) emulate them, which
    takes several times as long as float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if kind != "cpu":
        return False
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in asked)


def precision_of(dtype: str, device: str) -> Precision:
    """Return what ``dtype`` means on a device, but for ``"auto"``.

    Where the processor would have to emulate the arithmetic, weights are
    rounded to ``dtype`` and computed with in float32.
    """
    weights = resolve_dtype(dtype)
    emulated = torch.device(device).type == "cpu" and not (
        weights == torch.bfloat16 and has_bfloat16(device)
    )
    return Precision(weights, torch.float32 if emulated else weights)


FLOAT32 = Precision(torch.float32, torch.float32)


def placed_copy(network: Any, device: str, precision: Precision) -> Any:
    """Return a copy of a network on a device and in a precision, in eval mode."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    if precision.weights != torch.float32 and precision.arithmetic == torch.float32:
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(tensor.to(precision.weights))
    return network.to(device=device, dtype=precision.arithmetic)


def agreement(reference: Tensor, other: Tensor) -> float:
    """Return the smallest cosine between rows of two arrays of embeddings."""
    first, second = (torch.nan_to_num(part.double()) for part in (reference, other))
    return float(torch.nn.functional.cosine_similarity(first, second, dim=-1).min())
