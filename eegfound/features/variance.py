"""Log variance of each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from eegfound.features.feature_step import FeatureStep

#: Smallest variance in squared microvolts that goes into a logarithm.
FLOOR = 1e-12


def log_variance(X: np.ndarray) -> np.ndarray:
    """Return the natural logarithm of the variance over time.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals in microvolts.

    Returns
    -------
    ndarray, shape (...)
        ``log(var)``; variances below 1e-12 squared microvolts count as that.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.features import log_variance
    >>> float(log_variance(np.array([-1.0, 1.0])))
    0.0
    """
    # The mean goes first and the sum is in double: offsets cost float32 its digits.
    centred = X - X.mean(axis=-1, keepdims=True, dtype=np.float64)
    variance = np.square(centred).mean(axis=-1)
    return np.log(np.maximum(variance, FLOOR)).astype(X.dtype, copy=False)


class LogVariance(FeatureStep):
    """Log variance of each channel, in log squared microvolts.

    Of band-passed epochs it is the log band power; of spatially filtered
    epochs (CSP) it is the classical motor-imagery feature.

    Parameters
    ----------
    info : ChannelInfo | mne.Info | None
        Names (and rate) of the input; with it the unit is checked.
    unit : str
        Unit of arrays; Epochs are always in volts.
    missing : {"raise", "nan"}
        What to do with channels that are all NaN: an error, or NaN features.

    Attributes
    ----------
    ch_names_ : tuple of str | None
        Channel names, as stated or read from the Epochs.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import ChannelInfo
    >>> from eegfound.features import LogVariance
    >>> X = np.random.default_rng(0).normal(scale=1e-5, size=(4, 2, 500))
    >>> step = LogVariance(info=ChannelInfo(["C3", "C4"], sfreq=250)).fit(X)
    >>> step.transform(X).shape, step.get_feature_names_out().tolist()
    ((4, 2), ['C3.logvar', 'C4.logvar'])
    """

    _needs_rate = False

    def __init__(self, *, info: Any = None, unit: str = "V", missing: str = "raise") -> None:
        self.info = info
        self.unit = unit
        self.missing = missing

    def _features(self, X: np.ndarray) -> np.ndarray:
        return log_variance(X)[..., np.newaxis]

    def _columns(self) -> tuple[str, ...]:
        return ("logvar",)
