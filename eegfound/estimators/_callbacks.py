"""The skorch callbacks that a user gives."""

from __future__ import annotations

import copy
from typing import Any

from sklearn.metrics._scorer import _BaseScorer
from skorch.callbacks import EpochScoring
from skorch.callbacks.scoring import convert_sklearn_metric_function

from eegfound.base import SpecError


def copies_of(callbacks: Any) -> list[Any]:
    """Return copies of the user's callbacks.

    Parameters
    ----------
    callbacks : list of callback | None
        As skorch takes them: objects, classes, or names with these.

    Raises
    ------
    SpecError
        If it is no list, or one of them could not work here.
    """
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise SpecError(f"callbacks={callbacks!r} must be a list of skorch callbacks.")
    for given in callbacks:
        callback = given[-1] if isinstance(given, tuple) else given
        if _needs_targets(callback):
            raise SpecError(
                f"EpochScoring({callback.scoring!r}, use_caching=False) would predict a data set "
                "with weights again, for which skorch has no targets: leave use_caching=True, or "
                "score with a function (net, data, y) that reads data.y."
            )
    return copy.deepcopy(list(callbacks))


def _needs_targets(callback: Any) -> bool:
    if not isinstance(callback, EpochScoring) or callback.use_caching:
        return False
    scoring = convert_sklearn_metric_function(callback.scoring)
    return not callable(scoring) or isinstance(scoring, _BaseScorer)
