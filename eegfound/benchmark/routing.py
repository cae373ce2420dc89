"""Handing the subject of each epoch to the estimators that ask for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from eegfound.base import SpecError


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
    return estimator.fit(X, y, **fit_params(estimator, groups))


def fit_params(
    estimator: Any, groups: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the keyword arguments of ``fit`` that bring groups and weights where they belong.

    Parameters
    ----------
    estimator : estimator
        Classifier or Pipeline.
    groups : ndarray, shape (n_epochs,)
        Subject of each training epoch.
    weight : ndarray, shape (n_epochs,) | None
        Weight of each training epoch, for the last step.

    Returns
    -------
    dict
        Routed by scikit-learn where metadata routing is on, else named by step.

    Raises
    ------
    SpecError
        If nothing takes the weights.
    """
    if get_config()["enable_metadata_routing"]:
        given = {"groups": groups} | ({} if weight is None else {"sample_weight": weight})
        taken = get_routing_for_object(estimator).consumes("fit", given)
        if weight is not None and "sample_weight" not in taken:
            raise SpecError(
                f"No step of {type(estimator).__name__} requests sample_weight: call "
                "set_fit_request(sample_weight=True) on the one that takes the weights."
            )
        return {name: given[name] for name in taken}
    steps = estimator.steps if isinstance(estimator, Pipeline) else [("", estimator)]
    prefix = {name: f"{name}__" if name else "" for name, _ in steps}
    params: dict[str, Any] = {
        f"{prefix[name]}groups": groups
        for name, step in steps
        if not isinstance(step, str) and accepts_groups(step, "fit")
    }
    if weight is not None:
        name, last = steps[-1]
        if isinstance(last, str) or not has_fit_parameter(last, "sample_weight"):
            raise SpecError(
                f"{type(last).__name__}.fit takes no sample_weight: use no weights, or another "
                "classifier."
            )
        params[f"{prefix[name]}sample_weight"] = weight
    return params


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
