"""Splits with a few labelled epochs of the person who is tested."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from eegfound.base import SpecError

ORDERS = ("random", "first")


class FewShotSplit(BaseCrossValidator):
    """Test on each subject, with ``n_shots`` epochs per class of it in training.

    For every subject and repeat, ``reserve`` epochs per class are set aside;
    the first ``n_shots`` of them join the training part, and the test part is
    what was not set aside. With the same ``reserve`` and ``random_state`` the
    test epochs are therefore the same for every ``n_shots``, and the shots of a
    smaller number are among those of a larger one: points of a learning curve
    can be compared.

    Parameters
    ----------
    n_shots : int
        Labelled epochs per class of the tested subject; 0 is zero-shot.
    n_repeats : int
        Draws of the shots per subject (``order="random"``).
    order : {"random", "first"}
        Which epochs are set aside: drawn at random, or the first of each class
        in the order of the rows, as in the calibration run of a session. Rows
        of a subject must then be in order of time.
    others : bool
        Train on all epochs of the other subjects as well; False trains on the
        shots only.
    reserve : int | None
        Epochs per class that are never tested. None: ``n_shots``.
    random_state : int | RandomState | None
        Seed of the draws. An int makes every call of :meth:`split` the same.

    Notes
    -----
    Windows of one recording that overlap, or stand next to each other, are
    alike. Shots drawn at random lie between the test epochs and profit from
    that; ``order="first"`` is what a user of an interface gets.

    Test parts of different repeats overlap, and reserved epochs are never
    tested, so that ``cross_val_predict`` cannot use this splitter.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.model_selection import FewShotSplit
    >>> y, groups = np.tile(["left", "right"], 6), np.repeat(["s1", "s2"], 6)
    >>> splitter = FewShotSplit(n_shots=1, order="first")
    >>> for train, test in splitter.split(y, y, groups):
    ...     print(train, test)
    [ 0  1  6  7  8  9 10 11] [2 3 4 5]
    [0 1 2 3 4 5 6 7] [ 8  9 10 11]
    """

    # As scikit-learn's splitters by group: with metadata routing, ask for groups.
    __metadata_request__split = {"groups": True}  # noqa: RUF012

    def __init__(
        self,
        n_shots: int = 5,
        *,
        n_repeats: int = 1,
        order: str = "random",
        others: bool = True,
        reserve: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_shots = n_shots
        self.n_repeats = n_repeats
        self.order = order
        self.others = others
        self.reserve = reserve
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield indices of training and test epochs.

        Parameters
        ----------
        X : array-like, shape (n_epochs, ...) | mne.Epochs
            Only its length counts.
        y : array-like, shape (n_epochs,)
            Labels.
        groups : array-like, shape (n_epochs,)
            Subject of each epoch.

        Yields
        ------
        train, test : ndarray of int
            Ordered by subject, then repeat; each ascending.

        Raises
        ------
        SpecError
            If a subject has too few epochs of a class, or a parameter is not
            what it may be.
        """
        for _, _, train, test in self.rounds(X, y, groups):
            yield train, test

    def rounds(
        self, X: Any, y: Any, groups: Any
    ) -> Iterator[tuple[Any, int, np.ndarray, np.ndarray]]:
        """Yield subject, repeat, training and test indices.

        Parameters
        ----------
        X, y, groups
            As in :meth:`split`.

        Yields
        ------
        subject : Any
            Entry of ``groups`` that is tested.
        repeat : int
            Number of the draw.
        train, test : ndarray of int
            Indices.
        """
        reserve = self._check()
        y, groups = _labels(X, y, groups)
        subjects, classes = np.unique(groups), np.unique(y)
        if self.others and len(subjects) < 2:
            raise SpecError(
                f"groups names one subject, {subjects[0]!r}: there are no others to train on. "
                "Use others=False."
            )
        members = {
            subject: [np.flatnonzero((groups == subject) & (y == c)) for c in classes]
            for subject in subjects
        }
        for subject, rows in members.items():
            self._check_subject(subject, classes, rows, reserve)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        for place, (subject, rows) in enumerate(members.items()):
            away = np.flatnonzero(groups != subject) if self.others else np.empty(0, np.intp)
            for repeat in range(self.n_repeats):
                rng = np.random.default_rng([seed, place, repeat])
                ordered = rows if self.order == "first" else [rng.permutation(r) for r in rows]
                shots = np.concatenate([r[: self.n_shots] for r in ordered])
                test = np.concatenate([r[reserve:] for r in ordered])
                yield subject, repeat, np.sort(np.concatenate([away, shots])), np.sort(test)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of subjects times ``n_repeats``.

        Parameters
        ----------
        X, y : None
            Ignored.
        groups : array-like, shape (n_epochs,)
            Subject of each epoch.
        """
        if groups is None:
            raise SpecError("FewShotSplit needs groups= (subject of each epoch).")
        return len(np.unique(groups)) * self.n_repeats

    def _check(self) -> int:
        if not isinstance(self.n_shots, Integral) or self.n_shots < 0:
            raise SpecError(f"n_shots={self.n_shots!r} must be a whole number from 0.")
        if not isinstance(self.n_repeats, Integral) or self.n_repeats < 1:
            raise SpecError(f"n_repeats={self.n_repeats!r} must be a positive whole number.")
        if self.order not in ORDERS:
            raise SpecError(f"order={self.order!r} is not one of {ORDERS}.")
        if self.order == "first" and self.n_repeats > 1:
            raise SpecError(
                f"n_repeats={self.n_repeats} with order='first' would repeat the same split: use "
                "n_repeats=1, or order='random'."
            )
        if not self.others and self.n_shots == 0:
            raise SpecError("n_shots=0 with others=False leaves nothing to train on.")
        reserve = self.n_shots if self.reserve is None else self.reserve
        if not isinstance(reserve, Integral) or reserve < self.n_shots:
            raise SpecError(
                f"reserve={self.reserve!r} must be a whole number not below n_shots={self.n_shots}."
            )
        return int(reserve)

    def _check_subject(
        self, subject: Any, classes: np.ndarray, rows: list[np.ndarray], reserve: int
    ) -> None:
        if reserve == 0:
            return  # zero-shot: whatever classes there are can be tested
        for label, found in zip(classes, rows):
            if len(found) <= reserve:
                name = "n_shots" if self.reserve is None else "reserve"
                raise SpecError(
                    f"Subject {subject!s} has {len(found)} epoch(s) of class {label!s}: "
                    f"{name}={reserve} leaves none of it to test. Lower {name}, or leave the "
                    "subject out."
                )


def _labels(X: Any, y: Any, groups: Any) -> tuple[np.ndarray, np.ndarray]:
    if y is None or groups is None:
        missing = "y" if y is None else "groups= (subject of each epoch)"
        raise SpecError(f"FewShotSplit needs {missing}.")
    y, groups = np.asarray(y), np.asarray(groups)
    if type_of_target(y) not in ("binary", "multiclass"):
        raise SpecError(
            f"FewShotSplit counts shots per class, but y is {type_of_target(y)}: it is for "
            "classification."
        )
    n_epochs = len(X) if hasattr(X, "__len__") else X.shape[0]
    for name, values in (("y", y), ("groups", groups)):
        if values.shape != (n_epochs,):
            raise SpecError(f"{name} has shape {values.shape} for {n_epochs} epochs.")
    return y, groups
