"""How many windows fit through one training step at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from eegfound.base import SignalWarning


def saved_bytes(module: nn.Module, run: Callable[[], Tensor]) -> int:
    """Return the bytes that a forward pass keeps for its backward pass.

    Parameters
    ----------
    module : Module
        Whose parameters do not count: they are there anyhow.
    run : callable
        The forward pass.
    """
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    own |= {b.untyped_storage().data_ptr() for b in module.buffers()}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no address comes twice
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), torch.enable_grad():
        result = run()
    total = sum(storage.nbytes() for storage in kept.values())
    del result
    return total


def windows_per_pass(module: nn.Module, signal: Tensor, batch_size: int, limit_mb: float) -> int:
    """Return how many windows may go through the network at a time in training.

    Measured, not estimated: what one and two windows keep for the backward
    pass. The state of torch's generator is as before afterwards.

    Parameters
    ----------
    module : Module
        To be trained; takes ``signal``.
    signal : Tensor, shape (n_epochs, ...)
        One or more windows.
    batch_size : int
        Windows per step.
    limit_mb : float
        Bound on what is kept, in MB.

    Returns
    -------
    int
        At least 1; ``batch_size`` where batch normalization needs the whole batch. The
        passes of a step are as even as can be: as many are needed, and they keep less.
    """
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in module.modules()):
        return batch_size
    one = signal[:1]
    devices = [signal.device] if signal.is_cuda else []
    with torch.random.fork_rng(devices):
        first = saved_bytes(module, lambda: module(one))
        second = saved_bytes(module, lambda: module(torch.cat([one, one])))
    each = max(second - first, 1)
    fixed = max(first - each, 0)
    room = limit_mb * 1e6 - fixed
    if room < each:
        warnings.warn(
            f"One window alone keeps {first / 1e6:.0f} MB for the backward pass, more than "
            f"activation_memory_mb={limit_mb:g}; training goes window by window.",
            SignalWarning,
            stacklevel=2,
        )
    most = max(1, int(room // each))
    n_passes = math.ceil(batch_size / most)
    return math.ceil(batch_size / n_passes)


class MemoryBound(Callback):
    """Measures, before the first step, how many windows a pass may take.

    Parameters
    ----------
    limit_mb : float
        See :func:`windows_per_pass`.
    """

    def __init__(self, limit_mb: float) -> None:
        self.limit_mb = limit_mb

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Set the net's ``windows_per_pass_``."""
        # The window with the most electrodes keeps the most.
        recorded = ~np.isnan(X.X.reshape(len(X), X.X.shape[1], -1)[..., 0])
        fullest = int(recorded.sum(axis=1).argmax())
        signal = torch.from_numpy(X.X[fullest : fullest + 1]).to(net.device)
        net.module_.train()
        net.windows_per_pass_ = windows_per_pass(net.module_, signal, net.batch_size, self.limit_mb)
