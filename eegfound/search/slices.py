"""Folds that are cut out of the data once, not once per candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eegfound.cache.memory import seal

#: Most bytes of folds that are kept.
MOST_BYTES = 2**30


class CutOnce(np.ndarray):
    """An array that remembers what was cut out of it, by the indices' identity.

    scikit-learn cuts both sides of a fold anew for every candidate, which costs more
    than a frozen encoder does whose embeddings are known. What is remembered is
    read-only: it is the next candidate's too.
    """

    _known: dict[int, tuple[Any, np.ndarray]]

    @classmethod
    def of(cls, X: np.ndarray, indices: Sequence[np.ndarray]) -> CutOnce:
        """Return a view of ``X`` that remembers these, as soon as they are asked for.

        Parameters
        ----------
        X : ndarray
            Data.
        indices : sequence of ndarray
            Sides of folds. They must not be changed.
        """
        made = X.view(cls)
        made._known = {id(each): (each, np.empty(0)) for each in indices}
        return made

    def __array_finalize__(self, parent: Any) -> None:
        self._known = {}

    def __getitem__(self, key: Any) -> Any:
        whole = isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis
        chosen = key[0] if whole else key
        plain = self.view(np.ndarray)
        if id(chosen) not in self._known:
            return plain[key]
        _, part = self._known[id(chosen)]
        if not part.size:
            part = plain[key]
            seal(part)
            self._known[id(chosen)] = (chosen, part)
        return part


def cut_once(X: Any, splits: Sequence[tuple[Any, Any]], estimator: Any, n_jobs: int) -> Any:
    """Let folds be cut once, where that is safe and worth it.

    Parameters
    ----------
    X : array-like
        Data.
    splits : sequence of (train, test)
        Indices of each fold.
    estimator : estimator
        What is searched. Only an encoder of the suite is known to leave its input
        as it is; others may write into it.
    n_jobs : int
        More than one process gets copies anyhow.

    Returns
    -------
    array-like
        ``X``, or a :class:`CutOnce` of it.
    """
    sides = [side for split in splits for side in split]
    if (
        type(X) is not np.ndarray
        or n_jobs != 1
        or not all(isinstance(side, np.ndarray) for side in sides)
        or X.nbytes / max(len(X), 1) * sum(map(len, sides)) > MOST_BYTES
        or not _only_reads(estimator)
    ):
        return X
    return CutOnce.of(X, sides)


def _only_reads(estimator: Any) -> bool:
    """Say whether the first thing that sees the data is an encoder of the suite."""
    steps = getattr(estimator, "steps", None)
    first = steps[0][1] if steps else estimator
    return any(base.__name__ == "FoundationTransformer" for base in type(first).__mro__)
