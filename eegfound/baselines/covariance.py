"""Covariance matrices that are always positive definite."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import Tags

from eegfound.base import SpecError
from eegfound.preprocessing.signal_step import SignalStep

ESTIMATORS = ("oas", "lwf", "scm", "cov", "sch")
#: Share of the largest eigenvalue (channels at equal variance) below which an
#: epoch has no signal in a direction, only rounding.
TOLERANCE = 1e-10
#: Smallest eigenvalue of the average that fills such directions, as a share of its mean.
FLOOR = 1e-8


class EpochCovariances(SignalStep):
    """Covariance matrix of each epoch, by pyriemann, made positive definite.

    An epoch may hold no signal at all in some direction: an electrode was
    interpolated in this recording only, a channel is flat for a moment, or
    the epoch has fewer samples than channels. Such a direction gets the
    variance that it has on average in the training data, which says nothing
    about the epoch either way; left at zero it would outweigh all others in
    Riemannian geometry. Matrices of full rank are pyriemann's, unchanged.

    Parameters
    ----------
    estimator : {"oas", "lwf", "scm", "cov", "sch"}
        pyriemann's covariance estimator.

    Attributes
    ----------
    average_ : ndarray, shape (n_channels, n_channels)
        Mean covariance of the training epochs, each scaled to trace 1.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.baselines import EpochCovariances
    >>> X = np.random.default_rng(0).normal(size=(10, 5, 200))
    >>> EpochCovariances().fit_transform(X).shape
    (10, 5, 5)
    """

    _keeps_form = False

    def __init__(self, estimator: str = "oas") -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the average covariance.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times)
            Signals without NaN.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        if self.estimator not in ESTIMATORS:
            raise SpecError(f"estimator={self.estimator!r} is not one of {ESTIMATORS}.")
        signals, _ = self._read(X, reset=True)
        self.average_ = average_covariance(_sample_covariances(_centred(signals)))
        return self

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        from pyriemann.estimation import Covariances

        centred = _centred(X)
        sample = _sample_covariances(centred)
        if X.shape[-1] < 2 or X.shape[1] == 1:
            matrices = sample  # one channel needs no shrinkage, and one sample has none
        else:
            matrices = Covariances(self.estimator).transform(centred)
        return fill_empty_directions(matrices, sample, self.average_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags


def _centred(X: np.ndarray) -> np.ndarray:
    return X - X.mean(axis=-1, keepdims=True, dtype=np.float64)


def _sample_covariances(centred: np.ndarray) -> np.ndarray:
    return centred @ centred.transpose(0, 2, 1) / centred.shape[-1]


def average_covariance(matrices: np.ndarray) -> np.ndarray:
    """Return the mean of covariance matrices, each scaled to trace 1.

    Parameters
    ----------
    matrices : ndarray, shape (n_epochs, n, n)
        Positive semidefinite matrices. Those of flat epochs are left out.

    Returns
    -------
    ndarray, shape (n, n)
        Positive definite matrix; the identity over ``n`` if every epoch is flat.
    """
    size = matrices.shape[1]
    power = np.einsum("nii->n", matrices)
    moving = power > 0
    if not moving.any():
        return np.eye(size) / size
    mean = (matrices[moving] / power[moving, None, None]).mean(axis=0)
    return mean + FLOOR / size * np.eye(size)


def fill_empty_directions(
    matrices: np.ndarray, sample: np.ndarray, average: np.ndarray
) -> np.ndarray:
    """Give directions in which an epoch has no signal their average variance.

    Parameters
    ----------
    matrices : ndarray, shape (n_epochs, n, n)
        Estimated covariance matrices.
    sample : ndarray, shape (n_epochs, n, n)
        Sample covariance matrices of the same epochs, which tell the rank.
    average : ndarray, shape (n, n)
        Positive definite matrix, in any scale.

    Returns
    -------
    ndarray, shape (n_epochs, n, n)
        Positive definite matrices; ``matrices`` where the rank is full.
    """
    # Channels at equal variance, so that a quiet electrode does not pass for an empty one.
    deviation = np.sqrt(np.diag(average))
    balance = np.outer(deviation, deviation)
    values, vectors = np.linalg.eigh(sample / balance)
    empty = values <= TOLERANCE * np.maximum(values[:, -1:], 0)
    incomplete = np.flatnonzero(empty.any(axis=1))
    if not len(incomplete):
        return matrices
    out = matrices.copy()
    reference = average / balance
    for i in incomplete:
        null, full = vectors[i][:, empty[i]], vectors[i][:, ~empty[i]]
        known = np.trace(full.T @ reference @ full)
        scale = values[i].sum() / known if known > 0 and values[i, -1] > 0 else 1.0
        inner = null.T @ reference @ null
        out[i] += scale * balance * (null @ inner @ null.T)
    return out
