"""One process or many: what accelerate knows, and sums over processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.estimators._precision import check_dtype, has_bfloat16

_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def mixed_precision(dtype: str, device: str) -> str:
    """Return accelerate's name of a precision.

    Parameters
    ----------
    dtype : {"float32", "bfloat16", "float16", "auto"}
        ``"auto"`` is bfloat16 on a GPU that has it, else float32.
    device : str
        Torch device.
    """
    check_dtype(dtype)
    cuda = device.startswith("cuda")
    if dtype == "auto":
        dtype = "bfloat16" if cuda and has_bfloat16(device) else "float32"
    if dtype == "float16" and not cuda:
        raise SpecError(f"dtype='float16' trains on a GPU only (here: {device}); use 'bfloat16'.")
    return _MIXED[dtype]


@contextmanager
def accelerated(given: Any, *, device: str, dtype: str) -> Iterator[Any]:
    """Lend an Accelerator, and leave accelerate's own state as it was found.

    Parameters
    ----------
    given : accelerate.Accelerator | None
        The user's own, used as it is.
    device : str
        Torch device for a single process.
    dtype : str
        Precision.

    Yields
    ------
    accelerate.Accelerator
        Knows about the processes that ``accelerate launch`` has started.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState, PartialState
    except ImportError as error:
        raise ImportError(
            "Pretraining needs accelerate: pip install eegfound[pretraining]"
        ) from error
    if given is not None:
        if not isinstance(given, Accelerator):
            raise SpecError(f"accelerator={given!r} is no accelerate.Accelerator.")
        if given.gradient_accumulation_steps != 1:
            raise SpecError(
                "accelerator accumulates gradients itself: build it without, and bound the "
                "memory by micro_batch_size."
            )
        if dtype not in ("float32", "auto") and _MIXED.get(dtype) != given.mixed_precision:
            raise SpecError(
                f"dtype={dtype!r}, but accelerator has mixed_precision={given.mixed_precision!r}."
            )
        yield given
        return
    shared = [
        kind._shared_state
        for kind in (PartialState, AcceleratorState, GradientState)
    ]  # fmt: skip
    before = [dict(state) for state in shared]
    # What launched processes know of each other stays; precision is every training's own.
    for state in shared[1:]:
        state.clear()
    if not dist.is_available() or not dist.is_initialized():
        shared[0].clear()
    try:
        yield Accelerator(
            mixed_precision=mixed_precision(dtype, device),
            cpu=device == "cpu",
            device_placement=False,
        )
    finally:
        keep = dict(shared[0]) if dist.is_available() and dist.is_initialized() else before[0]
        for state, old in zip(shared, [keep, *before[1:]], strict=True):
            state.clear()
            state.update(old)


def same_everywhere(module: nn.Module, accelerator: Any) -> None:
    """Give every process the tensors of the first one."""
    if accelerator.num_processes > 1:
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if torch.is_tensor(tensor):
                    dist.broadcast(tensor, 0)


@torch.no_grad()
def sum_gradients(parameters: list[nn.Parameter], accelerator: Any) -> None:
    """Add up the gradients of all processes.

    A parameter that got none in any process keeps none: it is then left alone by
    the optimizer, weight decay included, as it is in a single process.
    """
    if accelerator.num_processes == 1 or not parameters:
        return
    had = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    parts: list[Tensor] = [
        (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in parameters
    ]
    flat = torch.cat([had, *parts])
    dist.all_reduce(flat)
    some = flat[: len(parameters)].tolist()
    for parameter, count, summed in zip(
        parameters, some, flat[len(parameters) :].split([p.numel() for p in parameters]),
        strict=True,
    ):  # fmt: skip
        parameter.grad = summed.view_as(parameter).to(parameter) if count else None


def gathered(items: list[Any], accelerator: Any) -> list[Any]:
    """Return the items of all processes."""
    if accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return list(gather_object(items))
