"""The training loop: skorch's net, accelerate's processes, and our steps.

An optimizer step sees a whole batch, cut into parts that pass the objective one
after another, here or in other processes. All that a part draws is seeded by its
place, so the losses do not depend on who computes it, nor on what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from skorch.hf import AccelerateMixin
from torch import nn

from eegfound.base import TrainingError
from eegfound.pretraining.batches import Batch, Pass, Purpose, Windows, seed_torch, seeds
from eegfound.pretraining.measures import as_numbers, combined, measured, named_losses
from eegfound.pretraining.processes import same_everywhere, sum_gradients


@dataclass
class Position:
    """How far the training of a stage has come.

    Attributes
    ----------
    epoch : int
        Passes done.
    batch : int
        Steps done of the pass that is under way.
    step : int
        Steps done in all.
    n_windows : int
        Windows seen in all.
    lr : float
        Learning rate of the last step.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    n_windows: int = 0
    lr: float = 0.0


class PassIterator:
    """What skorch calls an iterator: the steps of the pass that is under way."""

    def __init__(self, net: PretrainingNet, windows: Windows) -> None:
        self.net, self.windows = net, windows

    def __len__(self) -> int:
        return self.windows.n_batches

    def __iter__(self) -> Iterator[Batch]:
        net = self.net
        epoch = net.first_epoch + net.position_.epoch
        seed = seeds(net.random_state, Purpose.ORDER, net.stage_number, epoch)[0]
        rank, world = net.accelerator.process_index, net.accelerator.num_processes
        one = Pass(self.windows, self.windows.batches(seed), rank, world)
        return one.steps(net.position_.batch, net.n_workers)


