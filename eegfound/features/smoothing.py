"""Smoothing sequences of features over time."""

from __future__ import annotations

import numpy as np

from eegfound.base import SpecError


def smooth_random_walk(sequence: np.ndarray, ratio: float = 0.1, *, axis: int = 0) -> np.ndarray:
    r"""Smooth sequences with a linear dynamical system (Kalman and RTS).

    The state walks at random and is seen through noise, each entry of the
    array on its own:

    .. math:: s_t = s_{t-1} + q_t, \qquad y_t = s_t + r_t .

    The result is the mean of :math:`s_t` given the whole sequence (it is not
    causal), with no prior on :math:`s_1`.

    Parameters
    ----------
    sequence : ndarray
        Features along time ``axis``.
    ratio : float
        Variance of :math:`q` over variance of :math:`r`; small values smooth
        more. At 0 the result is the mean over time.
    axis : int
        Axis of time.

    Returns
    -------
    ndarray
        Smoothed sequences, same shape and precision.

    References
    ----------
    Rauch, Tung & Striebel (1965), Maximum likelihood estimates of linear
    dynamic systems. AIAA Journal 3(8). https://doi.org/10.2514/3.3166

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.features import smooth_random_walk
    >>> smooth_random_walk(np.array([0.0, 1.0, 0.0, 1.0]), ratio=0.0).round(3).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    if not ratio >= 0:
        raise SpecError(f"ratio={ratio!r} must be zero or positive (variance of q over that of r).")
    y = np.moveaxis(np.asarray(sequence, dtype=np.float64), axis, 0)
    n_times = len(y)
    # Variances do not depend on the data: scalars in units of r. No prior on the
    # first state means that the first observation is taken as it is.
    filtered = np.empty_like(y)
    variance = np.empty(n_times)
    filtered[0], variance[0] = y[0], 1.0
    for t in range(1, n_times):
        predicted = variance[t - 1] + ratio
        gain = predicted / (predicted + 1.0)
        filtered[t] = filtered[t - 1] + gain * (y[t] - filtered[t - 1])
        variance[t] = (1.0 - gain) * predicted
    smoothed = filtered  # backward pass in place: step t needs filtered[t] once
    for t in range(n_times - 2, -1, -1):
        gain = variance[t] / (variance[t] + ratio)
        smoothed[t] += gain * (smoothed[t + 1] - filtered[t])
    dtype = np.float32 if np.asarray(sequence).dtype == np.float32 else np.float64
    return np.moveaxis(smoothed, 0, axis).astype(dtype, copy=False)
