"""The mean of what a training saw: what a predictor knows that looks at nothing."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eegfound.nn.codebook import several_processes


class RunningMean(nn.Module):
    """A mean over all steps of a training, over all their parts and processes.

    Parameters
    ----------
    n_features : int
        Length of the vectors that are averaged.
    """

    mean: Tensor
    n_seen: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("n_seen", torch.zeros((), dtype=torch.int64))
        self._collected: Tensor | None = None

    @torch.no_grad()
    def collect(self, vectors: Tensor) -> None:
        """Remember vectors, ``(..., n_features)``, for :meth:`follow`."""
        rows = vectors.detach().flatten(0, -2)
        seen = self._nothing()
        seen[:-1] = rows.sum(dim=0, dtype=seen.dtype)
        seen[-1] = len(rows)
        self._collected = seen if self._collected is None else self._collected + seen

    @torch.no_grad()
    def follow(self) -> None:
        """Take in what was collected since the last call; every process must call it."""
        seen, self._collected = self._collected, None
        if several_processes():
            seen = self._nothing() if seen is None else seen
            dist.all_reduce(seen)
        if seen is None or not seen[-1]:
            return
        self.n_seen += seen[-1].long()
        step = (seen[:-1] / seen[-1] - self.mean) * (seen[-1] / self.n_seen)
        self.mean += step.to(self.mean.dtype)

    def _nothing(self) -> Tensor:
        # Exact sums: the parts of a step add up to the same in any order.
        exact = torch.float32 if self.mean.device.type == "mps" else torch.float64
        return torch.zeros(len(self.mean) + 1, dtype=exact, device=self.mean.device)
