"""A whole session of tuning: hold subjects out, search, and test once."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, LeaveOneGroupOut

from eegfound.base import SpecError
from eegfound.benchmark.identity import seeded
from eegfound.benchmark.routing import accepts_groups, nested
from eegfound.search.optuna_search import OptunaSearchCV

OPTIMISTIC = (
    "The score of the best trial is the best of many on the same folds, and so too good. "
    "What counts is the score on subjects that the search has not seen."
)


@dataclass(frozen=True)
class Outcome:
    """What a session found.

    Attributes
    ----------
    best_params : dict
        Parameters of the best trial.
    search_score : float
        Its mean score over the folds: optimistic.
    n_trials, n_pruned, n_failed : int
        Trials of the study, and what became of them.
    held_out_subjects : list of str
        Subjects the search has not seen; empty if none were held out.
    scores : dict of str to float
        Scores on those subjects: ``"tuned"``, and pipelines that were not
        tuned, fitted to the same data.
    """

    best_params: dict[str, Any]
    search_score: float
    n_trials: int
    n_pruned: int
    n_failed: int
    held_out_subjects: list[str]
    scores: dict[str, float]


def split_off(
    y: np.ndarray, groups: np.ndarray, held_out: float | Iterable[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices for the search and for the test.

    Parameters
    ----------
    y : ndarray, shape (n_epochs,)
        Labels.
    groups : ndarray, shape (n_epochs,)
        Subject of each epoch.
    held_out : float | iterable of str
        Share of the subjects, drawn by ``seed``, or their names; 0 for none.
    seed : int
        Seed of the draw.

    Returns
    -------
    search, test : ndarray of int
        Disjoint, whole subjects.

    Raises
    ------
    SpecError
        If a subject is not in the data, or the search is left with fewer than
        two.
    """
    every = np.arange(len(y))
    if not isinstance(held_out, float | int):
        names = [str(name) for name in held_out]
        known = {str(group) for group in np.unique(groups)}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise SpecError(f"Test subjects {unknown} are not in the data: {sorted(known)}.")
        chosen = np.isin(groups.astype(str), names)
        search, test = every[~chosen], every[chosen]
    elif held_out == 0:
        search, test = every, every[:0]
    else:
        if not 0 < held_out < 1:
            raise SpecError(f"held_out={held_out} must lie between 0 and 1 (0: nothing).")
        split = GroupShuffleSplit(1, test_size=held_out, random_state=seed)
        search, test = next(split.split(every, y, groups))
    if len(np.unique(groups[search])) < 2:
        raise SpecError("The search needs at least two subjects; hold fewer out.")
    return search, test


def splitter(cv: str, folds: int, n_subjects: int, seed: int) -> Any:
    """Return the splitter of ``"subject"`` or ``"loso"``."""
    if cv == "loso":
        return LeaveOneGroupOut()
    if cv != "subject":
        raise SpecError(f"cv={cv!r} must be 'subject' or 'loso'.")
    if folds < 2:
        raise SpecError(f"folds={folds} must be at least 2.")
    return GroupKFold(min(folds, n_subjects), shuffle=True, random_state=seed)


def request_groups(estimator: Any) -> Any:
    """Let every step that takes groups in ``fit`` ask for them.

    Parameters
    ----------
    estimator : estimator
        Changed and returned; needs metadata routing to be on.
    """
    for step in nested(estimator):
        if accepts_groups(step, "fit") and hasattr(step, "set_fit_request"):
            step.set_fit_request(groups=True)
    return estimator


def routing_on() -> AbstractContextManager[Any]:
    """Return a context in which groups reach the steps that take them."""
    return config_context(enable_metadata_routing=True)


