"""What a training is given: windows, targets, weights, and which are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from eegfound.estimators._nets import WeightedData


@dataclass(frozen=True)
class TrainingSet:
    """What ``fit`` was given, checked.

    Attributes
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        The user's windows.
    presence : ndarray of bool, shape (n_epochs, n_used)
        Which used channels are recorded.
    y : ndarray, shape (n_epochs,) or (n_epochs, n_outputs)
        Class indices or standardized targets.
    weight : ndarray, shape (n_epochs,)
        Weight of each epoch.
    split : tuple of ndarray | None
        Indices for training and for early stopping.
    n_outputs : int
        Scores per epoch.
    """

    X: np.ndarray
    presence: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    split: tuple[np.ndarray, np.ndarray] | None
    n_outputs: int


def distinct(data: WeightedData) -> tuple[np.ndarray, np.ndarray]:
    """Merge epochs that are the same, in an order that does not depend on theirs.

    Training in steps then knows the weighted set of epochs only: repeating an
    epoch and doubling its weight are the same.

    Returns
    -------
    index : ndarray of int
        One of each.
    weight : ndarray
        Their weights, summed.
    """
    digests = [hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16) for x in data.X]
    keys = [(d.digest(), *np.atleast_1d(y).tolist()) for d, y in zip(digests, data.y)]
    first: dict[Any, int] = {}
    total: dict[Any, float] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
        total[key] = total.get(key, 0.0) + float(data.weight[place])
    order = sorted(first)
    return np.array([first[key] for key in order]), np.array([total[key] for key in order])
