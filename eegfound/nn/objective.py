"""What every self-supervised objective offers to the training loop."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from eegfound.models.network import EncoderNetwork, SignalBatch


@runtime_checkable
class Losses(Protocol):
    """Losses of a batch: a dataclass whose ``total`` is minimized."""

    @property
    def total(self) -> Tensor:
        """What is minimized, a scalar."""


class Objective(nn.Module):
    """A self-supervised objective: networks, what is hidden, and the losses.

    Subclasses implement :meth:`forward` and :attr:`encoder`.
    """

    @property
    def encoder(self) -> EncoderNetwork:
        """The network whose weights a Transformer uses afterwards."""
        raise TypeError(f"{type(self).__name__} must say which network is its encoder.")

    def forward(self, batch: SignalBatch, *, generator: torch.Generator | None = None) -> Any:
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : SignalBatch
            Epochs with the same electrodes, in the network's unit.
        generator : torch.Generator | None
            CPU generator of all that is drawn (masks, views).

        Returns
        -------
        Losses
            A dataclass with ``total`` and the parts it is made of.
        """
        raise TypeError(f"{type(self).__name__} must implement forward(batch, generator=None).")

    def prepare(self, batch: SignalBatch) -> None:
        """Fill what only data can fill (an untrained codebook) from a first batch."""

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Prepare pass ``epoch`` (from 0) of ``n_epochs``: the stage of a staged objective."""

    def after_step(self, progress: float) -> None:
        """Follow an optimizer step (momentum encoders); ``progress`` runs from 0 to 1."""

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters exempt from weight decay."""
        return set()
