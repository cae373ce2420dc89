"""Handing the subject of each epoch to the estimators that ask for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline


def accepts_groups(estimator: Any, method: str) -> bool:
    """Say whether a method has a parameter called ``groups``."""
    function = getattr(estimator, method, None)
    if function is None:
        return False
    # A search splits by groups, although its signature only says **params.
    if method == "fit" and isinstance(estimator, BaseSearchCV):
        return True
    return "groups" in inspect.signature(function).parameters


def fit(estimator: Any, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Any:
    """Fit an estimator, with groups where its steps take them.

    Parameters
    ----------
    estimator : estimator
        Classifier or Pipeline.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Training epochs.
    y : ndarray, shape (n_epochs,)
        Labels.
    groups : ndarray, shape (n_epochs,)
        Subjects.

    Returns
    -------
    estimator
        The fitted estimator.
    """
    if isinstance(estimator, Pipeline):
        params = {
            f"{name}__groups": groups
            for name, step in estimator.steps
            if not isinstance(step, str) and accepts_groups(step, "fit")
        }
    else:
        params = {"groups": groups} if accepts_groups(estimator, "fit") else {}
    return estimator.fit(X, y, **params)


def respond(estimator: Any, method: str, X: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Call ``predict`` (or another method) with groups where it takes them.

    Parameters
    ----------
    estimator : estimator
        Fitted classifier or Pipeline.
    method : str
        ``"predict"``, ``"decision_function"`` or ``"predict_proba"``.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Test epochs.
    groups : ndarray, shape (n_epochs,)
        Subjects.

    Returns
    -------
    ndarray
        What the method returned.
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    params = {"groups": groups} if accepts_groups(last, method) else {}
    return getattr(estimator, method)(X, **params)


def nested(estimator: Any) -> Iterator[BaseEstimator]:
    """Yield an estimator and all estimators among its parameters."""
    yield estimator
    for value in estimator.get_params(deep=True).values():
        if isinstance(value, BaseEstimator) and not isinstance(value, type):
            yield value


def is_transductive(estimator: Any) -> bool:
    """Say whether an estimator looks at the test epochs of a subject together.

    That is so when a step declares ``is_transductive``, or takes ``groups``
    while predicting.
    """
    return any(
        getattr(step, "is_transductive", False) or accepts_groups(step, "predict")
        for step in nested(estimator)
    )
