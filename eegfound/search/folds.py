"""Fitting and scoring the folds of a trial, and what is kept of each."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils.parallel import Parallel, delayed

from eegfound.search.pruning import Judge, judged_by
from eegfound.search.slices import cut_once

Record = dict[str, Any]
_FOLDS = "eegfound:folds"


def _plain(scores: Any) -> dict[str, float]:
    """Return scores by name; a single one is called "score"."""
    named = scores if isinstance(scores, Mapping) else {"score": scores}
    return {str(name): float(value) for name, value in named.items()}


def as_record(result: Mapping[str, Any]) -> Record:
    """Return what a study keeps of scikit-learn's result of a fold."""
    record: Record = {
        "fit_time": float(result["fit_time"]),
        "score_time": float(result["score_time"]),
        "test": _plain(result["test_scores"]),
        "several": isinstance(result["test_scores"], Mapping),
        "error": result.get("fit_error"),
    }
    if "train_scores" in result:
        record["train"] = _plain(result["train_scores"])
    return record


def _only_predicts(scoring: Any) -> bool:
    """Say whether scoring surely hands X to the estimator alone; a function may write into it."""
    if isinstance(scoring, Mapping):
        return all(map(_only_predicts, scoring.values()))
    if isinstance(scoring, list | tuple | set):
        return all(isinstance(name, str) for name in scoring)
    return scoring is None or isinstance(scoring, str | _BaseScorer)


class FoldRunner:
    """Fits and scores candidates on the folds of one search.

    Parameters
    ----------
    search : OptunaSearchCV
        The search; its ``estimator``, ``n_jobs``, ``error_score`` count.
    X, y : array-like
        Data.
    splits : list of (train, test)
        The folds, the same for all candidates.
    scorers : object
        scikit-learn's.
    routed : Bunch
        Fit and score parameters, as routed.
    """

    def __init__(
        self, search: Any, X: Any, y: Any, splits: Sequence[Any], scorers: Any, routed: Any
    ) -> None:
        self.search, self.X, self.y, self.splits = search, X, y, splits
        self.base = clone(search.estimator)
        self._cut = X
        if _only_predicts(search.scoring):
            self._cut = cut_once(X, splits, search.estimator, effective_n_jobs(search.n_jobs))
        self.parallel = Parallel(n_jobs=search.n_jobs, pre_dispatch=search.pre_dispatch)
        self.options = {
            "scorer": scorers,
            "fit_params": routed.estimator.fit,
            "score_params": routed.scorer.score,
            "return_train_score": search.return_train_score,
            "return_times": True,
            "error_score": search.error_score,
            "verbose": search.verbose,
        }
        self.context: Any = None  # of scikit-learn's callbacks
        self._tasks = 0

    @property
    def n_workers(self) -> int:
        """Folds that run at the same time."""
        return min(effective_n_jobs(self.search.n_jobs), len(self.splits))

    def run(
        self, params: dict[str, Any], folds: Sequence[int], judge: Judge | None
    ) -> list[Record]:
        """Fit and score some folds.

        Parameters
        ----------
        params : dict
            Of the candidate.
        folds : sequence of int
            Which ones.
        judge : Judge | None
            Hears of the epochs of nets. With one, the folds run in this
            thread, since worker processes cannot report.

        Returns
        -------
        list of dict
            One record per fold.
        """
        calls = [self._call(params, fold) for fold in folds]
        if judge is None:
            return [as_record(r) for r in self.parallel(delayed(f)(*a, **k) for f, a, k in calls)]
        with judged_by(judge), _watched(self.search.monitor):
            return [as_record(f(*a, **k)) for f, a, k in calls]

    def _call(self, params: dict[str, Any], fold: int) -> tuple[Any, tuple[Any, ...], Any]:
        train, test = self.splits[fold]
        options = dict(self.options)
        if self.context is not None:
            options["caller"] = self.search
            options["callback_ctx"] = self.context.subcontext(
                task_name="candidate-split-evaluation", task_id=self._tasks
            )
            self._tasks += 1
        options |= {
            "train": train, "test": test, "parameters": params,
            "split_progress": (fold, len(self.splits)),
        }  # fmt: skip
        # A candidate may bring another first step, which may write into what it gets.
        names = [name for name, _ in getattr(self.base, "steps", [])[:1]]
        X = self.X if {"steps", *names} & set(params) else self._cut
        return _fit_and_score, (clone(self.base), X, self.y), options


def _watched(monitor: str | None) -> Any:
    """Add :class:`ReportEpochs` to nets trained in the block."""
    # Whoever has no net of ours has not imported them; nor should we.
    if monitor is None or "eegfound.estimators" not in sys.modules:
        return nullcontext()
    from eegfound.estimators._observers import watching
    from eegfound.search.epochs import ReportEpochs

    return watching(ReportEpochs(monitor))


@contextmanager
def task(context: Any, search: Any, name: str, **options: Any) -> Iterator[Any]:
    """Announce a part of the search to scikit-learn's callbacks, where it has them."""
    if context is None:
        yield None
        return
    own = context.subcontext(task_name=name, **options).call_on_fit_task_begin(estimator=search)
    yield own
    own.call_on_fit_task_end(estimator=search)


def keep(trial: Any, records: Sequence[Record]) -> None:
    """Write the records of the folds so far into the study."""
    trial.set_user_attr(_FOLDS, list(records))


def records_of(trial: Any, n_splits: int) -> list[Record | None]:
    """Return the records of a finished trial; None where a fold did not run."""
    kept = trial.user_attrs.get(_FOLDS, [])
    return [*kept, *[None] * (n_splits - len(kept))]


def score_names(records: Sequence[Record | None]) -> tuple[list[str], bool]:
    """Return the names of the scores, and whether there are several scores.

    A callable ``scoring`` tells its names only where a fit succeeded.
    """
    known = [r for r in records if r is not None]
    for record in sorted(known, key=lambda r: r["error"] is not None):
        return list(record["test"]), bool(record["several"])
    return ["score"], False


def mean_score(records: Sequence[Record], name: str, error_score: Any) -> float:
    """Return the mean of a score over folds; failed ones count as ``error_score``."""
    other = math.nan if error_score == "raise" else float(error_score)
    return float(np.mean([record["test"].get(name, other) for record in records]))


def as_sklearn(record: Record | None, names: Sequence[str], several: bool, error: float) -> Record:
    """Return a record the way scikit-learn's ``_format_results`` reads it."""

    def scores(part: str) -> Any:
        # Trials of a search without training scores have none.
        if record is None or (part not in record and record["error"] is None):
            found = dict.fromkeys(names, math.nan)
        else:
            found = {name: record.get(part, {}).get(name, error) for name in names}
        return found if several else found[names[0]]

    return {
        "fit_time": math.nan if record is None else record["fit_time"],
        "score_time": math.nan if record is None else record["score_time"],
        "test_scores": scores("test"),
        "train_scores": scores("train"),
        "fit_error": None if record is None else record["error"],
    }
