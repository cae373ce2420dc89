"""Showing how far a pretraining is."""

from __future__ import annotations

import time
from typing import Any

from skorch.callbacks import Callback

from eegfound.cli._output import errors, say


class Progress(Callback):
    """A bar per stage on a terminal, now and then a line elsewhere; on stderr.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    every : float
        Seconds between lines, at least.
    """

    def __init__(self, quiet: bool = False, every: float = 5.0) -> None:
        self.quiet, self.every = quiet, every
        self._bar: Any = None
        self._told = 0.0

    def __enter__(self) -> Progress:
        from eegfound.datasets.progress import interactive

        if not self.quiet and interactive():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeRemainingColumn(), console=errors, transient=True,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Announce a stage."""
        self._loss, self._began = "", time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task(net.stage, total=net.n_steps_)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Count a step; say where it stands, where no end of a pass is in sight."""
        if not training:
            return
        if self._bar is not None:
            self._bar.update(
                self._task, completed=net.position_.step,
                description=f"{net.stage} {kwargs['loss']:.4g}{self._loss}",
            )  # fmt: skip
        elif time.monotonic() - max(self._told, self._began) > 12 * self.every:
            self._line(net, f"loss {kwargs['loss']:.4g}")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Tell what was measured."""
        held = net.measured_.get("total")
        self._loss = "" if held is None else f", held out {held:.4g}"
        if net.measured_.get("total_trivial") is not None:
            self._loss += f" (trivial {net.measured_['total_trivial']:.4g})"
        last = net.position_.epoch == net.max_epochs or net.stopped_
        if self._bar is None and (last or time.monotonic() - self._told > self.every):
            self._line(net, f"loss {net.history[-1, 'train_loss']:.4g}{self._loss}")

    def _line(self, net: Any, what: str) -> None:
        self._told = time.monotonic()
        if not self.quiet:
            epoch = min(net.position_.epoch + bool(net.position_.batch), net.max_epochs)
            say(
                f"{net.stage}: epoch {epoch}/{net.max_epochs}, step {net.position_.step}/"
                f"{net.n_steps_}, {what}",
                to=errors,
            )
