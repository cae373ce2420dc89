"""How a codebook is used: effective number of codes, and their frequencies in training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eegfound.nn.codebook import several_processes


def perplexity(counts: Tensor) -> Tensor:
    """Return how many codes are in use, as the exponential of their entropy.

    Parameters
    ----------
    counts : Tensor, shape (n_codes,)
        How often each code occurs.

    Returns
    -------
    Tensor of float, shape ()
        From 1 (all the same, or none at all) to ``n_codes`` (all equally often).

    Examples
    --------
    >>> import torch
    >>> from eegfound.nn.code_use import perplexity
    >>> perplexity(torch.tensor([5, 5, 0])).item()
    2.0
    """
    shares = counts.float() / counts.sum().clamp(min=1)
    return torch.exp(torch.special.entr(shares).sum())


class CodeFrequencies(nn.Module):
    """How often each code occurred in training: what a predictor knows that looks at nothing.

    Parameters
    ----------
    n_codes : int
        Number of codes.
    """

    counts: Tensor
    epoch: Tensor

    def __init__(self, n_codes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(n_codes, dtype=torch.int64))
        self.register_buffer("epoch", torch.full((), -1, dtype=torch.int64))
        self._collected: Tensor | None = None

    def restart(self, epoch: int) -> bool:
        """Count anew in a new pass over the data; return whether it is one.

        A training that goes on in the middle of a pass goes on counting.
        """
        if int(self.epoch) == epoch:
            return False
        self.epoch.fill_(epoch)
        self.counts.zero_()
        return True

    @property
    def used(self) -> Tensor:
        """Share of the codes that occurred, a scalar."""
        return (self.counts > 0).float().mean()

    @torch.no_grad()
    def collect(self, codes: Tensor) -> None:
        """Remember the codes of a part of a step, for :meth:`follow`."""
        counts = torch.bincount(codes.flatten(), minlength=len(self.counts))
        self._collected = counts if self._collected is None else self._collected + counts

    @torch.no_grad()
    def follow(self) -> None:
        """Add what was collected since the last call, in all processes."""
        collected, self._collected = self._collected, None
        if several_processes():
            collected = torch.zeros_like(self.counts) if collected is None else collected
            dist.all_reduce(collected)
        if collected is not None:
            self.counts += collected

    def loss(self, codes: Tensor) -> Tensor:
        """Return the cross-entropy of codes under these frequencies (each counted once more)."""
        chances = (self.counts + 1).float()
        return -(chances / chances.sum()).log()[codes].mean()

    def accuracy(self, codes: Tensor) -> Tensor:
        """Return how often the commonest code is right."""
        return (codes == self.counts.argmax()).float().mean()
