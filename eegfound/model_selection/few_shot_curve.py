"""Learning curves over the labelled epochs of a new person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from eegfound.base import SpecError
from eegfound.benchmark.routing import fit_params
from eegfound.model_selection.few_shot import FewShotSplit


def few_shot_curve(
    estimators: Mapping[str, Any],
    X: Any,
    y: Any,
    groups: Any,
    *,
    n_shots: Sequence[int] = (0, 1, 2, 5),
    scoring: Any = "balanced_accuracy",
    n_repeats: int = 1,
    order: str = "random",
    others: bool = True,
    shot_weight: float | None = None,
    random_state: Any = 0,
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Score estimators with a growing number of labelled epochs of a new subject.

    Every subject is the new one in turn. All points of a subject and repeat,
    for every estimator, are scored on the same epochs (see
    :class:`FewShotSplit`; ``max(n_shots)`` epochs per class are reserved).

    Parameters
    ----------
    estimators : mapping of str to classifier
        Pipelines to compare, baselines among them. Each fit uses a clone.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Windows, or any features with one row per epoch.
    y : array-like, shape (n_epochs,)
        Labels.
    groups : array-like, shape (n_epochs,)
        Subject of each epoch. Handed to the estimators that take ``groups``
        in ``fit``, too.
    n_shots : sequence of int
        Points of the curve: epochs per class of the new subject.
    scoring : str | callable
        A scorer of scikit-learn.
    n_repeats, order, others, random_state
        As in :class:`FewShotSplit`.
    shot_weight : float | None
        Weight of a shot where an epoch of another subject has weight 1,
        handed to the last step as ``sample_weight``. None: no weights.
    n_jobs : int | None
        Processes.

    Returns
    -------
    DataFrame
        One row per estimator, number of shots, subject and repeat:
        ``estimator, n_shots, subject, repeat, n_train, n_test, score``.
        :func:`summarize_curve` makes the table to look at.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from eegfound.model_selection import few_shot_curve, summarize_curve
    >>> rng = np.random.default_rng(0)
    >>> y, groups = np.tile([0, 1], 30), np.repeat(["s1", "s2", "s3"], 20)
    >>> X = rng.standard_normal((60, 2)) + y[:, np.newaxis]
    >>> curve = few_shot_curve(
    ...     {"LR": LogisticRegression(), "guess": DummyClassifier()}, X, y, groups, n_shots=(0, 4)
    ... )
    >>> curve.shape
    (12, 7)
    >>> summarize_curve(curve)[["estimator", "n_shots", "n_subjects"]].values.tolist()
    [['LR', 0, 3], ['LR', 4, 3], ['guess', 0, 3], ['guess', 4, 3]]
    """
    points = sorted(set(n_shots))
    if not points or not estimators:
        raise SpecError("few_shot_curve needs at least one estimator and one entry of n_shots.")
    if shot_weight is not None and not shot_weight > 0:
        raise SpecError(f"shot_weight={shot_weight!r} must be positive, or None.")
    X = X if hasattr(X, "shape") or hasattr(X, "events") else np.asarray(X)
    y, groups = np.asarray(y), np.asarray(groups)
    # One draw for all points: their test epochs must be the same.
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    jobs = []
    for k in points:
        splitter = FewShotSplit(
            k, n_repeats=n_repeats, order=order, others=others, reserve=points[-1],
            random_state=seed,
        )  # fmt: skip
        for subject, repeat, train, test in splitter.rounds(X, y, groups):
            jobs += [(name, k, subject, repeat, train, test) for name in estimators]
    scores = Parallel(n_jobs=n_jobs)(
        delayed(_score)(
            clone(estimators[name]), X, y, groups, train, test, groups[train] == subject,
            shot_weight, scoring,
        )
        for name, _, subject, _, train, test in jobs
    )  # fmt: skip
    rows = [
        (name, k, subject, repeat, len(train), len(test), score)
        for (name, k, subject, repeat, train, test), score in zip(jobs, scores)
    ]
    columns = ["estimator", "n_shots", "subject", "repeat", "n_train", "n_test", "score"]
    return pd.DataFrame(rows, columns=columns)


def summarize_curve(curve: pd.DataFrame) -> pd.DataFrame:
    """Return mean and spreads of each point of a few-shot curve.

    Parameters
    ----------
    curve : DataFrame
        From :func:`few_shot_curve`.

    Returns
    -------
    DataFrame
        One row per estimator and number of shots: ``mean`` over subjects (of
        their means over repeats), ``sd_subjects``, the spread of these means,
        ``sd_repeats``, the spread over repeats within a subject (averaged; NaN
        for one repeat), ``n_subjects``.
    """
    keys = ["estimator", "n_shots"]
    people = curve.groupby([*keys, "subject"], sort=False)["score"].agg(["mean", "std"])
    found = people.groupby(keys, sort=False)
    table = pd.DataFrame(
        {
            "mean": found["mean"].mean(),
            "sd_subjects": found["mean"].std(ddof=1),
            "sd_repeats": found["std"].mean(),
            "n_subjects": found["mean"].size(),
        }
    ).reset_index()
    order = {name: place for place, name in enumerate(curve["estimator"].unique())}
    return table.sort_values(
        keys, key=lambda c: c.map(order) if c.name == "estimator" else c, ignore_index=True
    )


def _score(
    estimator: Any, X: Any, y: np.ndarray, groups: np.ndarray, train: np.ndarray,
    test: np.ndarray, is_shot: np.ndarray, shot_weight: float | None, scoring: Any,
) -> float:  # fmt: skip
    weight = None if shot_weight is None else np.where(is_shot, float(shot_weight), 1.0)
    params = fit_params(estimator, groups[train], weight)
    estimator.fit(X[train], y[train], **params)
    return float(check_scoring(estimator, scoring)(estimator, X[test], y[test]))
