"""TRANSDUCTIVE tangent space: each recording is whitened by its own mean."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from eegfound.base import SignalWarning, SpecError
from eegfound.baselines.covariance import EpochCovariances
from eegfound.baselines.rank import RankReducer
from eegfound.baselines.signals import BaselineInput
from eegfound.preprocessing.signal_step import SignalReader


def recentre(matrices: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Whiten the covariance matrices of each group by the group's Riemannian mean.

    Parameters
    ----------
    matrices : ndarray, shape (n_epochs, n, n)
        Symmetric positive definite matrices.
    groups : ndarray, shape (n_epochs,)
        Recording (subject) of each epoch.

    Returns
    -------
    ndarray, shape (n_epochs, n, n)
        Matrices; the Riemannian mean of each group is the identity.

    References
    ----------
    Zanini et al. (2018), Transfer learning: a Riemannian geometry framework.
    https://doi.org/10.1109/TBME.2017.2742541
    """
    from pyriemann.preprocessing import Whitening

    out = np.empty_like(matrices)
    for group in np.unique(groups):
        members = groups == group
        out[members] = Whitening(metric="riemann").fit_transform(matrices[members])
    return out


class RecentredTangentSpace(ClassifierMixin, SignalReader):
    """TRANSDUCTIVE tangent space classifier for several recordings.

    The covariance matrices of every recording are whitened by that
    recording's own Riemannian mean, in training and in prediction, before
    they are mapped to the tangent space and classified by logistic
    regression. The mean of a test recording is taken over all its epochs, so
    predictions for an epoch depend on the other epochs of its recording (not
    on their labels): do not set its scores beside those of inductive
    classifiers without saying so.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm", "cov", "sch"}
        pyriemann's covariance estimator.
    C : float
        Inverse regularization of the logistic regression.
    band : (float, float) | None
        Pass band in Hz; None filters nothing.
    info : ChannelInfo | mne.Info | None
        Names and rate of the input; with it the unit is checked.
    sfreq : float | None
        Rate of the input in Hz, instead of ``info``.
    unit : str
        Unit of arrays; Epochs are always in volts.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Labels.
    front_ : Pipeline
        Fitted steps from signals to covariance matrices.
    classifier_ : Pipeline
        Fitted tangent space and logistic regression.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Notes
    -----
    ``groups`` is a metadata request that is on by default: with
    ``sklearn.set_config(enable_metadata_routing=True)``,
    ``cross_validate(clf, X, y, cv=GroupKFold(5), params={"groups": groups})``
    hands each part its own groups. Without routing, scikit-learn passes
    ``groups`` to the splitter only, and every call sees one recording.

    References
    ----------
    Zanini et al. (2018), Transfer learning: a Riemannian geometry framework.
    https://doi.org/10.1109/TBME.2017.2742541

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.baselines import RecentredTangentSpace
    >>> rng = np.random.default_rng(0)
    >>> y, groups = np.tile(["rest", "task"], 20), np.repeat(["s1", "s2"], 20)
    >>> X = rng.normal(scale=1e-5, size=(40, 3, 200))
    >>> X[y == "task", 0] *= 3
    >>> X[groups == "s2"] *= 10
    >>> RecentredTangentSpace().fit(X, y, groups).score(X, y, groups=groups)
    1.0
    """

    __metadata_request__fit = {"groups": True}  # noqa: RUF012
    __metadata_request__predict = {"groups": True}  # noqa: RUF012
    __metadata_request__predict_proba = {"groups": True}  # noqa: RUF012
    __metadata_request__score = {"groups": True}  # noqa: RUF012

    def __init__(
        self,
        estimator: str = "oas",
        *,
        C: float = 1.0,
        band: tuple[float, float] | None = None,
        info: Any = None,
        sfreq: float | None = None,
        unit: str = "V",
    ) -> None:
        self.estimator = estimator
        self.C = C
        self.band = band
        self.info = info
        self.sfreq = sfreq
        self.unit = unit

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit on recordings, each whitened by its own mean.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.
        y : array-like, shape (n_epochs,)
            Labels.
        groups : array-like, shape (n_epochs,) | None
            Recording (subject) of each epoch. None takes all for one, with a
            warning.

        Returns
        -------
        self
        """
        _, _, targets = self._read(X, reset=True, y=y)
        check_classification_targets(targets)
        self.classes_ = np.unique(targets)
        if len(self.classes_) < 2:
            raise SpecError(
                f"y has one class only ({self.classes_[0]!r}); a classifier needs at least two."
            )
        from pyriemann.tangentspace import TangentSpace

        self.front_ = make_pipeline(
            BaselineInput(band=self.band, info=self.info, sfreq=self.sfreq, unit=self.unit),
            RankReducer(),
            EpochCovariances(self.estimator),
        )
        matrices = self._recentred(self.front_.fit_transform(X), groups, "fit")
        self.classifier_ = make_pipeline(
            TangentSpace(metric="riemann"), LogisticRegression(C=self.C, max_iter=1000)
        ).fit(matrices, targets)
        return self

    def predict(self, X: Any, groups: Any = None) -> np.ndarray:
        """Predict labels; all epochs of a recording are needed at once.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.
        groups : array-like, shape (n_epochs,) | None
            Recording of each epoch. None takes all for one, with a warning.

        Returns
        -------
        ndarray, shape (n_epochs,)
            Labels.
        """
        matrices = self._matrices(X, groups, "predict")
        return self.classifier_.predict(matrices)

    def predict_proba(self, X: Any, groups: Any = None) -> np.ndarray:
        """Predict probabilities; all epochs of a recording are needed at once.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.
        groups : array-like, shape (n_epochs,) | None
            Recording of each epoch. None takes all for one, with a warning.

        Returns
        -------
        ndarray, shape (n_epochs, n_classes)
            Probabilities in the order of ``classes_``.
        """
        matrices = self._matrices(X, groups, "predict_proba")
        return self.classifier_.predict_proba(matrices)

    def score(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> float:
        """Return the accuracy.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.
        y : array-like, shape (n_epochs,)
            Labels.
        sample_weight : array-like, shape (n_epochs,) | None
            Weights.
        groups : array-like, shape (n_epochs,) | None
            Recording of each epoch.

        Returns
        -------
        float
            Share of epochs whose label is predicted.
        """
        from sklearn.metrics import accuracy_score

        return accuracy_score(y, self.predict(X, groups=groups), sample_weight=sample_weight)

    def _matrices(self, X: Any, groups: Any, method: str) -> np.ndarray:
        check_is_fitted(self)
        self._read(X, reset=False)
        return self._recentred(self.front_.transform(X), groups, method)

    def _recentred(self, matrices: np.ndarray, groups: Any, method: str) -> np.ndarray:
        n_epochs = len(matrices)
        if groups is None:
            warnings.warn(
                f"{method} without groups: all {n_epochs} epochs are taken for one recording and "
                "whitened together (transductive). Pass groups= (subject of each epoch).",
                SignalWarning,
                stacklevel=4,
            )
            groups = np.zeros(n_epochs, dtype=int)
        groups = np.asarray(groups)
        if groups.shape != (n_epochs,):
            raise SpecError(f"groups has shape {groups.shape} for {n_epochs} epochs.")
        return recentre(matrices, groups)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Covariances of white-noise blobs say nothing about their class.
        tags.classifier_tags.poor_score = True
        # Transductive: what is predicted for an epoch depends on the batch.
        tags.non_deterministic = True
        return tags
