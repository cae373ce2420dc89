"""Splits that keep every subject on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from eegfound.base import SpecError


@dataclass(frozen=True)
class Fold:
    """One split into training and test epochs.

    Attributes
    ----------
    seed, index : int
        Seed of the split, and the fold's number in it.
    train, test : ndarray of int
        Indices of epochs.
    """

    seed: int
    index: int
    train: np.ndarray
    test: np.ndarray

    def digest(self) -> str:
        """Return a digest of the indices."""
        both = np.concatenate([[len(self.train)], self.train, self.test])
        return hashlib.sha256(both.astype("<i8").tobytes()).hexdigest()[:16]


def subject_folds(
    y: np.ndarray, groups: np.ndarray, cv: Any = "subject", seeds: Sequence[int] = (0,)
) -> list[Fold]:
    """Split epochs so that no subject is in training and test.

    Parameters
    ----------
    y : ndarray, shape (n_epochs,)
        Labels.
    groups : ndarray, shape (n_epochs,)
        Subject of each epoch.
    cv : {"subject", "loso"} | int | splitter | iterable of (train, test)
        ``"subject"``: five folds of subjects (fewer if there are fewer), drawn
        anew with each seed. An int is their number. ``"loso"`` leaves one
        subject out. A splitter of scikit-learn or ready index arrays are
        taken as they are.
    seeds : sequence of int
        One set of folds per seed.

    Returns
    -------
    list of Fold
        Ordered by seed and fold.

    Raises
    ------
    SpecError
        If a split puts a subject on both sides, or there are too few subjects.
    """
    subjects = np.unique(groups)
    if len(subjects) < 2:
        raise SpecError(
            f"groups names {len(subjects)} subject: a comparison across subjects needs two or more."
        )
    folds: list[Fold] = []
    for seed in seeds:
        for index, (train, test) in enumerate(_pairs(y, groups, cv, int(seed), len(subjects))):
            fold = Fold(int(seed), index, np.asarray(train), np.asarray(test))
            _check(fold, groups)
            folds.append(fold)
    if not folds:
        raise SpecError(f"cv={cv!r} made no split.")
    return folds


def _pairs(
    y: np.ndarray, groups: np.ndarray, cv: Any, seed: int, n_subjects: int
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    if isinstance(cv, str) and cv == "loso":
        cv = LeaveOneGroupOut()
    elif isinstance(cv, str) and cv == "subject":
        cv = GroupKFold(min(5, n_subjects), shuffle=True, random_state=seed)
    elif isinstance(cv, int | np.integer):
        if not 2 <= cv <= n_subjects:
            raise SpecError(f"cv={cv} folds cannot be made of {n_subjects} subjects.")
        cv = GroupKFold(int(cv), shuffle=True, random_state=seed)
    elif isinstance(cv, str):
        raise SpecError(
            f"cv={cv!r} must be 'subject', 'loso', a number of folds, or a splitter of "
            "scikit-learn that takes groups."
        )
    return cv.split(np.zeros(len(y)), y, groups) if hasattr(cv, "split") else list(cv)


def _check(fold: Fold, groups: np.ndarray) -> None:
    both = np.intersect1d(groups[fold.train], groups[fold.test])
    if len(both):
        raise SpecError(
            f"Fold {fold.index} has subject(s) {both[:5].tolist()} in training and in test: scores "
            "would measure how well people are recognised. Use cv='subject', or a splitter that "
            "keeps groups together."
        )
    if not len(fold.train) or not len(fold.test):
        raise SpecError(f"Fold {fold.index} has an empty training or test part.")
