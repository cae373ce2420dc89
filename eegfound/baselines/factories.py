"""The classical pipelines, one function each.

Every function takes ``info`` and its own options and returns an unfitted
estimator. Options that several have: ``band`` (pass band in Hz), ``sfreq``
(rate of arrays, instead of ``info``), ``unit`` (of arrays), ``estimator`` (of
covariances), ``C`` (inverse regularization of logistic regression).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import Pipeline

    from eegfound.baselines.recentred import RecentredTangentSpace
    from eegfound.features.bands import Bands

Band = tuple[float, float] | None


def _signals(info: Any, band: Band, sfreq: float | None, unit: str, **options: Any) -> list[Any]:
    from eegfound.baselines.rank import RankReducer
    from eegfound.baselines.signals import BaselineInput

    first = BaselineInput(band=band, info=info, sfreq=sfreq, unit=unit, **options)
    return [("signals", first), ("rank", RankReducer())]


def _logistic(C: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=1000)


def tangent_space(
    info: Any = None,
    *,
    band: Band = None,
    sfreq: float | None = None,
    unit: str = "V",
    estimator: str = "oas",
    C: float = 1.0,
) -> Pipeline:
    """Return covariance, Riemannian tangent space, logistic regression."""
    from pyriemann.tangentspace import TangentSpace
    from sklearn.pipeline import Pipeline

    from eegfound.baselines.covariance import EpochCovariances

    return Pipeline(
        [
            *_signals(info, band, sfreq, unit),
            ("covariance", EpochCovariances(estimator)),
            ("tangent", TangentSpace(metric="riemann")),
            ("classifier", _logistic(C)),
        ]
    )


def tangent_space_recentred(
    info: Any = None,
    *,
    band: Band = None,
    sfreq: float | None = None,
    unit: str = "V",
    estimator: str = "oas",
    C: float = 1.0,
) -> RecentredTangentSpace:
    """Return the TRANSDUCTIVE tangent space, recentred per recording."""
    from eegfound.baselines.recentred import RecentredTangentSpace

    return RecentredTangentSpace(estimator, C=C, band=band, info=info, sfreq=sfreq, unit=unit)


def mdm(
    info: Any = None,
    *,
    band: Band = None,
    sfreq: float | None = None,
    unit: str = "V",
    estimator: str = "oas",
) -> Pipeline:
    """Return Riemannian minimum distance to mean."""
    from pyriemann.classification import MDM
    from sklearn.pipeline import Pipeline

    from eegfound.baselines.covariance import EpochCovariances

    return Pipeline(
        [
            *_signals(info, band, sfreq, unit),
            ("covariance", EpochCovariances(estimator)),
            ("classifier", MDM(metric="riemann")),
        ]
    )


def fgmdm(
    info: Any = None,
    *,
    band: Band = None,
    sfreq: float | None = None,
    unit: str = "V",
    estimator: str = "oas",
) -> Pipeline:
    """Return Riemannian minimum distance to mean with geodesic filtering."""
    from pyriemann.classification import FgMDM
    from sklearn.pipeline import Pipeline

    from eegfound.baselines.covariance import EpochCovariances

    return Pipeline(
        [
            *_signals(info, band, sfreq, unit),
            ("covariance", EpochCovariances(estimator)),
            ("classifier", FgMDM(metric="riemann")),
        ]
    )


def csp_lda(
    info: Any = None,
    *,
    band: Band = None,
    sfreq: float | None = None,
    unit: str = "V",
    n_components: int = 6,
) -> Pipeline:
    """Return common spatial patterns and linear discriminant analysis."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import Pipeline

    from eegfound.baselines.csp import QuietCSP

    return Pipeline(
        [
            *_signals(info, band, sfreq, unit, max_classes=2),
            ("csp", QuietCSP(n_components=n_components)),
            ("classifier", LinearDiscriminantAnalysis()),
        ]
    )


def band_power(
    info: Any = None,
    *,
    bands: str | Bands = "classic",
    sfreq: float | None = None,
    unit: str = "V",
    C: float = 1.0,
) -> Pipeline:
    """Return log band power, scaled, with logistic regression."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from eegfound.features import BandPower

    return Pipeline(
        [
            ("features", BandPower(bands, info=info, sfreq=sfreq, unit=unit)),
            ("scale", StandardScaler()),
            ("classifier", _logistic(C)),
        ]
    )


def log_variance(
    info: Any = None,
    *,
    band: Band = None,
    sfreq: float | None = None,
    unit: str = "V",
    C: float = 1.0,
) -> Pipeline:
    """Return log variance, scaled, with logistic regression."""
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from eegfound.baselines.signals import BaselineInput
    from eegfound.features import LogVariance

    return Pipeline(
        [
            ("signals", BaselineInput(band=band, info=info, sfreq=sfreq, unit=unit)),
            ("features", LogVariance(unit="uV")),
            ("scale", StandardScaler()),
            ("classifier", _logistic(C)),
        ]
    )


def dummy(info: Any = None) -> DummyClassifier:
    """Return class frequencies, whatever the signal."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")
