"""Reducing epochs to the rank of the data."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import Tags

from eegfound.preprocessing.signal_step import SignalStep

#: Share of the largest eigenvalue below which a direction holds rounding noise
#: only: float32 data have 1e-14, electrodes that measure something above 1e-8.
TOLERANCE = 1e-10


class RankReducer(SignalStep):
    """Project epochs onto as many signals as the data hold independently.

    Average reference takes one dimension away, each interpolated electrode
    another; the covariance matrices are then singular, where Riemannian
    geometry and CSP need positive definite ones. The projection is orthogonal
    and learned from the training data. Data of full rank pass unchanged;
    what single epochs lack is the matter of :class:`EpochCovariances`.

    Parameters
    ----------
    tol : float
        Directions with a smaller share of the largest eigenvalue (of channels
        scaled to equal variance) are left out.

    Attributes
    ----------
    components_ : ndarray, shape (n_components, n_channels)
        Projection with orthonormal rows; the identity for full rank.
    n_components_ : int
        Rank of the data.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import Rereferencer
    >>> from eegfound.baselines import RankReducer
    >>> X = np.random.default_rng(0).normal(size=(10, 5, 200))
    >>> RankReducer().fit_transform(Rereferencer("average").fit_transform(X)).shape
    (10, 4, 200)
    """

    def __init__(self, tol: float = TOLERANCE) -> None:
        self.tol = tol

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the rank of the data.

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
        signals, _ = self._read(X, reset=True)
        self.components_ = signal_space(signals, self.tol)
        self.n_components_ = len(self.components_)
        return self

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        if self.n_components_ == X.shape[1]:
            return X
        return np.matmul(self.components_.astype(X.dtype, copy=False), X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return channel names, or ``"component0"``, … where the rank was reduced."""
        if not self.flat_ and self.n_components_ < self.n_features_in_:
            return np.asarray([f"component{i}" for i in range(self.n_components_)], dtype=object)
        return super().get_feature_names_out(input_features)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def signal_space(X: np.ndarray, tol: float = TOLERANCE) -> np.ndarray:
    """Return an orthonormal basis of the space in which the signals live.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals.
    tol : float
        See :class:`RankReducer`.

    Returns
    -------
    ndarray, shape (rank, n_channels)
        Orthonormal rows; the identity for full rank.
    """
    n_channels = X.shape[1]
    centred = X - X.mean(axis=-1, keepdims=True, dtype=np.float64)
    products = centred @ centred.transpose(0, 2, 1)
    power = np.einsum("nii->ni", products)
    moving = power.sum(axis=1) > 0
    if n_channels == 1 or not moving.any():
        return np.eye(n_channels)
    # Channels at equal variance, so that one noisy electrode does not push the
    # others below the tolerance; epochs at equal power, so that an artefact
    # does not either.
    deviation = np.sqrt(power.mean(axis=0))
    scale = np.divide(1.0, deviation, out=np.zeros(n_channels), where=deviation > 0)
    products = products[moving] * scale[:, None] * scale
    products /= np.einsum("nii->n", products)[:, None, None]
    values, vectors = np.linalg.eigh(products.mean(axis=0))
    rank = int((values > tol * values[-1]).sum())
    if rank >= n_channels:
        return np.eye(n_channels)
    basis, _ = np.linalg.qr(deviation[:, None] * vectors[:, ::-1][:, :rank])
    return basis.T
