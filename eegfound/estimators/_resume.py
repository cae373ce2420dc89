"""Going on with a training that was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from skorch.history import History

from eegfound.base import SignalWarning

#: Seconds after which a half-written file has no writer any more.
ABANDONED = 600.0
_FORMAT = 1
_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")


def training_digest(arrays: Iterable[np.ndarray], *facts: Any) -> str:
    """Return what tells one training from another.

    Parameters
    ----------
    arrays : iterable of ndarray
        Data.
    *facts : object
        Whose ``repr`` counts.
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr((_FORMAT, torch.__version__, *facts)).encode())
    return digest.hexdigest()


def described(callback: Any) -> str:
    """Return a callback's class and parameters, in words that are the same in every process.

    Parameters
    ----------
    callback : Callback | type | tuple of (str, Callback)
        As skorch takes them.
    """
    if isinstance(callback, tuple):
        callback = callback[-1]
    if isinstance(callback, type):
        return _in_words(callback)
    given = {k: _in_words(v) for k, v in vars(callback).items() if not k.endswith("_")}
    return f"{_in_words(type(callback))}{sorted(given.items())}"


def _in_words(value: Any) -> str:
    code = getattr(value, "__code__", None)
    if code is not None:  # a function of the user: what it does, not where it lies
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        facts = (code.co_code, code.co_consts, code.co_names, value.__defaults__, cells)
        value = (value.__qualname__, *facts)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


class TrainingState(Callback):
    """Writes the whole state of a training after every epoch, and takes it up again.

    Weights, optimizer, schedule, averaged weights, early stopping, random
    numbers and history: the losses and the final weights are those of a
    training that was not interrupted. Callbacks of the user begin afresh; other
    ones, or other parameters of theirs, are another training.

    Parameters
    ----------
    folder : path-like
        Of the state files; one file per training, named by its digest, so that
        many fits (folds, candidates) share a folder.
    digest : str
        From :func:`training_digest`.
    """

    def __init__(self, folder: Any, digest: str) -> None:
        self.folder, self.digest = folder, digest

    @property
    def path(self) -> Path:
        """The file of this training."""
        return Path(self.folder) / f"{self.digest}.training.pt"

    def take_up(self, net: Any) -> None:
        """Give an initialized net the history that was saved."""
        self._tidy()
        self.state_ = self._read()
        if self.state_ is not None:
            net.history = History(json.loads(self.state_["history"]))
            for group in net.optimizer_.param_groups:  # torch's schedulers start late by it
                group.setdefault("initial_lr", group["lr"])
            if self.state_["finished"]:
                net.max_epochs = len(net.history)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Restore the weights, and what optimizer and other callbacks have just set up."""
        state, self.state_ = self.state_, None
        if state is None:
            return
        own = net.module_.state_dict()
        with torch.no_grad():
            for name, tensor in state["module"].items():
                own[name].copy_(tensor)
        net.optimizer_.load_state_dict(state["optimizer"])
        for name, part in _stateful(net).items():
            part.load_state_dict(state[name])
        stopping = _early_stopping(net)
        if stopping is not None:
            for name, value in state["stopping"].items():
                setattr(stopping, name, value)
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Save."""
        self._write(net, finished=len(net.history) >= net.max_epochs)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Save what early stopping has chosen."""
        if not getattr(net, "interrupted_", False):
            self._write(net, finished=True)

    def _write(self, net: Any, *, finished: bool) -> None:
        stopping = _early_stopping(net)
        state = {
            "digest": self.digest,
            "finished": finished,
            "module": _trained_tensors(net.module_),
            "optimizer": net.optimizer_.state_dict(),
            "history": json.dumps(net.history.to_list(), default=_plain),
            "stopping": {} if stopping is None else _attributes(stopping),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            **{name: part.state_dict() for name, part in _stateful(net).items()},
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".part", self.digest, self.path.parent)
            os.close(handle)
            try:
                torch.save(state, name)
                os.replace(name, self.path)
            finally:
                Path(name).unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"resume_dir={str(self.folder)!r} cannot be written ({error}): the training goes "
                "on but could not be resumed.",
                SignalWarning,
                stacklevel=2,
            )

    def _tidy(self) -> None:
        """Remove what a killed process has left half-written."""
        for left in self.path.parent.glob(f"{self.digest}*.part"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    left.unlink()

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["digest"] == self.digest:
                return state
            problem = "belongs to another training"
        except Exception as error:  # truncated, garbage, no permission: begin anew
            problem = f"cannot be read ({type(error).__name__})"
        warnings.warn(f"{self.path} {problem}: training begins anew.", SignalWarning, stacklevel=2)
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "state_": None}


def _plain(value: Any) -> Any:
    """Return what a callback has recorded as JSON takes it."""
    if torch.is_tensor(value):
        value = value.detach().cpu().numpy()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else repr(value)


def _stateful(net: Any) -> dict[str, Any]:
    """Return the parts beside the optimizer that remember something."""
    found: dict[str, Any] = {}
    for _, callback in net.callbacks_:
        for name, attribute in (("schedule", "scheduler_"), ("averaging", "average_")):
            part = getattr(callback, attribute, None)
            if part is not None and type(callback).__module__.startswith("eegfound."):
                found[name] = part
    return found


def _early_stopping(net: Any) -> Any:
    return dict(net.callbacks_).get("validation_early_stopping")


def _attributes(stopping: Any) -> dict[str, Any]:
    """Return what early stopping remembers, as plain numbers and tensors."""
    found = {name: getattr(stopping, name) for name in _STOPPING if hasattr(stopping, name)}
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in found.items()}


def _trained_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return trained parameters and all buffers."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {k: v.detach().clone() for k, v in module.state_dict().items() if k not in frozen}
