"""Tasks and their labels: one row of a task column per epoch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eegfound.base import SpecError


def as_task_column(task: Any, n_epochs: int) -> np.ndarray | None:
    """Return one task per epoch.

    Parameters
    ----------
    task : array-like of shape (n_epochs,) | str | int | None
        Names of tasks; one name stands for all epochs.
    n_epochs : int
        Number of epochs.

    Returns
    -------
    ndarray, shape (n_epochs,) | None
        None where no task is named.

    Raises
    ------
    SpecError
        If the length differs, or a row names no task.
    """
    if task is None:
        return None
    column = np.asarray(task)
    if column.ndim == 0:
        column = np.full(n_epochs, column)
    if column.shape != (n_epochs,):
        raise SpecError(
            f"task has shape {column.shape} for {n_epochs} epochs: pass one task per epoch, or one "
            "name for all."
        )
    missing = np.array([row is None or row != row for row in column.tolist()], dtype=bool)
    if missing.any():
        raise SpecError(f"task is missing for epoch {int(missing.argmax())}: name one per epoch.")
    return column


def _distinct(columns: list[np.ndarray]) -> np.ndarray:
    """Return distinct values, sorted; numbers before text where both occur."""
    kinds = {np.asarray(column).dtype.kind in "USO" for column in columns}
    if len(kinds) == 1:
        return np.unique(np.concatenate(columns))
    values = {value for column in columns for value in np.asarray(column).tolist()}
    ordered = sorted(values, key=lambda value: (isinstance(value, str), str(value), value))
    out = np.empty(len(ordered), dtype=object)
    out[:] = ordered
    return out


@dataclass(frozen=True)
class TaskLabels:
    """Tasks, the labels of each, and the columns they share.

    The network has one output (column) per task and label, tasks side by side.

    Attributes
    ----------
    tasks : tuple
        Names of the tasks; ``(None,)`` where none were named.
    by_task : dict
        Labels of each task, sorted.
    classes : ndarray
        Labels of all tasks, sorted.
    """

    tasks: tuple[Hashable, ...]
    by_task: dict[Hashable, np.ndarray]
    classes: np.ndarray

    @classmethod
    def of(cls, labels: Mapping[Hashable, np.ndarray]) -> TaskLabels:
        """Collect the labels, ``(n_epochs,)``, of each task."""
        by_task = {task: np.unique(y) for task, y in labels.items()}
        return cls(tuple(by_task), by_task, _distinct(list(by_task.values())))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of labels of each task."""
        return tuple(len(self.by_task[task]) for task in self.tasks)

    def task_codes(self, column: np.ndarray | None, n_epochs: int) -> np.ndarray:
        """Return the number of each epoch's task.

        Raises
        ------
        SpecError
            If a task is unknown, or must be named and is not.
        """
        if column is None:
            if len(self.tasks) > 1:
                raise SpecError(
                    f"The estimator was fitted on the tasks {list(self.tasks)}: say which one is "
                    "meant with task=. In scikit-learn's tools switch metadata routing on, "
                    "sklearn.set_config(enable_metadata_routing=True), and pass "
                    "params={'task': task}."
                )
            return np.zeros(n_epochs, dtype=np.int64)
        numbers = {task: number for number, task in enumerate(self.tasks)}
        unknown = sorted({str(t) for t in column.tolist() if t not in numbers})
        if unknown:
            known = "without tasks" if self.tasks == (None,) else f"on {list(self.tasks)}"
            raise SpecError(f"task={unknown} is not known: the estimator was fitted {known}.")
        return np.array([numbers[task] for task in column.tolist()], dtype=np.int64)

    def codes(self, task: Hashable, y: np.ndarray) -> np.ndarray:
        """Return the number of each label of a task."""
        return np.searchsorted(self.by_task[task], y)

    def places(self, task: Hashable) -> np.ndarray:
        """Return the place of each of a task's labels in ``classes``."""
        where = {label: place for place, label in enumerate(self.classes.tolist())}
        return np.array([where[label] for label in self.by_task[task].tolist()])
