"""Spaces of scikit-learn's estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from eegfound.search.space import SearchSpace

if TYPE_CHECKING:
    from eegfound.search.suggest import DataFacts


def _forest() -> dict[str, Any]:
    return {"max_features": ["sqrt", 0.1, 0.3], "min_samples_leaf": Int(1, 10, log=True)}


def _boosting() -> dict[str, Any]:
    return {
        "learning_rate": Float(1e-2, 0.3, log=True),
        "max_leaf_nodes": Int(7, 63, log=True),
        "l2_regularization": Float(1e-3, 10, log=True),
    }


def _neighbors(facts: DataFacts) -> dict[str, Any]:
    # A fold's training part must hold that many; two folds are the least.
    most = 15 if facts.n_epochs is None else max(1, min(30, facts.n_epochs // 4))
    return {"n_neighbors": Int(1, most), "weights": ["uniform", "distance"]}


def _discriminant(estimator: Any) -> SearchSpace:
    if estimator.solver != "svd":
        return SearchSpace({"shrinkage": Float(0, 1)})
    return SearchSpace(
        {"solver": ["svd", "lsqr"], "shrinkage": Float(0, 1)},
        when={"shrinkage": {"solver": ("lsqr",)}},
    )


def _kernel(estimator: Any) -> dict[str, Any]:
    space: dict[str, Any] = {"C": Float(1e-2, 1e3, log=True)}
    if estimator.kernel in ("rbf", "poly", "sigmoid"):
        space["gamma"] = Float(1e-5, 1e-1, log=True)
    return space


def by_class_name(estimator: Any, facts: DataFacts) -> SearchSpace:
    """Return the space of an estimator of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        Of a class named in :data:`eegfound.search.suggest.SPACES`.
    facts : DataFacts
        Bounds for neighbours.

    Returns
    -------
    SearchSpace
        Without prefix.
    """
    for base in type(estimator).__mro__:
        name = base.__name__
        if name == "LogisticRegression":
            return SearchSpace({"C": Float(1e-4, 1e2, log=True)})
        if name in ("LinearSVC", "LinearSVR"):
            return SearchSpace({"C": Float(1e-5, 1e1, log=True)})
        if name in ("SVC", "SVR"):
            return SearchSpace(_kernel(estimator))
        if name in ("Ridge", "RidgeClassifier"):
            return SearchSpace({"alpha": Float(1e-2, 1e5, log=True)})
        if name in ("Lasso", "ElasticNet"):
            return SearchSpace({"alpha": Float(1e-4, 1e1, log=True)})
        if name == "LinearDiscriminantAnalysis":
            return _discriminant(estimator)
        if name.startswith("KNeighbors"):
            return SearchSpace(_neighbors(facts))
        if name.startswith(("RandomForest", "ExtraTrees")):
            return SearchSpace(_forest())
        if name.startswith("HistGradientBoosting"):
            return SearchSpace(_boosting())
        if name == "SGDClassifier":
            return SearchSpace({"alpha": Float(1e-6, 1e-1, log=True)})
        if name.startswith("MLP"):
            rate = Float(1e-4, 1e-2, log=True)
            return SearchSpace({"alpha": Float(1e-5, 1e1, log=True), "learning_rate_init": rate})
        if name == "PCA":
            # A share of the variance, which fits every number of epochs.
            return SearchSpace({"n_components": Float(0.8, 0.999), "svd_solver": ["full"]})
    return SearchSpace()
