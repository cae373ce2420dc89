"""What a training tells of itself: rows of numbers, in memory and in a file."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

from skorch.callbacks import Callback

from eegfound.base import SignalWarning, SpecError
from eegfound.pretraining.measures import Means

#: Most rows of training that a stage writes: longer ones write means over some steps.
MOST_ROWS = 2000


class Metrics:
    """The rows of a training, kept in memory and written to a file as they come.

    Parameters
    ----------
    path : path-like | None
        JSON lines; None keeps the rows in memory only.
    writes : bool
        False in processes other than the first.
    rows : list of dict
        Rows of earlier training, which the file begins with.

    Attributes
    ----------
    rows : list of dict
        ``stage``, ``epoch`` (from 1), ``step`` (of the stage), ``n_windows`` (seen in the
        stage so far; in rows of ``"valid"`` those that are held out), ``split``, ``lr``,
        ``seconds`` and the measures.
    """

    def __init__(self, path: Any, *, writes: bool = True, rows: Any = ()) -> None:
        self.path = None if path is None else Path(path)
        self.writes = writes and path is not None
        self.rows: list[dict[str, Any]] = [dict(row) for row in rows]
        self.restart(self.rows[-1]["seconds"] if self.rows else 0.0)

    def restart(self, seconds: float, rows: list[dict[str, Any]] | None = None) -> None:
        """Go on as if ``seconds`` had gone by and ``rows`` had been written."""
        if rows is not None:
            self.rows = rows
        self._began = time.monotonic() - seconds
        self._rewrite()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._began

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row and write it."""
        self.rows.append(row)
        if not self.writes or self.path is None:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            self.writes = False
            warnings.warn(
                f"metrics_file={str(self.path)!r} cannot be written ({error}): the training goes "
                "on; history_ has all rows.",
                SignalWarning,
                stacklevel=2,
            )

    def _rewrite(self) -> None:
        if not self.writes or self.path is None:
            return
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
            os.replace(part, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise SpecError(
                f"metrics_file={str(self.path)!r} cannot be written: {error}."
            ) from error


class MetricsLog(Callback):
    """Adds the rows of one stage.

    Parameters
    ----------
    metrics : Metrics
        Receives them.
    verbose : int
        Above 0: print a line per pass.
    """

    def __init__(self, metrics: Metrics, verbose: int = 0) -> None:
        self.metrics, self.verbose = metrics, verbose

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        """Decide how many steps make a row."""
        self.every_ = max(1, net.n_steps_ // MOST_ROWS)
        self.means_, self.epoch_means_ = Means(), Means()

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Take in a step."""
        if not training:
            return
        self.means_.add(batch.n_windows, kwargs["measures"])
        self.epoch_means_.add(batch.n_windows, kwargs["measures"])
        if net.position_.step % self.every_ == 0 or net.position_.step == net.n_steps_:
            seen = net.first_window + net.position_.n_windows
            self._row(net, "train", seen, self.means_.values())
            self.means_.clear()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write what was measured on held-out windows."""
        trained = self.epoch_means_.values()
        self.epoch_means_.clear()
        net.history.record("train_loss", trained["total"])
        if net.held_out_ is not None:
            net.history.record("valid_loss", net.measured_["total"])
            self._row(net, "valid", len(net.held_out_), net.measured_)
        if self.verbose:
            told = f"  valid {net.measured_['total']:.4f}" if net.measured_ else ""
            net.accelerator.print(
                f"{net.stage}  epoch {net.first_epoch + net.position_.epoch}  "
                f"train {trained['total']:.4f}{told}  {self.metrics.seconds:.0f} s"
            )

    def _row(self, net: Any, split: str, n_windows: int, measures: dict[str, float]) -> None:
        # A row of "valid" comes after the pass was counted, one of "train" before.
        epoch = net.first_epoch + net.position_.epoch + (split == "train")
        self.metrics.add({
            "stage": net.stage, "epoch": epoch, "step": net.first_step + net.position_.step,
            "n_windows": n_windows, "split": split, "lr": net.position_.lr,
            "seconds": round(self.metrics.seconds, 3), **measures,
        })  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return what the next rows need."""
        return {
            "means": self.means_.state_dict(), "epoch": self.epoch_means_.state_dict(),
            "rows": json.dumps(self.metrics.rows), "seconds": self.metrics.seconds,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; the file is brought to that moment."""
        self.means_.load_state_dict(state["means"])
        self.epoch_means_.load_state_dict(state["epoch"])
        self.metrics.restart(state["seconds"], json.loads(state["rows"]))


class BestWeights(Callback):
    """Remembers the pass with the least held-out loss, and may stop the training.

    Parameters
    ----------
    stops : bool
        Whether the training stops after ``patience`` passes without a better loss, and
        ends with the best weights.
    patience : int
        Passes.

    Attributes
    ----------
    best_ : dict
        ``loss`` and ``epoch`` (from 1) of the best pass, and ``misses`` since then.
    """

    def __init__(self, stops: bool, patience: int) -> None:
        self.stops, self.patience = stops, patience

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Know of no pass yet."""
        self.best_: dict[str, Any] = {"loss": None, "epoch": 0, "misses": 0}
        self.weights_: dict[str, Any] | None = None

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare this pass with the best one."""
        loss = net.measured_.get("total")
        if loss is None:
            return
        if self.best_["loss"] is None or loss < self.best_["loss"]:
            epoch = net.first_epoch + net.position_.epoch
            self.best_ = {"loss": loss, "epoch": epoch, "misses": 0}
            if self.stops:
                self.weights_ = {k: v.clone() for k, v in net.module_.state_dict().items()}
            return
        self.best_["misses"] += 1
        net.stopped_ = self.stops and self.best_["misses"] >= self.patience

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Leave the best weights in the objective."""
        if self.stops and self.weights_ is not None:
            net.module_.load_state_dict(self.weights_)

    def state_dict(self) -> dict[str, Any]:
        """Return the best pass and its weights."""
        return {"best": dict(self.best_), "weights": self.weights_}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best_, self.weights_ = dict(state["best"]), state["weights"]
