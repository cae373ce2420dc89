"""What every self-supervised objective offers to the training loop."""

from __future__ import annotations

from collections.abc import Mapping
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

    A batch may be cut into parts that pass :meth:`forward` one after another or
    in several processes, before the optimizer takes one step. All that is drawn
    comes from ``generator``, and what training changes besides gradients (a
    codebook, a momentum encoder) is collected in ``forward`` and changed, once
    for all parts and processes, in :meth:`after_step`.
    """

    @property
    def encoder(self) -> EncoderNetwork:
        """The network whose weights a Transformer uses afterwards."""
        raise TypeError(f"{type(self).__name__} must say which network is its encoder.")

    @property
    def kept(self) -> EncoderNetwork:
        """The network that is saved: the encoder, or what follows its mean (momentum)."""
        return self.encoder

    @property
    def kept_config(self) -> dict[str, Any]:
        """In what the configuration of the kept network differs from that of its size."""
        return {}

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

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good the objective is on a batch, without training.

        Parameters
        ----------
        batch, generator
            As in :meth:`forward`. The module is in evaluation mode and no
            gradients are kept.

        Returns
        -------
        dict of str to Tensor
            Scalars, means over the batch. ``total`` is there always. What a
            predictor reaches that learned nothing (the mean, the last value, the
            commonest code) stands under the name of what it compares with, and
            ``_trivial``.
        """
        losses = self(batch, generator=generator)
        values = {name: getattr(losses, name) for name in vars(losses)} | {"total": losses.total}
        return {
            name: value.detach()
            for name, value in values.items()
            if torch.is_tensor(value) and value.ndim == 0 and value.is_floating_point()
        }

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return what a report can draw of a batch's first epoch; empty where there is nothing.

        ``signal`` and ``reconstruction``, ``(n_channels, n_times)`` in the network's
        unit (or features), ``hidden``, of bool, ``(n_channels, n_patches)``, and
        ``code_use``, ``(n_codes,)``: how often each code occurs in the batch.
        """
        return {}

    def prepare(self, batch: SignalBatch) -> None:
        """Fill what only data can fill (an untrained codebook) from a first batch."""

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Prepare pass ``epoch`` (from 0) of ``n_epochs``: the stage of a staged objective."""

    def after_step(self, progress: float) -> None:
        """Follow an optimizer step (momentum encoders, codebooks); ``progress``: from 0 to 1."""

    @property
    def inherited(self) -> tuple[str, ...]:
        """Beginnings of the names of tensors that an earlier stage made."""
        return ()

    def take_up(self, state: Mapping[str, Tensor]) -> bool:
        """Go on from an earlier training of this stage.

        What an earlier stage made stays as it is here: that stage may have been trained
        again since.

        Parameters
        ----------
        state : mapping of str to Tensor
            The state of the earlier training.

        Returns
        -------
        bool
            Whether the earlier stage is another one than in ``state``.

        Raises
        ------
        RuntimeError
            If names or shapes differ.
        """
        prefixes = self.inherited
        own = {k: v.clone() for k, v in self.state_dict().items() if k.startswith(prefixes)}
        self.load_state_dict({**state, **own})
        return any(k not in state or not torch.equal(v, state[k].to(v)) for k, v in own.items())

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters exempt from weight decay."""
        return set()
