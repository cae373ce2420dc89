"""Splitting validation data off, by group."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit

from eegfound.base import SpecError


def validation_split(
    y: np.ndarray, groups: Any, *, fraction: float, seed: int, stratify: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of training and validation epochs.

    Parameters
    ----------
    y : ndarray, shape (n_epochs,)
        Class indices or targets.
    groups : array-like, shape (n_epochs,) | None
        Subject (or recording) of each epoch. No group stands on both sides.
    fraction : float
        Share of groups (of epochs without groups) for validation.
    seed : int
        Seed of the draw.
    stratify : bool
        Look for a split whose two sides have all classes.

    Returns
    -------
    train, valid : ndarray of int
        Disjoint indices.

    Raises
    ------
    SpecError
        If the data cannot be split so.
    """
    if not 0 < fraction < 1:
        raise SpecError(f"validation_fraction={fraction!r} must lie between 0 and 1.")
    if groups is None:
        warnings.warn(
            "early_stopping without groups: the validation split cuts through subjects, so its "
            "score is optimistic. Pass groups= to fit.",
            UserWarning,
            stacklevel=4,
        )
        return _ungrouped(y, fraction, seed, stratify)
    groups = np.asarray(groups)
    if len(groups) != len(y):
        raise SpecError(f"groups has {len(groups)} entries for {len(y)} epochs.")
    if len(np.unique(groups)) < 2:
        raise SpecError(
            "early_stopping needs at least two groups to hold one out; groups names "
            f"{len(np.unique(groups))}. Pass groups of several subjects or early_stopping=False."
        )
    splits = list(GroupShuffleSplit(20, test_size=fraction, random_state=seed).split(y, y, groups))
    if not stratify:
        return splits[0]
    classes = set(np.unique(y))

    def mixed(split: tuple[np.ndarray, np.ndarray]) -> tuple[bool, bool]:
        return set(y[split[0]]) == classes, set(y[split[1]]) == classes

    best = max(splits, key=mixed)  # max keeps the first of equals: deterministic
    if not mixed(best)[0]:
        raise SpecError(
            "No grouped split leaves every class in the training part: a class has one group "
            "only. Use early_stopping=False or a smaller validation_fraction."
        )
    return best


def _ungrouped(
    y: np.ndarray, fraction: float, seed: int, stratify: bool
) -> tuple[np.ndarray, np.ndarray]:
    counts = np.unique(y, return_counts=True)[1] if stratify else np.array([0])
    enough = counts.min() >= 2 and len(y) * fraction >= len(counts)
    split: Any = StratifiedShuffleSplit if stratify and enough else ShuffleSplit
    if len(y) < 2:
        raise SpecError("early_stopping needs at least two epochs; pass early_stopping=False.")
    return next(split(1, test_size=fraction, random_state=seed).split(y, y))
