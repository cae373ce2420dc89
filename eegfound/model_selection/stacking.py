"""Stacking whose inner cross-validation keeps people apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from eegfound.base import SpecError


def _final_has(method: str) -> Any:
    """Say whether the final estimator has a method; None stands for logistic regression.

    scikit-learn's stack has no ``predict`` before it is fitted with
    ``final_estimator=None``, which ``cross_val_predict`` refuses.
    """

    def check(stack: Any) -> bool:
        final = getattr(stack, "final_estimator_", stack.final_estimator)
        return hasattr(LogisticRegression() if final is None else final, method)

    return available_if(check)


class GroupedStackingClassifier(StackingClassifier):
    """A stack whose final estimator learns from predictions for unseen people.

    scikit-learn's stack fits its final estimator on out-of-fold predictions.
    Unless told otherwise, those folds cut through subjects: models that
    recognize people look better than they are for a new person, and are
    weighted accordingly. ``StackingClassifier`` itself cannot hand ``groups`` to
    its ``cv``; this one takes them in :meth:`fit`.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Base classifiers, for instance encoder pipelines and Riemannian ones.
    final_estimator : estimator | None
        Learns from their predictions; None is logistic regression.
    cv : int | splitter | iterable | None
        Inner cross-validation. None: ``GroupKFold(5)``, or as many folds as
        there are subjects; an int: that many folds of subjects.
    stack_method, n_jobs, verbose
        As in ``sklearn.ensemble.StackingClassifier``.

    Notes
    -----
    Base estimators that take ``groups`` themselves (early stopping, recentring)
    get them where metadata routing is on
    (``sklearn.set_config(enable_metadata_routing=True)``), as always in
    scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from eegfound.model_selection import GroupedStackingClassifier
    >>> y, groups = np.tile([0, 1], 30), np.repeat(np.arange(6), 10)
    >>> X = np.random.default_rng(0).standard_normal((60, 2)) + 3 * y[:, np.newaxis]
    >>> stack = GroupedStackingClassifier([("nb", GaussianNB()), ("lr", LogisticRegression())])
    >>> scores = cross_val_score(
    ...     stack, X, y, groups=groups, cv=GroupKFold(3), params={"groups": groups}
    ... )
    >>> bool(scores.mean() > 0.9)
    True
    """

    # With metadata routing, ask for groups without being told to.
    __metadata_request__fit = {"groups": True}  # noqa: RUF012

    def __init__(
        self,
        estimators: Any,
        final_estimator: Any = None,
        *,
        cv: Any = None,
        stack_method: str = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            estimators, final_estimator, cv=cv, stack_method=stack_method, n_jobs=n_jobs,
            verbose=verbose,
        )  # fmt: skip

    def fit(self, X: Any, y: Any, groups: Any = None, **fit_params: Any) -> Any:
        """Fit the base estimators and, on predictions for unseen subjects, the final one.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            Windows.
        y : array-like, shape (n_epochs,)
            Labels.
        groups : array-like, shape (n_epochs,)
            Subject of each epoch.
        **fit_params : Any
            ``sample_weight``, for estimators that take it.

        Returns
        -------
        GroupedStackingClassifier
            The estimator itself.

        Raises
        ------
        SpecError
            If ``groups`` are missing or name one subject only.
        """
        splits = self._splits(X, y, groups)
        params = self.get_params(deep=False)
        final = LogisticRegression() if self.final_estimator is None else self.final_estimator
        # The stack of scikit-learn does the work, on folds that are ready made.
        inner = StackingClassifier(**{**params, "cv": splits, "final_estimator": _Final(final)})
        routed = get_config()["enable_metadata_routing"]
        if routed and inner.get_metadata_routing().consumes("fit", ["groups"]):
            fit_params = {**fit_params, "groups": groups}
        inner.fit(X, y, **fit_params)
        for name, value in vars(inner).items():
            if name not in params and name != "passthrough":
                setattr(self, name, value)
        self.final_estimator_ = inner.final_estimator_.estimator_
        return self

    @_final_has("predict")
    def predict(self, X: Any, **predict_params: Any) -> np.ndarray:
        """Return labels, ``(n_epochs,)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            Windows.
        **predict_params : Any
            For the final estimator.
        """
        return super().predict(X, **predict_params)

    @_final_has("predict_proba")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, ``(n_epochs, n_classes)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            Windows.
        """
        return super().predict_proba(X)

    @_final_has("decision_function")
    def decision_function(self, X: Any) -> np.ndarray:
        """Return decision values of the final estimator.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            Windows.
        """
        return super().decision_function(X)

    def _splits(self, X: Any, y: Any, groups: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        if groups is None:
            raise SpecError(
                "GroupedStackingClassifier.fit needs groups= (subject of each epoch); in "
                "cross_val_score pass params={'groups': groups}."
            )
        groups = np.asarray(groups)
        if len(groups) != len(y):
            raise SpecError(f"groups has {len(groups)} entries for {len(y)} epochs.")
        count = len(np.unique(groups))
        cv = min(5, count) if self.cv is None else self.cv
        if isinstance(cv, int | np.integer):
            if not 2 <= cv <= count:
                raise SpecError(f"cv={self.cv!r} folds cannot be made of {count} subject(s).")
            cv = GroupKFold(int(cv))
        elif isinstance(cv, str):
            raise SpecError(
                f"cv={cv!r}: there are no folds to keep subjects apart in. Use a number, a "
                "splitter, or scikit-learn's StackingClassifier."
            )
        splits = list(check_cv(cv, y, classifier=True).split(X, y, groups))
        for train, test in splits:
            both = np.intersect1d(groups[train], groups[test])
            if len(both):
                raise SpecError(
                    f"cv={self.cv!r} puts subject(s) {both[:5].tolist()} on both sides of an inner "
                    "split. Use GroupKFold or another splitter by groups."
                )
        return splits

    def get_metadata_routing(self) -> Any:
        """Return where metadata go: ``groups`` to this estimator, too."""
        return super().get_metadata_routing().add_self_request(self)


class _Final(BaseEstimator):
    """The final estimator, without the groups that scikit-learn would hand to it."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, groups: Any = None, **params: Any) -> _Final:
        """Fit a clone of it."""
        self.estimator_ = clone(self.estimator).fit(X, y, **params)
        return self

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)
