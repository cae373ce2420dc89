"""Spaces of Riemannian steps, features and montages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from eegfound.search.space import SearchSpace

if TYPE_CHECKING:
    from eegfound.search.suggest import DataFacts

_COVARIANCES = ["oas", "lwf", "scm"]
_METRICS = ["riemann", "logeuclid", "euclid"]
#: Pass bands in Hz for oscillations: everything, mu and beta, without drifts, alpha.
_BANDS = [None, (8.0, 30.0), (4.0, 40.0), (8.0, 13.0)]
_FILLED = ["interpolate", "nearest", "zero"]


def _sfreq(estimator: Any) -> float | None:
    """Return the rate that a step was told of; None if it reads it from Epochs."""
    if estimator.sfreq is not None:
        return float(estimator.sfreq)
    if estimator.info is None:
        return None
    from eegfound.base import as_channel_info

    return float(as_channel_info(estimator.info).sfreq)


def _bands(estimator: Any) -> dict[str, Any]:
    sfreq = _sfreq(estimator)
    if sfreq is None:
        return {}
    own = [] if estimator.band in _BANDS else [estimator.band]
    # A filter's edge must stay clear of half the rate.
    fitting = [band for band in _BANDS if band is None or band[1] < 0.45 * sfreq]
    return {"band": [*own, *fitting]}


def _tables(estimator: Any) -> dict[str, Any]:
    from eegfound.features.bands import TABLES

    sfreq = _sfreq(estimator)
    if sfreq is None or not isinstance(estimator.bands, str):
        return {}
    fitting = [
        name for name, table in TABLES.items() if max(h for _, h in table.values()) <= sfreq / 2
    ]
    return {"bands": fitting} if estimator.bands in fitting else {}


def _montage(estimator: Any) -> dict[str, Any]:
    if estimator.target is None or estimator.missing == "raise":
        return {}
    # What fills with NaN stands before a model that takes any subset; such a
    # model takes filled electrodes as well, but not the other way round.
    return {"missing": ["nan", *_FILLED] if estimator.missing == "nan" else _FILLED}


def by_class_name(estimator: Any, facts: DataFacts) -> SearchSpace:
    """Return the space of a step of an EEG pipeline.

    Parameters
    ----------
    estimator : estimator
        Of a class named in :data:`eegfound.search.suggest.SPACES`.
    facts : DataFacts
        Bounds for spatial filters.

    Returns
    -------
    SearchSpace
        Without prefix.
    """
    filters = Int(2, max(2, min(10, facts.n_channels or 6)))
    for base in type(estimator).__mro__:
        name = base.__name__
        if name in ("Covariances", "EpochCovariances"):
            return SearchSpace({"estimator": _COVARIANCES})
        if name == "RecentredTangentSpace":
            bands = _bands(estimator)
            c = Float(1e-4, 1e2, log=True)
            return SearchSpace({"estimator": _COVARIANCES, "C": c, **bands})
        if name == "XdawnCovariances":
            return SearchSpace({"nfilter": Int(2, 6), "estimator": _COVARIANCES})
        if name == "TangentSpace":
            return SearchSpace({"metric": _METRICS})
        if name == "FgMDM":
            # Its filter lowers the rank of plain covariances; their logarithm fails then.
            return SearchSpace({"metric": [m for m in _METRICS if m != "logeuclid"]})
        if name == "MDM":
            return SearchSpace({"metric": _METRICS})
        if name == "KNearestNeighbor":
            return SearchSpace({"n_neighbors": Int(1, 15)})
        if name == "CSP":
            key = "n_components" if "n_components" in estimator.get_params() else "nfilter"
            return SearchSpace({key: filters})
        if name == "BaselineInput":
            return SearchSpace(_bands(estimator))
        if name == "BandPower":
            return SearchSpace({**_tables(estimator), "relative": [False, True]})
        if name == "DifferentialEntropy":
            return SearchSpace(_tables(estimator))
        if name == "MontageMapper":
            return SearchSpace(_montage(estimator))
        if name == "Rereferencer":
            plain = estimator.reference in (None, "average")
            return SearchSpace({"reference": ["average", None]} if plain else {})
    return SearchSpace()
