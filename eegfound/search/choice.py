"""An estimator that is one of several: the choice as a hyper-parameter."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import _BaseComposition, available_if
from sklearn.utils.validation import check_is_fitted

from eegfound.base import SpecError

_METHODS = (
    "predict", "predict_proba", "predict_log_proba", "decision_function", "score",
    "transform", "inverse_transform",
)  # fmt: skip


def _routing_is_on() -> bool:
    from sklearn import get_config

    return bool(get_config()["enable_metadata_routing"])


def _has(method: str) -> Any:
    def check(self: Choice) -> bool:
        # Asked before and after fit; raises the AttributeError that says what is missing.
        getattr(getattr(self, "estimator_", None) or self._picked(), method)
        return True

    return available_if(check)


class Choice(MetaEstimatorMixin, _BaseComposition):
    """One of several estimators, by name.

    As a step of a pipeline, or as the whole, it makes "which one" an ordinary
    parameter: ``GridSearchCV(choice, {"chosen": ["labram", "tangent_space"]})``,
    or :func:`suggest_space`, which samples the parameters of the chosen one
    only.

    Parameters
    ----------
    options : list of (str, estimator)
        Names and estimators of one kind (all classifiers, all transformers …);
        ``"passthrough"`` is a transformer that changes nothing. Their
        parameters are ``"<name>__<parameter>"``.
    chosen : str | None
        Name of the one that counts. None: the first.

    Attributes
    ----------
    estimator_ : estimator
        The chosen one, fitted; a clone.

    Raises
    ------
    SpecError
        In ``fit``, if there is no option of that name.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.svm import SVC
    >>> from eegfound.search import Choice
    >>> head = Choice([("logistic", LogisticRegression()), ("svm", SVC())], chosen="svm")
    >>> head.set_params(svm__C=10).fit([[0.0], [1.0]], ["rest", "task"]).estimator_
    SVC(C=10)
    """

    def __init__(self, options: Sequence[tuple[str, Any]], chosen: str | None = None) -> None:
        self.options = options
        self.chosen = chosen

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return parameters, those of all options included.

        Parameters
        ----------
        deep : bool
            Whether to include the options and their parameters.
        """
        return self._get_params("options", deep=deep)

    def set_params(self, **params: Any) -> Choice:
        """Set parameters; ``<name>`` replaces an option.

        Parameters
        ----------
        **params : object
            Parameters of the choice or, as ``<name>__<parameter>``, of options.
        """
        self._set_params("options", **params)
        return self

    def _picked(self) -> Any:
        """Return the chosen option as given."""
        if not self.options:
            raise SpecError("Choice(options=[]) offers nothing to choose from.")
        named = dict(self.options)
        if self.chosen is not None and self.chosen not in named:
            raise SpecError(f"chosen={self.chosen!r} is not one of the options {list(named)}.")
        option = self.options[0][1] if self.chosen is None else named[self.chosen]
        if isinstance(option, str) and option == "passthrough":
            from sklearn.preprocessing import FunctionTransformer

            return FunctionTransformer(feature_names_out="one-to-one")
        return option

    def _route(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if not params or not _routing_is_on():
            return params
        routed = process_routing(self, method, **params)
        name = self.chosen or self.options[0][0]
        return {} if isinstance(dict(self.options)[name], str) else dict(routed[name][method])

    def fit(self, X: Any, y: Any = None, **params: Any) -> Choice:
        """Fit the chosen estimator.

        Parameters
        ----------
        X : array-like
            Data, as the chosen one takes them.
        y : array-like | None
            Labels or targets.
        **params : object
            Further parameters of its ``fit``; with metadata routing on, those
            that it requests.

        Returns
        -------
        Choice
            The choice itself.
        """
        self._validate_names([name for name, _ in self.options])
        self.estimator_ = clone(self._picked())
        self.estimator_.fit(X, y, **self._route("fit", params))
        for name in ("n_features_in_", "feature_names_in_", "classes_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
            else:
                self.__dict__.pop(name, None)
        return self

    @_has("transform")
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit the chosen estimator and transform the same data.

        Parameters
        ----------
        X : array-like
            Data.
        y : array-like | None
            Labels or targets.
        **params : object
            As in ``fit``.
        """
        return self.fit(X, y, **params).transform(X)

    @_has("score")
    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Return the chosen estimator's score.

        Parameters
        ----------
        X : array-like
            Data.
        y : array-like | None
            Labels or targets.
        **params : object
            Passed on.
        """
        check_is_fitted(self)
        return self.estimator_.score(X, y, **self._route("score", params))

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the chosen one's names of its output.

        Parameters
        ----------
        input_features : array-like of str | None
            Names of the input.
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return what the options request; that of all, since the choice may change."""
        router = MetadataRouter(owner=self)
        for name, option in self.options:
            if isinstance(option, str):
                continue
            mapping = MethodMapping().add(caller="fit", callee="fit")
            for method in _METHODS:
                if hasattr(option, method):
                    mapping = mapping.add(caller=method, callee=method)
            router.add(method_mapping=mapping, **{name: option})
        return router

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            own = copy.deepcopy(get_tags(self._picked()))
        except SpecError:  # said in fit
            return tags
        own.requires_fit = True
        return own


def _delegate(name: str) -> Any:
    def method(self: Choice, X: Any, **params: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.estimator_, name)(X, **self._route(name, params))

    method.__name__ = name
    method.__qualname__ = f"Choice.{name}"
    method.__doc__ = f"""Call ``{name}`` of the chosen estimator.

        Parameters
        ----------
        X : array-like
            Data.
        **params : object
            Passed on.
        """
    return _has(name)(method)


for _name in set(_METHODS) - {"score"}:
    setattr(Choice, _name, _delegate(_name))