def run_session(
    estimator: Any,
    space: Any,
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    untuned: Mapping[str, Any],
    held_out: float | Iterable[str] = 0.2,
    cv: str = "subject",
    folds: int = 5,
    scoring: str = "balanced_accuracy",
    seed: int = 0,
    progress: Callable[[Any, Any], Any] | None = None,
    **options: Any,
) -> tuple[Outcome, OptunaSearchCV]:
    """Tune on some subjects and test on the others.

    Parameters
    ----------
    estimator : estimator
        What is tuned.
    space : dict | callable
        Its ``param_distributions``.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Epochs.
    y : ndarray, shape (n_epochs,)
        Labels.
    groups : ndarray, shape (n_epochs,)
        Subject of each epoch.
    untuned : mapping of str to estimator
        Pipelines that are fitted as they are, for comparison.
    held_out : float | iterable of str
        See :func:`split_off`.
    cv, folds : str, int
        ``"subject"`` with so many folds, or ``"loso"``.
    scoring : str
        Name of a score of scikit-learn.
    seed : int
        Seed of splits, search and estimators.
    progress : callable | None
        Called as ``progress(study, trial)`` after each trial.
    **options : object
        Further parameters of :class:`OptunaSearchCV`.

    Returns
    -------
    outcome : Outcome
        Parameters and scores.
    search : OptunaSearchCV
        Fitted; ``best_estimator_`` has seen the subjects of the search only.
    """
    kept, test = split_off(y, groups, held_out, seed)
    inner = splitter(cv, folds, len(np.unique(groups[kept])), seed)
    with routing_on():
        search = OptunaSearchCV(
            request_groups(seeded(estimator, seed)),
            space,
            cv=inner,
            scoring=scoring,
            random_state=seed,
            callbacks=None if progress is None else [progress],
            **options,
        )
        search.fit(X[kept], y[kept], groups=groups[kept])
        scores = {}
        if len(test):
            score = get_scorer(scoring)
            scores["tuned"] = float(score(search.best_estimator_, X[test], y[test]))
            for name, other in untuned.items():
                other = request_groups(seeded(clone(other), seed))
                params = {"groups": groups[kept]} if accepts_groups(other, "fit") else {}
                other.fit(X[kept], y[kept], **params)
                scores[name] = float(score(other, X[test], y[test]))
    states = search.cv_results_["trial_state"].tolist()
    outcome = Outcome(
        best_params={k: _plain(v) for k, v in search.best_params_.items()},
        search_score=float(search.best_score_),
        n_trials=len(states),
        n_pruned=states.count("PRUNED"),
        n_failed=states.count("FAIL"),
        held_out_subjects=sorted({str(g) for g in groups[test]}),
        scores=scores,
    )
    return outcome, search


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | bool | int | float | type(None)) else str(value)


def trials_table(search: OptunaSearchCV) -> pd.DataFrame:
    """Return one row per trial: state, scores, times, parameters as plain values.

    Parameters
    ----------
    search : OptunaSearchCV
        Fitted.

    Returns
    -------
    pandas.DataFrame
        Best first. Parameters that a trial did not have are missing.
    """
    table = {}
    for key, column in search.cv_results_.items():
        if key == "params":
            continue
        if key.startswith("param_"):
            table[key] = [None if v is np.ma.masked else _plain(v) for v in column]
        else:
            table[key] = column
    frame = pd.DataFrame(table)
    for key in frame.select_dtypes(object).columns:
        kinds = {type(v) for v in frame[key] if v is not None}
        if len(kinds) > 1:  # a column of a file has one type
            frame[key] = [None if v is None else str(v) for v in frame[key]]
    return frame.sort_values("mean_test_score", ascending=False, kind="stable", ignore_index=True)


def write_session(folder: Path, outcome: Outcome, search: OptunaSearchCV) -> None:
    """Write ``best.json``, ``trials.parquet``, ``trials.csv`` and ``pipeline.joblib``.

    Parameters
    ----------
    folder : path-like
        Made if needed.
    outcome : Outcome
        See :func:`run_session`.
    search : OptunaSearchCV
        Fitted.
    """
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    best = {"study": search.study_name_, **asdict(outcome), "note": OPTIMISTIC}
    (folder / "best.json").write_text(json.dumps(best, indent=2), encoding="utf-8")
    table = trials_table(search)
    table.to_csv(folder / "trials.csv", index=False)
    table.to_parquet(folder / "trials.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        joblib.dump(search.best_estimator_, folder / "pipeline.joblib")
