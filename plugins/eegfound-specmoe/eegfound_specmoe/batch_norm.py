"""BatchNorm whose running statistics move once per step of training.

A step may be made of several parts, in several processes. Each part is normed by
its own statistics, as everywhere; the running ones, which evaluation uses, then
follow the mean over all parts, so they do not depend on how parts were dealt out.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn.codebook import several_processes


class StepBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm that can wait for the end of a step.

    Attributes
    ----------
    waits : bool
        False: as in torch. True: forward passes in training collect, and
        :func:`follow` moves the running statistics.
    """

    waits = False
    _collected: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed signal, ``(n, filters, n_times)``."""
        if not (self.training and self.waits):
            return super().forward(x)
        assert self.running_mean is not None
        # With momentum 1 these become the part's own statistics.
        mean, variance = (torch.zeros_like(self.running_mean) for _ in range(2))
        out = F.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        told = len(x) * torch.cat([mean, variance, mean.new_ones(1)])
        self._collected = told if self._collected is None else self._collected + told
        return out

    def _move(self, told: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        mean, variance = (told[:-1] / told[-1]).chunk(2)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        self.num_batches_tracked += 1


def wait_for_steps(module: nn.Module) -> None:
    """Let every BatchNorm of a module wait for :func:`follow`."""
    for layer in _layers(module):
        layer.waits = True


@torch.no_grad()
def follow(module: nn.Module) -> None:
    """Move the running statistics of a module to what the step's parts said.

    Parameters
    ----------
    module : Module
        After :func:`wait_for_steps`. Where no part passed, nothing moves. To be
        called by all processes.
    """
    layers = _layers(module)
    if not layers:
        return
    empty = [torch.zeros(2 * b.num_features + 1, device=b.weight.device) for b in layers]
    told = torch.cat(
        [none if b._collected is None else b._collected for b, none in zip(layers, empty)]
    )
    for layer in layers:
        layer._collected = None
    if several_processes():
        dist.all_reduce(told)
    for layer, part in zip(layers, told.split([len(none) for none in empty])):
        if bool(part[-1] > 0):
            layer._move(part)


def _layers(module: nn.Module) -> list[StepBatchNorm1d]:
    return [layer for layer in module.modules() if isinstance(layer, StepBatchNorm1d)]
