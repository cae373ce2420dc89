"""One cell of the benchmark: a pipeline, fitted on one fold."""

from __future__ import annotations

import json
import os
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator

from eegfound.base import SpecError
from eegfound.benchmark.folds import Fold
from eegfound.benchmark.memo import EmbeddingMemo
from eegfound.benchmark.resources import Meter
from eegfound.benchmark.routing import fit, respond

Record = dict[str, Any]


def run_cell(
    estimator: Any,
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    fold: Fold,
    *,
    values: bool = False,
    memo: EmbeddingMemo | None = None,
) -> Record:
    """Fit on the training part of a fold, predict its test part.

    Parameters
    ----------
    estimator : estimator
        Unfitted pipeline; nothing else in the process holds it.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        All epochs.
    y, groups : ndarray, shape (n_epochs,)
        Labels and subjects.
    fold : Fold
        Indices of both parts.
    values : bool
        True keeps decision values for the second class.
    memo : EmbeddingMemo | None
        Memory of the encoders in the pipeline.

    Returns
    -------
    dict
        Predictions (indices into the sorted classes), seconds, megabytes,
        warnings and weights; or ``error`` and ``traceback``.
    """
    classes = np.unique(y)
    record: Record = {"error": None, "traceback": None, "warnings": [], "weights": []}
    memo = memo or EmbeddingMemo()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # Groups are passed by name to those who take them: see routing.py.
            with config_context(enable_metadata_routing=False):
                memo.start()
                with Meter() as fitting:
                    fit(estimator, X[fold.train], y[fold.train], groups[fold.train])
                record["fit_seconds"] = fitting.seconds + memo.credit_seconds
                encoding = memo.credit_memory
                memo.start()
                with Meter() as predicting:
                    predicted = respond(estimator, "predict", X[fold.test], groups[fold.test])
                record["predict_seconds"] = predicting.seconds + memo.credit_seconds
                own = max(fitting.memory_mb, predicting.memory_mb)  # NaN stays NaN
                record["memory_mb"] = max(own, encoding, memo.credit_memory)
                record["predictions"] = _indices(predicted, classes).tolist()
                if values:
                    record["values"] = _values(estimator, X[fold.test], groups[fold.test])
            record["weights"] = list(weights(estimator))
        except Exception as error:
            record["error"] = f"{type(error).__name__}: {error}"
            record["traceback"] = traceback.format_exc()
    told = (f"{w.category.__name__}: {w.message}" for w in caught)
    record["warnings"] = list(dict.fromkeys(told))[:5]
    return record


def _indices(predicted: np.ndarray, classes: np.ndarray) -> np.ndarray:
    predicted = np.asarray(predicted)
    index = np.searchsorted(classes, predicted).clip(max=len(classes) - 1)
    if predicted.shape[:1] != index.shape or not np.array_equal(classes[index], predicted):
        unknown = set(predicted.ravel().tolist()) - set(classes.tolist())
        raise SpecError(f"The pipeline predicted labels that are not in y: {sorted(unknown)[:5]}.")
    return index


def _values(estimator: Any, X: np.ndarray, groups: np.ndarray) -> list[float]:
    """Return decision values for the second class."""
    if hasattr(estimator, "decision_function"):
        return respond(estimator, "decision_function", X, groups).tolist()
    return respond(estimator, "predict_proba", X, groups)[:, 1].tolist()


def weights(estimator: Any) -> Iterator[dict[str, Any]]:
    """Yield which weights the encoders of a fitted pipeline used, and what these have seen.

    ``model``, ``weights`` and, where a file tells it, ``seen``: the subjects of each
    data set (None: nobody said which).
    """
    seen: set[int] = set()
    todo = [estimator]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, list | tuple):
            todo.extend(thing)
        elif isinstance(thing, dict):
            todo.extend(thing.values())
        elif isinstance(thing, BaseEstimator):
            if hasattr(thing, "weights_") and hasattr(thing, "fingerprint_"):
                model = getattr(thing, "model", None) or getattr(thing, "default_model", None)
                told: dict[str, Any] = {"model": str(model), "weights": str(thing.weights_)}
                report = getattr(thing, "load_report_", None)
                if report is not None and report.record.get("datasets"):
                    sets = report.record["datasets"]
                    told["seen"] = {each["name"]: each.get("subjects") for each in sets}
                yield told
            else:
                todo.extend(vars(thing).values())


class CellStore:
    """Finished cells on disk, one small JSON file each.

    Parameters
    ----------
    folder : path-like | None
        Where they are kept; None keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = None if folder is None else Path(folder) / "cells"
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, key: str) -> Record | None:
        """Return a finished cell; one that failed is tried again."""
        if self.folder is None:
            return None
        try:
            record = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return None if record.get("error") else record

    def save(self, key: str, record: Record) -> None:
        """Keep a cell; the file is there whole or not at all."""
        if self.folder is None:
            return
        target = self.folder / f"{key}.json"
        partial = target.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(target)