class PretrainingNet(AccelerateMixin, NeuralNet):
    """Trains an objective; :meth:`train_stage` does all of it.

    Parameters
    ----------
    module : Objective
        Trained in place.
    accelerator : Accelerator
        Knows the other processes and the precision.
    stage, stage_number : str, int
        Name and place of the stage.
    random_state : int
        What all that is drawn follows from.
    place : torch.device | str
        Where to compute.
    n_workers : int
        Processes that read windows ahead.
    gradient_clip : float | None
        Largest norm of the gradient.
    first_epoch, first_step, first_window : int
        Passes, steps and windows done before this training (by ``partial_fit``).
    **kwargs : Any
        Of skorch's net.

    Attributes
    ----------
    position_ : Position
        How far it has come.
    n_steps_ : int
        Steps of the whole stage.
    measured_ : dict of str to float
        Of the last measurement on held-out windows.
    steady_ : bool
        False while weights are changed: not a moment to save them.
    """

    def __init__(
        self, module: Any, *, stage: str = "", stage_number: int = 0, random_state: int = 0,
        place: Any = "cpu", n_workers: int = 0, gradient_clip: float | None = None,
        first_epoch: int = 0, first_step: int = 0, first_window: int = 0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(module, criterion=nn.Identity, **kwargs)
        self.stage, self.stage_number, self.random_state = stage, stage_number, random_state
        self.place, self.n_workers, self.gradient_clip = place, n_workers, gradient_clip
        self.first_epoch, self.first_step = first_epoch, first_step
        self.first_window = first_window

    @property
    def _default_callbacks(self) -> list[Any]:
        return []

    def initialize_module(self, *args: Any, **kwargs: Any) -> PretrainingNet:
        """Take the objective as it is; skorch would copy or build it."""
        self.module_ = self.module.to(self.place)
        return self

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> PretrainingNet:
        """Give the optimizer two groups: with and without weight decay."""
        exempt = self.module_.no_weight_decay()
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in self.get_all_learnable_params():
            (free if parameter.ndim <= 1 or name in exempt else decayed).append(parameter)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
        options = {"lr": self.lr, **self.get_params_for("optimizer")}
        self.optimizer_ = self.optimizer([g for g in groups if g["params"]], **options)
        return self

    def get_all_learnable_params(self) -> Iterator[tuple[str, Any]]:
        """Yield name and parameter of what is trained."""
        for name, parameter in self.module_.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def _initialize_accelerator(self) -> PretrainingNet:
        """Hand over the optimizer only: gradients are summed here, not by a wrapper."""
        same_everywhere(self.module_, self.accelerator)
        with self._current_init_context("optimizer"):
            self.unwrapped_ = self.optimizer_
            self.optimizer_ = self.accelerator.prepare_optimizer(
                self.unwrapped_, device_placement=False
            )
        return self

    def let_go(self) -> None:
        """Take the optimizer out of the accelerator's list: it may outlive this net."""
        own, kept = getattr(self, "optimizer_", None), self.accelerator._optimizers
        kept[:] = [other for other in kept if other is not own]

    def on_batch_begin(self, net: Any, batch: Any = None, **kwargs: Any) -> None:
        """Keep no history of batches: it would grow with every step."""

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the steps of the pass that is under way."""
        return PassIterator(self, dataset)

    def train_stage(self, windows: Windows, held_out: Windows | None) -> None:
        """Train from where the position says to the end.

        Parameters
        ----------
        windows : Windows
            What is trained on.
        held_out : Windows | None
            What is measured after each pass.
        """
        self.position_, self.stopped_, self.steady_ = Position(), False, False
        self.held_out_ = held_out
        self.measured_: dict[str, float] = {}
        self.n_steps_ = self.max_epochs * windows.n_batches
        self.initialize()
        self.notify("on_train_begin", X=windows, y=None)
        self.fit_loop(windows)
        self.notify("on_train_end", X=windows, y=None)

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        """Train the passes that are left."""
        iterator = self.get_iterator(X, training=True)
        where = {"dataset_train": X, "dataset_valid": self.held_out_}
        while self.position_.epoch < self.max_epochs and not self.stopped_:
            epoch = self.first_epoch + self.position_.epoch
            self.module_.start_epoch(epoch, self.first_epoch + self.max_epochs)
            self.notify("on_epoch_begin", **where)
            self.steady_ = True
            self.run_single_epoch(iterator, True, "train", self.train_step)
            self.steady_ = False
            self.notify("on_batch_begin", batch=None, training=False)
            self.steady_ = True
            measured_now = {} if self.held_out_ is None else self.measure(self.held_out_)
            if not math.isfinite(measured_now.get("total", 0.0)):
                raise self._lost(f"The held-out loss is {measured_now['total']}", measured_now)
            self.steady_, self.measured_ = False, measured_now
            self.position_.epoch, self.position_.batch = self.position_.epoch + 1, 0
            self.notify("on_epoch_end", **where)
        return self

    def measure(self, windows: Windows) -> dict[str, float]:
        """Measure the objective as it is now."""
        return measured(
            self.module_, windows, device=self.place, random_state=self.random_state,
            stage=self.stage_number, accelerator=self.accelerator, n_workers=self.n_workers,
        )  # fmt: skip

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **kwargs: Any
    ) -> None:
        """Train what is left of a pass."""
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=True)
            step = step_fn(batch)
            self.position_.batch += 1
            self.position_.step += 1
            self.position_.n_windows += batch.n_windows
            self.notify("on_batch_end", batch=batch, training=True, **step)
            self.steady_ = True

    def train_step(self, batch: Any, **kwargs: Any) -> dict[str, Any]:
        """Take one optimizer step.

        Returns
        -------
        dict
            ``loss`` and ``measures``, the means over the batch in all processes.
        """
        self._set_training(True)
        self._zero_grad_optimizer()
        parts = [(p.number, len(p), self._pass(p, batch)) for p in batch.parts]
        measures = combined(parts, self.accelerator)
        if not math.isfinite(measures["total"]):
            raise self._lost(f"The loss is {measures['total']}", measures)
        trained = [p for _, p in self.get_all_learnable_params()]
        sum_gradients(trained, self.accelerator)
        self.accelerator.unscale_gradients()
        clip = self.gradient_clip if self.gradient_clip is not None else math.inf
        norm = float(nn.utils.clip_grad_norm_(trained, clip))
        if not math.isfinite(norm) and self.accelerator.scaler is None:
            raise self._lost(f"The gradient's norm is {norm}", measures)
        self.steady_ = False
        self.position_.lr = float(self.optimizer_.param_groups[0]["lr"])
        self.optimizer_.step()
        done = self.first_step + self.position_.step + 1
        self.module_.after_step(done / (self.first_step + self.n_steps_))
        return {"loss": measures["total"], "measures": measures, "gradient_norm": norm}

    def _pass(self, part: Any, batch: Any) -> dict[str, float]:
        """Compute the losses and gradients of one part."""
        step = self.first_step + self.position_.step
        drawn, dropped = seeds(
            self.random_state, Purpose.TRAINING, self.stage_number, step, part.number
        )
        seed_torch(dropped, self.place)
        generator = torch.Generator().manual_seed(drawn)
        with self.accelerator.autocast():
            losses = self.module_(part.batch(self.place), generator=generator)
            share = losses.total * (len(part) / batch.n_windows)
        self.accelerator.backward(share)
        return as_numbers(named_losses(losses))

    def _lost(self, what: str, measures: dict[str, float]) -> TrainingError:
        where = f"epoch {self.position_.epoch + 1}, after {self.position_.step} steps"
        parts = ", ".join(f"{name} {value:.4g}" for name, value in measures.items())
        return TrainingError(
            f"{what} in stage {self.stage!r}, {where} ({parts}): the training is stopped. "
            f"{self._saved()}Lower lr ({self.lr:g}), set gradient_clip or a longer warmup, use "
            "dtype='float32', or look for artefacts in the windows."
        )

    def _saved(self) -> str:
        state = dict(self.callbacks_).get("training_state")
        return "" if state is None else f"The last good state is kept in {state.path}. "
