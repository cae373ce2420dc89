"""Ready search spaces: what is worth tuning in a pipeline, and over which range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eegfound.base import SpecError
from eegfound.models import load_object
from eegfound.search.choice import Choice
from eegfound.search.space import SearchSpace


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data when a space is made; None where nothing is."""

    n_epochs: int | None = None
    n_channels: int | None = None


Maker = Callable[[Any, DataFacts], Mapping[str, Any]]

_CLASSIC = "eegfound.search.suggest_classic"
_EEG = "eegfound.search.suggest_eeg"
#: Name of a class (looked for along the bases) to ``make(estimator, facts)``.
SPACES: dict[str, str] = {
    **dict.fromkeys(
        ("LogisticRegression", "LinearSVC", "LinearSVR", "SVC", "SVR", "Ridge", "RidgeClassifier",
         "Lasso", "ElasticNet", "LinearDiscriminantAnalysis", "KNeighborsClassifier",
         "KNeighborsRegressor", "RandomForestClassifier", "RandomForestRegressor",
         "ExtraTreesClassifier", "ExtraTreesRegressor", "HistGradientBoostingClassifier",
         "HistGradientBoostingRegressor", "SGDClassifier", "MLPClassifier", "MLPRegressor", "PCA"),
        f"{_CLASSIC}:by_class_name",
    ),
    **dict.fromkeys(
        ("Covariances", "XdawnCovariances", "TangentSpace", "MDM", "FgMDM", "KNearestNeighbor",
         "CSP", "EpochCovariances", "RecentredTangentSpace", "BaselineInput", "BandPower",
         "DifferentialEntropy", "MontageMapper", "Rereferencer"),
        f"{_EEG}:by_class_name",
    ),
    "FoundationTransformer": "eegfound.search.suggest_foundation:transformer",
    "FoundationClassifier": "eegfound.search.suggest_foundation:tunable",
    "FoundationRegressor": "eegfound.search.suggest_foundation:tunable",
}  # fmt: skip


def suggest_space(estimator: Any, X: Any = None) -> SearchSpace:
    """Return distributions for the parameters of a pipeline that are worth tuning.

    Parameters
    ----------
    estimator : estimator
        Foundation models, baselines, scikit-learn's and pyriemann's common
        estimators, in pipelines, unions, column transformers, stacks,
        calibration, and :class:`Choice`. What is not known is left as it is.
    X : ndarray, shape (n_epochs, n_channels, n_times) | None
        Data, whose shape bounds some ranges.

    Returns
    -------
    SearchSpace
        A dict for :class:`OptunaSearchCV`; change it like a dict. Parameters
        of the options of a :class:`Choice` count when chosen.

    Raises
    ------
    SpecError
        If nothing in the estimator is known.

    Notes
    -----
    A class of your own has a space if it has a method
    ``__eegfound_space__(self)`` that returns a dict of distributions.

    The ranges are for features of the size that these steps make (embeddings
    and band powers behind a ``StandardScaler``, tangent vectors). They are our
    choice, not taken from a paper.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from eegfound.search import suggest_space
    >>> list(suggest_space(make_pipeline(StandardScaler(), LogisticRegression())))
    ['logisticregression__C']
    """
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise SpecError(f"suggest_space needs an estimator, an object, not {estimator!r}.")
    shape = getattr(X, "shape", None)
    facts = DataFacts()
    if shape is not None:
        facts = DataFacts(int(shape[0]), int(shape[1]) if len(shape) == 3 else 1)
    elif X is not None and hasattr(X, "ch_names"):
        facts = DataFacts(len(X), len(X.ch_names))
    space = _space_of(estimator, facts)
    if not space:
        raise SpecError(
            f"suggest_space knows nothing to tune in {type(estimator).__name__}: write "
            "param_distributions yourself, {'name': FloatDistribution(...)}."
        )
    return space


def _space_of(estimator: Any, facts: DataFacts) -> SearchSpace:
    if isinstance(estimator, Choice):
        names = [name for name, _ in estimator.options]
        space = SearchSpace({"chosen": names} if len(names) > 1 else {})
        for name, option in estimator.options:
            # Mappers side by side are a choice of policies already.
            if not isinstance(option, str) and type(option).__name__ != "MontageMapper":
                only = {"chosen": (name,)} if len(names) > 1 else {}
                space = space.joined(_space_of(option, facts).nested(name, **only))
        return space
    own = _own(estimator, facts)
    if own is not None:
        return own
    space = SearchSpace()
    for name, value in estimator.get_params(deep=True).items():
        if "__" not in name and hasattr(value, "get_params") and not isinstance(value, type):
            space = space.joined(_space_of(value, facts).nested(name))
    return space


def _own(estimator: Any, facts: DataFacts) -> SearchSpace | None:
    """Return the space of a class that is known; None for another one."""
    if hasattr(estimator, "__eegfound_space__"):
        made = estimator.__eegfound_space__()
    else:
        known = [c.__name__ for c in type(estimator).__mro__ if c.__name__ in SPACES]
        if not known:
            return None
        made = load_object(SPACES[known[0]])(estimator, facts)
    has = estimator.get_params(deep=False)
    kept = {key: value for key, value in made.items() if key.partition("@")[0] in has}
    when = {key: value for key, value in getattr(made, "when", {}).items() if key in kept}
    return SearchSpace(kept, when)
