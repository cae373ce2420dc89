"""Euclidean alignment: windows of one recording get a common mean covariance.

He and Wu: "Transfer Learning for Brain-Computer Interfaces: A Euclidean Space
Data Alignment Approach", IEEE Trans Biomed Eng 67:399-410, 2020, in the
variants of DARE-EEG's scripts. No label is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from eegfound.base import SpecError, as_3d

#: How the covariance ``x x'`` of a window is scaled.
SCALINGS = ("none", "time", "trace")
#: Added to the diagonal of scaled means, and to traces.
EPSILON = 1e-6


def mean_covariance(X: np.ndarray, scaling: str = "none") -> np.ndarray:
    """Return the mean of the windows' (uncentred) covariances.

    Parameters
    ----------
    X : ndarray, shape (n_windows, n_channels, n_times)
        Windows of one recording.
    scaling : {"none", "time", "trace"}
        ``"none"``: sums over time, as in EEGPT's and DARE-EEG's plain
        alignment. ``"time"``: divided by the number of samples. ``"trace"``:
        each divided by its trace. The last two are made symmetric and get 1e-6
        on the diagonal.

    Returns
    -------
    ndarray of float64, shape (n_channels, n_channels)
        The mean.
    """
    if scaling not in SCALINGS:
        raise SpecError(f"scaling={scaling!r} is not one of {SCALINGS}.")
    X = np.asarray(X, dtype=np.float64)
    each = X @ X.transpose(0, 2, 1)
    if scaling == "time":
        each /= X.shape[-1]
    elif scaling == "trace":
        each /= (np.trace(each, axis1=1, axis2=2) + EPSILON)[:, None, None]
    mean = each.mean(axis=0)
    return mean if scaling == "none" else _regular(mean)


def _regular(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2 + EPSILON * np.eye(len(matrix))


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    # Directions that nobody recorded (average reference) stay empty.
    floor = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    raised = np.where(values > floor, np.maximum(values, floor or 1.0) ** exponent, 0.0)
    return (vectors * raised) @ vectors.T


def alignment_matrix(
    mean: np.ndarray, target: np.ndarray | None = None, *, regular: bool = False
) -> np.ndarray:
    """Return ``target^(1/2) mean^(-1/2)``.

    Parameters
    ----------
    mean : ndarray, shape (n_channels, n_channels)
        From :func:`mean_covariance`.
    target : ndarray | None, shape (n_channels, n_channels)
        Covariance that windows get on average; None is the identity.
    regular : bool
        Whether the target is made symmetric and gets 1e-6 on the diagonal.

    Returns
    -------
    ndarray, shape (n_channels, n_channels)
        To be multiplied from the left.
    """
    whiten = _power(mean, -0.5)
    if target is None:
        return whiten
    target = np.asarray(target, dtype=np.float64)
    if target.shape != mean.shape:
        raise SpecError(f"target has shape {target.shape}, the windows need {mean.shape}.")
    return _power(_regular(target) if regular else target, 0.5) @ whiten


def align(X: np.ndarray, *, scaling: str = "none", target: np.ndarray | None = None) -> np.ndarray:
    """Align the windows of one recording.

    Parameters
    ----------
    X : ndarray, shape (n_windows, n_channels, n_times)
        Windows of one recording (subject and session).
    scaling : {"none", "time", "trace"}
        See :func:`mean_covariance`.
    target : ndarray | None, shape (n_channels, n_channels)
        See :func:`alignment_matrix`; the scripts' "recolouring".

    Returns
    -------
    ndarray of float64, shape (n_windows, n_channels, n_times)
        Aligned windows. With ``scaling="none"`` samples have a spread of about
        ``1 / sqrt(n_times)``.
    """
    mean = mean_covariance(X, scaling)
    return alignment_matrix(mean, target, regular=scaling != "none") @ np.asarray(X, np.float64)


def align_by_group(
    X: np.ndarray, groups: Any, *, scaling: str = "none", target: np.ndarray | None = None
) -> np.ndarray:
    """Align each recording on its own.

    Parameters
    ----------
    X : ndarray, shape (n_windows, n_channels, n_times)
        Windows.
    groups : array-like, shape (n_windows,)
        Recording of each window.
    scaling, target
        See :func:`align`.

    Returns
    -------
    ndarray of float64, shape (n_windows, n_channels, n_times)
        Aligned windows in their order.
    """
    X, groups = np.asarray(X), np.asarray(groups)
    if len(groups) != len(X):
        raise SpecError(f"groups has {len(groups)} entries for {len(X)} windows.")
    out = np.empty(X.shape, dtype=np.float64)
    for group in np.unique(groups):
        members = groups == group
        out[members] = align(X[members], scaling=scaling, target=target)
    return out


class EuclideanAligner(TransformerMixin, BaseEstimator):
    """Euclidean alignment with the mean covariance seen in ``fit``.

    For windows of one recording; fit it anew for another one (its windows need
    no labels), or use :func:`align_by_group`.

    Parameters
    ----------
    scaling : {"none", "time", "trace"}
        See :func:`mean_covariance`; ``"time"`` is the scripts' "StableEA".
    target : array-like | None, shape (n_channels, n_channels)
        See :func:`alignment_matrix`.

    Attributes
    ----------
    mean_ : ndarray, shape (n_channels, n_channels)
        Mean covariance.
    matrix_ : ndarray, shape (n_channels, n_channels)
        What windows are multiplied with.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound_dare import EuclideanAligner
    >>> X = np.random.default_rng(0).standard_normal((6, 4, 100))
    >>> aligned = EuclideanAligner(scaling="time").fit_transform(X)
    >>> mean = (aligned @ aligned.transpose(0, 2, 1)).mean(axis=0) / 100
    >>> bool(np.allclose(mean, np.eye(4), atol=1e-4))
    True
    """

    def __init__(self, scaling: str = "none", target: Any = None) -> None:
        self.scaling = scaling
        self.target = target

    def fit(self, X: Any, y: Any = None) -> EuclideanAligner:
        """Compute the mean covariance.

        Parameters
        ----------
        X : ndarray, shape (n_windows, n_channels, n_times)
            Windows of one recording; 2-D means one channel.
        y : None
            Ignored.
        """
        X = as_3d(self._read(X, reset=True))
        self.mean_ = mean_covariance(X, self.scaling)
        self.matrix_ = alignment_matrix(self.mean_, self.target, regular=self.scaling != "none")
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return aligned windows of the shape of ``X``.

        Parameters
        ----------
        X : ndarray, shape (n_windows, n_channels, n_times)
            Windows of the same recording.
        """
        check_is_fitted(self)
        X = self._read(X, reset=False)
        windows = as_3d(X)
        if windows.shape[1] != len(self.matrix_):
            raise SpecError(f"X has {windows.shape[1]} channels, fit saw {len(self.matrix_)}.")
        return (self.matrix_ @ windows).astype(X.dtype).reshape(X.shape)

    def _read(self, X: Any, *, reset: bool) -> np.ndarray:
        return validate_data(self, X, reset=reset, allow_nd=True, dtype=[np.float64, np.float32])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
