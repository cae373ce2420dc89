"""What makes two runs of a fold the same run."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import platform
from collections.abc import Callable, Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone

_PACKAGES = ("eegfound", "numpy", "scipy", "scikit-learn", "pyriemann", "mne", "torch", "skorch")


def seeded(estimator: Any, seed: int) -> Any:
    """Return a clone in which every ``random_state`` is ``seed``."""
    copy = clone(estimator)
    names = [
        name
        for name in copy.get_params(deep=True)
        if name == "random_state" or name.endswith("__random_state")
    ]
    return copy.set_params(**dict.fromkeys(names, seed))


def describe(
    value: Any, name: str = "", leave_out: Callable[[Any], Collection[str]] = lambda _: ()
) -> Any:
    """Return an estimator (or parameter) as plain data that JSON can hold.

    Parameters
    ----------
    value : object
        Estimator, parameter, or container of these.
    name : str
        Name of the parameter; the file behind ``checkpoint`` is part of what
        it is.
    leave_out : callable
        Given an estimator, returns the names of parameters that do not count.

    Returns
    -------
    object
        Nested dicts, lists and scalars; arrays and other objects as digests.
    """
    if isinstance(value, BaseEstimator) and not isinstance(value, type):
        params, left_out = value.get_params(deep=False), leave_out(value)
        return {
            "class": f"{type(value).__module__}.{type(value).__qualname__}",
            "params": {
                key: describe(param, key, leave_out)
                for key, param in sorted(params.items())
                if key not in left_out
            },
        }
    if name == "checkpoint" and isinstance(value, str | Path) and Path(value).is_file():
        from eegfound.models.files import sha256_of

        return f"{value} sha256:{sha256_of(value)[:16]}"
    if isinstance(value, str | bool | int | float | type(None)):
        return value
    if isinstance(value, list | tuple):
        return [describe(item, "", leave_out) for item in value]
    if isinstance(value, dict):
        return {str(key): describe(item, str(key), leave_out) for key, item in value.items()}
    if isinstance(value, FunctionType | MethodType | functools.partial):
        from eegfound.benchmark.functions import describe_function

        return describe_function(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return f"{type(value).__qualname__} {joblib.hash(value)}"
    except (pickle.PicklingError, AttributeError, TypeError):
        # It holds a function without a name, as callbacks of nets do: each attribute for itself.
        held = getattr(value, "__dict__", None)
        if not held:
            raise
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"object": kind, "holds": describe(held, "", leave_out)}


def digest(*parts: Any) -> str:
    """Return a digest of plain data."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def data_digest(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> str:
    """Return a digest of the data of a benchmark."""
    return digest(*(joblib.hash(np.ascontiguousarray(part)) for part in (X, y, groups)))


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on.

    Returns
    -------
    dict of str to str
        Python, the libraries below the suite, and the plugins.
    """
    from eegfound.models import registry

    found = {"python": platform.python_version()}
    plugins = sorted({r.distribution for r in registry.records() if r.distribution})
    for package in (*_PACKAGES, *plugins):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
