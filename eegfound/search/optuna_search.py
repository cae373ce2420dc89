"""Hyper-parameter search with Optuna as a scikit-learn estimator."""

from __future__ import annotations

import copy
import math
import numbers
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_method_params, check_is_fitted

from eegfound.base import SpecError
from eegfound.search.folds import FoldRunner, Record, as_sklearn, records_of, score_names, task
from eegfound.search.guard import check_question, question
from eegfound.search.sampling import make_pruner, make_sampler
from eegfound.search.space import Sampler
from eegfound.search.storage import describe_place, is_shared, open_storage, open_study
from eegfound.search.trials import TrialLoop
from eegfound.search.workers import standing, this_worker


class OptunaSearchCV(BaseSearchCV):
    """Search parameters by cross-validation, guided by Optuna.

    Used like ``GridSearchCV``: same scores, folds, routing and
    ``cv_results_``. Instead of trying a grid, a sampler suggests parameters
    from the scores so far.

    Parameters
    ----------
    estimator : estimator
        What is tuned, often a ``Pipeline``.
    param_distributions : dict | callable
        Name of a parameter to an Optuna distribution, a list of values (of any
        kind, estimators included) or ``uniform``, ``loguniform``, ``randint``
        of scipy; see :func:`suggest_space` for ready ones and
        :class:`SearchSpace` for conditions. Or a function that is given an
        ``optuna.Trial`` and returns parameters.
    n_trials : int
        Trials of the study. In a study with ``storage`` and ``study_name``
        those already there count, so that an interrupted search goes on and a
        finished one runs nothing.
    timeout : float | None
        Seconds after which this ``fit`` starts no further trial.
    scoring : str | callable | list | tuple | dict | None
        As in ``GridSearchCV``. Of several scores, the one that ``refit`` names
        is maximized, otherwise the first.
    n_jobs : int | None
        Folds of one trial that run at the same time. It changes nothing in
        the results. For trials at the same time, run several processes on one
        ``storage``.
    refit : bool | str | callable
        As in ``GridSearchCV``.
    cv : int | splitter | iterable | None
        As in ``GridSearchCV``; split once, so all trials see the same folds.
    verbose : int
        1 prints a line per trial; more, scikit-learn's lines per fold.
    pre_dispatch : int | str
        As in ``GridSearchCV``.
    error_score : "raise" | float
        Score of a fold whose fit fails. With NaN its trial has no score and
        fails.
    return_train_score : bool
        Whether ``cv_results_`` has training scores.
    random_state : int | RandomState | None
        Seed of the sampler.
    sampler : None | {"tpe", "random", "gp"} | optuna.samplers.BaseSampler
        None is ``"tpe"``. Samplers by name suggest the same after an
        interruption as without one; an object is copied for each fit, has its
        own seed, and starts its random numbers again when a study goes on.
    pruner : None | "median" | optuna.pruners.BasePruner
        Stops trials that are worse than others after the same number of folds
        (mean score so far), or, in their first fold, after the same number of
        epochs of training (``monitor``). None lets all trials finish.
    monitor : str | None
        Entry of a net's history that is reported after each epoch of the first
        fold; needs ``early_stopping=True`` of the estimator, or another
        validation split. None reports folds only.
    storage : None | str | path-like | optuna.storages.BaseStorage
        None: in memory. ``"journal:study.log"``, ``"sqlite:///study.db"``,
        ``"postgresql://user@host/base"``; see :func:`open_storage`.
    study_name : str | None
        Name of the study in ``storage``. None is a new study with each fit.
    grace_period : float
        Seconds without a sign of life after which a worker of another
        computer counts as gone. Workers of this one are looked up at once.
    callbacks : list of callable | None
        Called as ``callback(study, trial)`` after each trial of this process;
        returning True ends the search. Each fit uses copies.

    Attributes
    ----------
    best_estimator_, best_params_, best_score_, best_index_, refit_time_
        As in ``GridSearchCV``.
    cv_results_ : dict
        As in ``GridSearchCV``, with a row for each trial that counts, those of
        other processes included, in their order, and the columns
        ``trial_number`` and ``trial_state`` (``"COMPLETE"``, ``"PRUNED"``,
        ``"FAIL"``). Folds that a pruned trial did not run are NaN.
    study_ : optuna.Study
        The study. After unpickling it is opened again when asked for.
    study_name_ : str
        Its name.
    trials_ : list of optuna.trial.FrozenTrial
        The trials of ``cv_results_``.
    n_splits_ : int
        Number of folds.

    Raises
    ------
    SpecError
        If the study was made with other data, folds, estimator, scores or
        space; if a parameter of the search is not understood.
    ValueError
        If every fit failed.

    Notes
    -----
    ``best_score_`` is the best of many scores on the same folds and thus
    optimistic. What the tuned pipeline is worth is told by data the search has
    not seen: ``cross_val_score(search, X, y, groups=groups)`` or a held-out set
    of subjects.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from eegfound.search import OptunaSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = OptunaSearchCV(
    ...     SVC(), {"C": FloatDistribution(1e-2, 1e2, log=True)}, n_trials=5, random_state=0
    ... ).fit(X, y)
    >>> len(search.trials_), search.score(X, y) > 0.9
    (5, True)
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **BaseSearchCV._parameter_constraints,
        "param_distributions": [dict, callable],
        "n_trials": [Interval(numbers.Integral, 1, None, closed="left")],
        "timeout": [Interval(numbers.Real, 0, None, closed="left"), None],
        "random_state": ["random_state"],
        "sampler": "no_validation",
        "pruner": "no_validation",
        "monitor": [str, None],
        "storage": "no_validation",
        "study_name": [str, None],
        "grace_period": [Interval(numbers.Real, 0, None, closed="neither")],
        "callbacks": [list, tuple, None],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_trials: int = 20,
        timeout: float | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        random_state: Any = None,
        sampler: Any = None,
        pruner: Any = None,
        monitor: str | None = "valid_loss",
        storage: Any = None,
        study_name: str | None = None,
        grace_period: float = 120.0,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(
            estimator=estimator, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv,
            verbose=verbose, pre_dispatch=pre_dispatch, error_score=error_score,
            return_train_score=return_train_score,
        )  # fmt: skip
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.timeout = timeout
        self.random_state = random_state
        self.sampler = sampler
        self.pruner = pruner
        self.monitor = monitor
        self.storage = storage
        self.study_name = study_name
        self.grace_period = grace_period
        self.callbacks = callbacks

    # BaseSearchCV.fit keeps the results of its own process to itself, cannot
    # stop a candidate between two folds and needs at least one new fit: a
    # resumed search has none. Hence a fit of our own from its parts.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> OptunaSearchCV:
        """Run trials, then fit the best candidate to all data.

        Parameters
        ----------
        X : array-like, shape (n_epochs, ...)
            Data, as the estimator takes it.
        y : array-like, shape (n_epochs,) | None
            Labels or targets.
        **params : object
            ``groups`` goes to the splitter; ``sample_weight`` and others go to
            ``fit`` of the estimator. With metadata routing on, each goes where
            it is requested.

        Returns
        -------
        OptunaSearchCV
            The search itself.
        """
        scorers, _ = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        weight = params.get("sample_weight")
        facts = {"X": X, "y": y, "metadata": None if weight is None else {"sample_weight": weight}}
        root = None
        if hasattr(self, "_init_callback_context"):  # scikit-learn 1.9
            root = self._init_callback_context(
                max_subtasks=1 + (self.refit is not False)
            ).call_on_fit_task_begin(estimator=self, **facts)

        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, **routed.splitter.split))
        if not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty?")
        self.n_splits_ = len(splits)
        runner = FoldRunner(self, X, y, splits, scorers, routed)
        loop = self._open(runner)
        with runner.parallel:
            self._run_search(loop, callback_ctx=root)
        results = self._collect()
        self._choose(results, scorers)
        if self.refit:
            self._refit(runner, X, y, routed, root, facts)
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        self.cv_results_ = results
        if root is not None:
            root.call_on_fit_task_end(estimator=self, **facts)
        return self

    def _run_search(self, loop: TrialLoop, *, callback_ctx: Any = None) -> None:
        """Run the trials that are missing."""
        options = {"max_subtasks": loop.left() * self.n_splits_, "sequential_subtasks": False}
        with task(callback_ctx, self, "search", **options) as context:
            loop.runner.context = context
            loop.run()

    def _open(self, runner: FoldRunner) -> TrialLoop:
        """Open the study and see that it is about this search."""
        self._sampler = Sampler(self.param_distributions)
        self._sampler.check_names(self.estimator)
        storage = open_storage(self.storage)
        shared = is_shared(storage)
        if self.study_name is not None and not shared and self.storage is None:
            warnings.warn(
                f"study_name={self.study_name!r} without storage: the study ends with this "
                "process. Pass storage='sqlite:///study.db' to go on with it later.",
                UserWarning,
                stacklevel=4,
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        study = open_study(
            storage,
            self.study_name,
            sampler=make_sampler(self.sampler, seed),
            pruner=make_pruner(self.pruner),
        )
        if self.storage is not None:
            asked = question(
                X=runner.X, y=runner.y, fit_params=runner.options["fit_params"],
                splits=runner.splits, estimator=runner.base, sampler=self._sampler,
                scoring=[self.scoring, self.refit if isinstance(self.refit, str) else None],
            )  # fmt: skip
            check_question(study, asked, describe_place(self.storage))
        self._study, self.study_name_, self._shared = study, study.study_name, shared
        return TrialLoop(
            study, self._sampler, runner, self._metric,
            n_trials=self.n_trials,
            deadline=time.monotonic() + (math.inf if self.timeout is None else self.timeout),
            worker=this_worker() if shared else None,
            grace_period=self.grace_period,
            callbacks=copy.deepcopy(list(self.callbacks or [])),
        )  # fmt: skip

    def _metric(self, records: Sequence[Record]) -> str:
        """Return the name of the score that is maximized."""
        names, _ = score_names(records)
        return self.refit if isinstance(self.refit, str) and self.refit in names else names[0]

    def _collect(self) -> dict[str, Any]:
        """Return ``cv_results_`` of all trials of the study that count."""
        self.trials_: list[FrozenTrial] = standing(self._study.get_trials(deepcopy=True))
        if not self.trials_:
            raise SpecError(
                f"No trial was finished (timeout={self.timeout!r}): nothing to choose from."
            )
        rows = [records_of(trial, self.n_splits_) for trial in self.trials_]
        flat = [record for row in rows for record in row]
        names, self.multimetric_ = score_names(flat)
        error = math.nan if self.error_score == "raise" else float(self.error_score)
        out = [as_sklearn(record, names, self.multimetric_, error) for record in flat]
        ran = [o for o, record in zip(out, flat) if record is not None]
        if ran:
            _warn_or_raise_about_fit_failures(ran, self.error_score)
        more = {
            "trial_number": [trial.number for trial in self.trials_],
            "trial_state": [trial.state.name for trial in self.trials_],
        }
        with warnings.catch_warnings():
            if not any(o["fit_error"] for o in out):  # NaN by pruning is as it should be
                warnings.filterwarnings("ignore", "One or more of the .* scores are non-finite")
            candidates = [self._sampler(trial) for trial in self.trials_]
            return self._format_results(candidates, self.n_splits_, out, more)

    def _choose(self, results: dict[str, Any], scorers: Any) -> None:
        metric = "score"
        if self.multimetric_:
            names = [
                key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")
            ]
            self._check_refit_for_multimetric(dict.fromkeys(names))
            metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]

    def _refit(self, runner: Any, X: Any, y: Any, routed: Any, root: Any, facts: Any) -> None:
        self.best_estimator_ = clone(runner.base).set_params(**clone(self.best_params_, safe=False))
        target = () if y is None else (y,)
        start = time.time()
        if root is None:
            self.best_estimator_.fit(X, *target, **routed.estimator.fit)
        else:
            context = root.subcontext(task_name="refit-with-best-params")
            with context.propagate_callback_context(self.best_estimator_):
                context.call_on_fit_task_begin(estimator=self, **facts)
                self.best_estimator_.fit(X, *target, **routed.estimator.fit)
            context.call_on_fit_task_end(estimator=self, **facts)
        self.refit_time_ = time.time() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    @property
    def study_(self) -> Any:
        """The study; opened again after unpickling."""
        check_is_fitted(self)
        if self._study is None:
            self._study = open_study(open_storage(self.storage), self.study_name_)
        return self._study

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        own = get_tags(self.estimator).target_tags
        tags.target_tags.multi_output = own.multi_output
        tags.target_tags.single_output = own.single_output
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if state.get("_shared"):  # a pickle holds no connection
            state["_study"] = None
        return state
