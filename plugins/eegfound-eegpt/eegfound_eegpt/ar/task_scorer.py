"""A scorer that passes the task on to the classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import balanced_accuracy_score

from eegfound_eegpt.ar.task_labels import as_task_column


class TaskScorer(BaseEstimator):
    """Score each task on its own and average over tasks.

    scikit-learn's named scorers call ``predict`` without metadata, so a
    multi-task classifier cannot know what to predict. This one passes ``task``
    on, and asks for it where metadata routing is enabled.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_pred)`` of one task's epochs.

    Examples
    --------
    >>> from eegfound_eegpt.ar.task_scorer import TaskScorer
    >>> TaskScorer().metric.__name__
    'balanced_accuracy_score'
    """

    __metadata_request__score: ClassVar = {"task": True}

    def __init__(self, metric: Callable[[Any, Any], float] = balanced_accuracy_score) -> None:
        self.metric = metric

    def __call__(self, estimator: Any, X: Any, y: Any, task: Any = None) -> float:
        """Return the score; see :meth:`score`."""
        return self.score(estimator, X, y, task=task)

    def score(self, estimator: Any, X: Any, y: Any, task: Any = None) -> float:
        """Return the mean over tasks of the metric.

        Parameters
        ----------
        estimator : EEGPTMultiTaskClassifier | Pipeline
            Fitted.
        X, y
            Windows and labels.
        task : array-like, shape (n_epochs,) | str | None
            Task of each window.
        """
        y = np.asarray(y)
        column = as_task_column(task, len(y))
        if column is None:
            return float(self.metric(y, estimator.predict(X)))
        predicted = estimator.predict(X, task=column)
        of_each = [column == name for name in np.unique(column)]
        return float(np.mean([self.metric(y[own], predicted[own]) for own in of_each]))
