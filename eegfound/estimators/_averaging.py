"""An exponential moving average of the trained weights."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn


class AveragedWeights:
    """Average of a module's trained parameters, swapped in for evaluation.

    Parameters
    ----------
    module : Module
        Being trained.
    decay : float
        Share of the old average in each step; the first steps weigh more,
        ``min(decay, (1 + step) / (10 + step))``, so that the random start is
        forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.parameters = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.other = {k: p.detach().clone() for k, p in self.parameters.items()}
        self.swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, parameter in self.parameters.items():
            self.other[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def use(self, averaged: bool) -> None:
        """Put the averaged weights, or those of the training, into the module."""
        if averaged == self.swapped:
            return
        for name, parameter in self.parameters.items():
            held = parameter.detach().clone()
            parameter.copy_(self.other[name])
            self.other[name] = held
        self.swapped = averaged

    def state_dict(self) -> dict[str, Any]:
        """Return the average (or, while swapped, the training weights) and the count."""
        return {"steps": self.steps, "swapped": self.swapped, "other": dict(self.other)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the module's weights are loaded apart."""
        self.steps, self.swapped = int(state["steps"]), bool(state["swapped"])
        own: dict[str, Tensor] = state["other"]
        self.other = {k: own[k].to(p.device).clone() for k, p in self.parameters.items()}


class Averaging(Callback):
    """Keeps an :class:`AveragedWeights` while a net is trained.

    Validation, early stopping and the final net see the averaged weights.

    Parameters
    ----------
    decay : float
        Of the average.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Start from the weights at hand."""
        self.average_ = AveragedWeights(net.module_, self.decay)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Go on with the training's weights."""
        self.average_.use(averaged=False)

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Validate the average."""
        if not training:
            self.average_.use(averaged=True)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Take in the step."""
        if training:
            self.average_.update()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Show the average to whoever looks at the net now."""
        self.average_.use(averaged=True)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Leave the average in the net."""
        self.average_.use(averaged=True)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("average_", None)  # holds the training weights
        return state
