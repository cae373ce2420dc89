"""Optimizers by name, and learning rates over the steps of a fit."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import Callback
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from eegfound.estimators._options import TrainingOptions
from eegfound.nn import cosine_schedule

#: One-cycle schedules: torch's divisors of the rate at the start, and of that at the end.
_CYCLES = {"onecycle": (25.0, 1e4), "onecycle_half": (2.0, 8.0)}


def optimizer_options(options: TrainingOptions) -> dict[str, Any]:
    """Return skorch's arguments for the optimizer that was asked for."""
    chosen: dict[str, dict[str, Any]] = {
        "adamw": {"optimizer": torch.optim.AdamW},
        "adam": {"optimizer": torch.optim.Adam},
        "amsgrad": {"optimizer": torch.optim.Adam, "optimizer__amsgrad": True},
        "sgd": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    }
    return {**chosen[options.optimizer], "optimizer__weight_decay": options.weight_decay}


class LearningRate(Callback):
    """Changes the learning rate while a net is trained.

    Each parameter group keeps its own share (layer-wise decay). ``"cosine"``
    and ``"constant"`` begin with ``warmup`` epochs of linear growth from 0;
    ``"onecycle"`` (torch's) grows during ``warmup`` epochs, by default three
    tenths of the training, and ``"onecycle_half"`` likewise, but from half the rate
    to a sixteenth of it; ``"plateau"`` halves the rate after ten epochs
    without a better loss.

    Parameters
    ----------
    options : TrainingOptions
        ``lr_schedule``, ``warmup``, ``lr``, ``min_lr``, ``max_epochs`` count.
    monitor : str
        Loss that ``"plateau"`` watches.
    """

    def __init__(self, options: TrainingOptions, monitor: str) -> None:
        self.options, self.monitor = options, monitor

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Build the scheduler for this training."""
        options = self.options
        per_epoch = len(net.get_iterator(X, training=True))
        self.by_epoch_ = options.lr_schedule == "plateau"
        if options.lr_schedule == "plateau":
            self.scheduler_: Any = ReduceLROnPlateau(
                net.optimizer_, factor=0.5, patience=10, min_lr=options.min_lr
            )
        elif options.lr_schedule in _CYCLES:
            start, end = _CYCLES[options.lr_schedule]
            warm = options.warmup / options.max_epochs if options.warmup else 0.3
            # torch's cycle of fewer steps divides by zero, or ends before it begins.
            total = max(3, options.max_epochs * per_epoch)
            self.scheduler_ = OneCycleLR(
                net.optimizer_,
                max_lr=[group["lr"] for group in net.optimizer_.param_groups],
                total_steps=total,
                pct_start=min(max(warm, 2 / total), 0.99),
                div_factor=start,
                final_div_factor=end,
            )
        else:
            rates = cosine_schedule(
                1.0,
                1.0 if options.lr_schedule == "constant" else options.min_lr / options.lr,
                epochs=options.max_epochs,
                steps_per_epoch=per_epoch,
                warmup_epochs=options.warmup,
            )
            last = len(rates) - 1
            self.scheduler_ = LambdaLR(net.optimizer_, lambda step: float(rates[min(step, last)]))

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Go to the next step's rate."""
        if training and not self.by_epoch_:
            scheduler = self.scheduler_
            if not isinstance(scheduler, OneCycleLR) or (
                scheduler.last_epoch + 1 < scheduler.total_steps
            ):
                scheduler.step()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Tell ``"plateau"`` the loss of this epoch."""
        if self.by_epoch_:
            self.scheduler_.step(net.history[-1, self.monitor])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("scheduler_", None)  # holds the optimizer
        return state
