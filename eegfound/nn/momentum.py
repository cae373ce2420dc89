"""Momentum encoders: a slow copy of a network that gives the targets."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MomentumEncoder(nn.Module):
    """A copy of a network that follows it as a moving average, without gradient.

    Parameters
    ----------
    network : Module
        Copied as it is now.

    Notes
    -----
    Parameters are averaged, buffers are copied. The copy is always in
    evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MomentumEncoder:
        """Stay in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def update(self, network: nn.Module, momentum: float) -> None:
        """Move towards ``network``: ``slow = momentum * slow + (1 - momentum) * fast``.

        Parameters
        ----------
        network : Module
            The network that is trained.
        momentum : float
            1 keeps the copy as it is, 0 takes the network's values.
        """
        for slow, fast in zip(self.network.parameters(), network.parameters(), strict=True):
            slow.mul_(momentum).add_(fast.detach(), alpha=1 - momentum)
        for kept, seen in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(seen)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """Call the copy without gradient."""
        with torch.no_grad():
            return self.network(*args, **kwargs)


def linear_ramp(step: int, n_steps: int, start: float, end: float) -> float:
    """Return a value that goes linearly from ``start`` to ``end`` in ``n_steps`` steps."""
    return start + (end - start) * min(max(step, 0), n_steps) / max(n_steps, 1)
