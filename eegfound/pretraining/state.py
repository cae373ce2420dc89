"""Going on with a training that was killed, at the step at which it was saved."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback

from eegfound.base import SignalWarning, SpecError
from eegfound.estimators._resume import ABANDONED
from eegfound.pretraining.net import Position


class StateFolder:
    """The files of one training: one of the stage under way, one per finished stage.

    Parameters
    ----------
    folder : path-like
        ``resume_dir``; many trainings may share it.
    digest : str
        Tells this training from others.
    accelerator : Accelerator
        The first process reads and writes for all.
    """

    def __init__(self, folder: Any, digest: str, accelerator: Any) -> None:
        self.folder, self.digest, self.accelerator = Path(folder), digest, accelerator
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"resume_dir={str(folder)!r} cannot be made: {error}.") from error
        self._tidy()

    def path(self, stage: str | None = None) -> Path:
        """Return the file of the stage under way, or of a finished one."""
        middle = "" if stage is None else f".{stage}"
        return self.folder / f"{self.digest}{middle}.pretraining.pt"

    def read(self, stage: str | None = None) -> dict[str, Any] | None:
        """Return a state, the same in all processes; None where there is none to use."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            found = [self._read(self.path(stage))]
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(found)
        return found[0]

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["digest"] == self.digest:
                return state
            problem = "belongs to another training"
        except Exception as error:  # truncated, garbage, no permission: begin anew
            problem = f"cannot be read ({type(error).__name__})"
        warnings.warn(f"{path} {problem}: training begins anew.", SignalWarning, stacklevel=2)
        return None

    def write(self, state: dict[str, Any], stage: str | None = None) -> None:
        """Write a state; the file appears whole or not at all.

        A disk that is full does not end the training: there is a warning.
        """
        if not self.accelerator.is_main_process:
            return
        try:
            handle, name = tempfile.mkstemp(".part", self.digest, self.folder)
            os.close(handle)
            try:
                torch.save({**state, "digest": self.digest}, name)
                os.replace(name, self.path(stage))
            finally:
                Path(name).unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"resume_dir={str(self.folder)!r} cannot be written ({error}): the training goes "
                "on but could not be resumed from here.",
                SignalWarning,
                stacklevel=2,
            )

    def drop_current(self) -> None:
        """Remove the file of the stage under way: it is finished."""
        if self.accelerator.is_main_process:
            with contextlib.suppress(OSError):
                self.path().unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove what a killed process has left half-written."""
        if not self.accelerator.is_main_process:
            return
        for left in self.folder.glob(f"{self.digest}*.part"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    left.unlink()


class TrainingState(Callback):
    """Saves the stage under way now and then, and takes it up again.

    Objective, optimizer, schedule, averaged weights, early stopping, scaler, rows and
    position: what is drawn follows from the position, so no generator is saved. The
    losses and the final weights are those of a training that was not interrupted.

    Parameters
    ----------
    folder : StateFolder
        Where to.
    every : int | float
        Save after that many steps (int) or seconds (float).
    """

    def __init__(self, folder: StateFolder, every: float) -> None:
        self.folder, self.every = folder, every

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder.path()

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Restore what the other callbacks and the optimizer have just set up."""
        self.saved_ = time.monotonic()
        state = self.folder.read()
        if state is None or state["stage"] != net.stage:
            return
        net.module_.load_state_dict(state["objective"])
        net.unwrapped_.load_state_dict(state["optimizer"])
        for name, part in _stateful(net).items():
            part.load_state_dict(state[name])
        net.position_ = Position(**state["position"])
        net.measured_, net.stopped_ = dict(state["measured"]), bool(state["stopped"])
        net.history.extend(state["history"])

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Save when it is time to."""
        if not training or net.position_.step == net.n_steps_:
            return
        by_steps = isinstance(self.every, int)
        passed = net.position_.step if by_steps else time.monotonic() - self.saved_
        if (passed % self.every == 0) if by_steps else (passed >= self.every):
            self.save(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Save."""
        self.save(net)

    def save(self, net: Any) -> None:
        """Write where the training stands."""
        self.folder.write(
            {
                "stage": net.stage,
                "position": asdict(net.position_),
                "measured": net.measured_,
                "stopped": net.stopped_,
                "history": net.history.to_list()[: net.position_.epoch],
                "objective": net.module_.state_dict(),
                "optimizer": net.unwrapped_.state_dict(),
                **{name: part.state_dict() for name, part in _stateful(net).items()},
            }
        )
        self.saved_ = time.monotonic()


def _stateful(net: Any) -> dict[str, Any]:
    """Return the parts beside objective and optimizer that remember something."""
    found: dict[str, Any] = {}
    if net.accelerator.scaler is not None:
        found["scaler"] = net.accelerator.scaler
    callbacks = dict(net.callbacks_)
    for name, attribute in (
        ("averaging", "average_"), ("learning_rate", "scheduler_"), ("log", None), ("best", None),
    ):  # fmt: skip
        if name in callbacks:
            part = callbacks[name]
            found[name] = part if attribute is None else getattr(part, attribute)
    return found
