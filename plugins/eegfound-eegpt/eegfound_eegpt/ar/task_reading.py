"""What the multi-task classifier is given, brought to one form."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from eegfound.base import ChannelInfo, SpecError, as_channel_info
from eegfound.estimators._class_weight import weights_of_classes
from eegfound_eegpt.ar.estimators import EEGPTARTransformer
from eegfound_eegpt.ar.task_labels import TaskLabels, as_task_column
from eegfound_eegpt.ar.task_network import Block


@dataclass(frozen=True)
class TrainingTasks:
    """Training data of all tasks, epoch by epoch.

    Attributes
    ----------
    blocks : list of Block
        Signals, array by array.
    labels : TaskLabels
        Tasks and their labels.
    task : ndarray of int64, shape (n_epochs,)
        Number of each epoch's task.
    columns : ndarray of int64, shape (n_epochs,)
        The network's output that stands for the epoch's task and label.
    weight : ndarray, shape (n_epochs,)
        Weight of each epoch in the loss.
    groups : ndarray | None, shape (n_epochs,)
        Subject of each epoch; subjects of different arrays differ.
    """

    blocks: list[Block]
    labels: TaskLabels
    task: np.ndarray
    columns: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None


@dataclass(frozen=True)
class _Part:
    """One array with the tasks of its epochs."""

    block: Block
    y: np.ndarray
    task: np.ndarray | None
    weight: np.ndarray
    groups: np.ndarray | None


def _part(estimator: Any, reader: Any, X: Any, y: Any, task: Any, groups: Any, weight: Any) -> Any:
    X, y = reader._read(X, reset=True, y=y)
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    if groups is not None and len(groups) != len(X):
        raise SpecError(f"groups has {len(groups)} entries for {len(X)} epochs.")
    column = as_task_column(task, len(X))
    presence = reader.plan_.check(X)
    return _Part(
        Block(reader.plan_.apply(X, presence), presence, reader.plan_.rows),
        y,
        column,
        estimator._weights(
            weight, X, lambda given: _balance(estimator.class_weight, y, column, given)
        ),
        None if groups is None else np.asarray(groups),
    )


def _balance(
    class_weight: Any, y: np.ndarray, column: np.ndarray | None, weight: np.ndarray
) -> np.ndarray:
    """Return the factor that its label gives each epoch, within each task."""
    out = np.ones(len(y))
    if class_weight is None:
        return out
    tasks = np.zeros(len(y), dtype=int) if column is None else column
    for task in np.unique(tasks):
        members = tasks == task
        known = _known(class_weight, y[members])
        out[members] = weights_of_classes(known, y[members], weight[members])
    return out


def _known(class_weight: Any, y: np.ndarray) -> Any:
    """Leave out the weights of labels that only other tasks have."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    there = set(y.tolist())
    return {label: weight for label, weight in class_weight.items() if label in there}


def _collect(parts: list[_Part]) -> TrainingTasks:
    by_task: dict[Hashable, list[np.ndarray]] = {}
    for part in parts:
        if part.task is None:
            by_task.setdefault(None, []).append(part.y)
            continue
        for task in np.unique(part.task).tolist():
            by_task.setdefault(task, []).append(part.y[part.task == task])
    labels = TaskLabels.of({task: np.concatenate(ys) for task, ys in by_task.items()})
    first = np.concatenate([[0], np.cumsum(labels.counts)])
    task, columns, groups = [], [], []
    for number, part in enumerate(parts):
        codes = labels.task_codes(part.task, len(part.y))
        within = np.empty(len(part.y), dtype=np.int64)
        for code in np.unique(codes):
            members = codes == code
            within[members] = labels.codes(labels.tasks[code], part.y[members])
        task.append(codes)
        columns.append(first[codes] + within)
        if part.groups is not None:
            groups += [f"{number}:{group}" for group in part.groups.tolist()]
    grouped = [part.groups is not None for part in parts]
    if any(grouped) and not all(grouped):
        raise SpecError("groups must name the subjects of every task, or of none.")
    return TrainingTasks(
        [part.block for part in parts],
        labels,
        np.concatenate(task),
        np.concatenate(columns).astype(np.int64),
        np.concatenate([part.weight for part in parts]),
        np.asarray(groups) if all(grouped) else None,
    )


def read_array(
    estimator: Any, X: Any, y: Any, task: Any, groups: Any, sample_weight: Any
) -> TrainingTasks:
    """Read epochs of all tasks that stand in one array."""
    return _collect([_part(estimator, estimator, X, y, task, groups, sample_weight)])


def read_mapping(
    estimator: Any, X: Mapping[Hashable, Any], groups: Any, sample_weight: Any
) -> tuple[TrainingTasks, dict[Hashable, Any]]:
    """Read one array per task, each with channels, rate and length of its own.

    Parameters
    ----------
    estimator : EEGPTMultiTaskClassifier
        Says how arrays are read.
    X : mapping
        Task to ``(X, y)`` or ``(X, y, info)``; ``info`` may be a list of
        channel names, at the rate of the estimator's own ``info``.
    groups, sample_weight : mapping | None
        Task to one entry per epoch.

    Returns
    -------
    data : TrainingTasks
        All epochs.
    readers : dict
        Task to the estimator that reads its arrays.
    """
    if not X:
        raise SpecError("X is empty: pass {'task': (X, y, info), ...}.")
    for name, value in (("groups", groups), ("sample_weight", sample_weight)):
        if value is not None and not isinstance(value, Mapping):
            raise SpecError(f"{name} must be a mapping of task to values, as X is.")
    parts, readers = [], {}
    for task, entry in X.items():
        if not isinstance(entry, tuple) or len(entry) not in (2, 3):
            raise SpecError(f"X[{task!r}] must be a tuple (X, y) or (X, y, info).")
        reader = EEGPTARTransformer(
            info=_info(estimator, entry[2] if len(entry) == 3 else None),
            pooling="graph",
            **{name: getattr(estimator, name) for name in _SHARED},
        )
        readers[task] = reader
        parts.append(
            _part(
                estimator, reader, entry[0], entry[1], task,
                None if groups is None else groups.get(task),
                None if sample_weight is None else sample_weight.get(task),
            )
        )  # fmt: skip
    return _collect(parts), readers


_SHARED = ("unit", "on_unknown", "on_short", "batch_size", "device", "dtype", "n_threads")


def _info(estimator: Any, info: Any) -> Any:
    if info is None:
        return estimator.info
    if isinstance(info, list | tuple) and all(isinstance(name, str) for name in info):
        if estimator.info is None:
            raise SpecError(
                "A task given with a list of names has no sampling rate: give it "
                "ChannelInfo(ch_names, sfreq), or pass info= to the estimator."
            )
        return ChannelInfo(tuple(info), as_channel_info(estimator.info).sfreq)
    return info
