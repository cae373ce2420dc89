"""Changing the sampling rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import numpy as np

from eegfound.base import SpecError
from eegfound.preprocessing.signal_step import SignalStep, on_recorded

Method = Literal["polyphase", "fft", "nearest"]
METHODS = ("polyphase", "fft", "nearest")
#: Largest numerator or denominator of the ratio of two rates. A rate such as
#: 127.88 Hz needs 3197; the error of the approximation stays below one sample
#: in a month of EEG.
MAX_TERM = 10_000
#: Samples by which the Fourier method continues a signal at either end, at least.
EDGE = 100


def rate_ratio(sfreq_in: float, sfreq_out: float) -> Fraction:
    """Return ``sfreq_out / sfreq_in`` as a ratio of small integers.

    Parameters
    ----------
    sfreq_in, sfreq_out : float
        Rates in Hz.

    Returns
    -------
    Fraction
        The ratio, terms up to 10 000.
    """
    for name, rate in (("sfreq_in", sfreq_in), ("sfreq_out", sfreq_out)):
        if not 0 < rate < float("inf"):
            raise SpecError(f"{name}={rate!r} is not a rate: give samples per second (Hz).")
    # Through the shortest decimal form: 0.1 is meant as 1/10, not as its binary neighbor.
    exact = Fraction(repr(float(sfreq_out))) / Fraction(repr(float(sfreq_in)))
    return exact.limit_denominator(MAX_TERM)


def resampled_length(n_times: int, sfreq_in: float, sfreq_out: float) -> int:
    """Return the length of the output of :func:`resample`.

    Parameters
    ----------
    n_times : int
        Samples in.
    sfreq_in, sfreq_out : float
        Rates in Hz.

    Returns
    -------
    int
        ``round(n_times * sfreq_out / sfreq_in)``, at least 1.
    """
    return max(1, round(n_times * rate_ratio(sfreq_in, sfreq_out)))


def resample(
    X: np.ndarray, sfreq_in: float, sfreq_out: float, method: Method = "polyphase"
) -> np.ndarray:
    """Bring signals to another sampling rate.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals at ``sfreq_in``. Rows of NaN give rows of NaN.
    sfreq_in, sfreq_out : float
        Rates in Hz.
    method : {"polyphase", "fft", "nearest"}
        ``"polyphase"``: anti-aliasing FIR filter (SciPy's ``resample_poly``),
        edges continued by point reflection, so that offsets and drifts do not
        ring. ``"fft"``: resampling of the spectrum (as ``mne.io.Raw.resample``
        does by default), edges likewise.
        ``"nearest"``: ``out[j] = in[floor(j * n_in / n_out)]``, without
        anti-aliasing.

    Returns
    -------
    ndarray, shape (..., round(n_times * sfreq_out / sfreq_in))
        Signals at ``sfreq_out``, float32 for float32 input, else float64; ``X``
        itself when the rates are equal.

    Raises
    ------
    SpecError
        If a rate is not positive or the method unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.preprocessing import resample
    >>> resample(np.zeros((22, 1000)), 250, 200).shape
    (22, 800)
    """
    if method not in METHODS:
        raise SpecError(f"method={method!r} is not one of {METHODS}.")
    X = np.asarray(X)
    if X.dtype != np.float32:
        X = X.astype(np.float64, copy=False)
    ratio = rate_ratio(sfreq_in, sfreq_out)
    if ratio == 1:
        return X
    n_in, n_out = X.shape[-1], resampled_length(X.shape[-1], sfreq_in, sfreq_out)
    if method == "nearest":
        return X[..., np.arange(n_out) * n_in // n_out]
    # The mean goes around the filter: its phases differ by 1e-3 in their gain at
    # 0 Hz, which would turn an electrode offset of millivolts into a comb.
    # It also keeps float32 exact where offsets are large.
    mean = X.mean(axis=-1, keepdims=True)
    if n_in < 2:  # nothing to filter, and SciPy cannot reflect a single point
        return np.repeat(mean, n_out, axis=-1)
    centred = X - mean
    out = (_fourier if method == "fft" else _polyphase)(centred, ratio)[..., :n_out]
    out = out.astype(X.dtype, copy=False)
    out += mean
    return out


def _polyphase(X: np.ndarray, ratio: Fraction) -> np.ndarray:
    from scipy.signal import resample_poly

    return resample_poly(X, ratio.numerator, ratio.denominator, axis=-1, padtype="antireflect")


def _fourier(X: np.ndarray, ratio: Fraction) -> np.ndarray:
    """Resample the spectrum of the signal, continued by point reflection."""
    from scipy.signal import resample as resample_spectrum

    up, down = ratio.numerator, ratio.denominator
    # Whole multiples of `down` on the left and in all: otherwise the two lengths
    # do not have the ratio of the two rates, and the signal drifts.
    left = -(-EDGE // down) * down
    total = -(-(left + X.shape[-1] + EDGE) // down) * down
    margins = [(0, 0)] * (X.ndim - 1) + [(left, total - left - X.shape[-1])]
    padded = np.pad(X, margins, mode="reflect", reflect_type="odd")
    # The transform takes the signal for periodic: both ends go down to zero.
    right = margins[-1][1]
    padded[..., :left] *= _rise(left).astype(X.dtype)
    padded[..., -right:] *= _rise(right)[::-1].astype(X.dtype)
    return resample_spectrum(padded, total // down * up, axis=-1)[..., left // down * up :]


def _rise(length: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)


class Resampler(SignalStep):
    """Resample epochs.

    Parameters
    ----------
    sfreq_in : float | None
        Rate of the input in Hz. None reads it from ``info``, or from the
        Epochs that are passed.
    sfreq_out : float | None
        Rate of the output in Hz; None changes nothing.
    info : ChannelInfo | mne.Info | None
        Names and rate of the input.
    method : {"polyphase", "fft", "nearest"}
        See :func:`resample`.

    Attributes
    ----------
    sfreq_ : float | None
        Rate of the input, as stated or read from the Epochs.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import Resampler
    >>> Resampler(250, 200).fit_transform(np.zeros((3, 22, 1000))).shape
    (3, 22, 800)
    """

    _rate_name = "sfreq_in"

    def __init__(
        self,
        sfreq_in: float | None = None,
        sfreq_out: float | None = None,
        *,
        info: Any = None,
        method: Method = "polyphase",
    ) -> None:
        self.sfreq_in = sfreq_in
        self.sfreq_out = sfreq_out
        self.info = info
        self.method = method

    def _check(self, X: np.ndarray, presence: np.ndarray) -> None:
        if self.method not in METHODS:
            raise SpecError(f"method={self.method!r} is not one of {METHODS}.")
        if self.sfreq_out is not None:
            rate_ratio(self._needed_rate(), self.sfreq_out)

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        if self.sfreq_out is None:
            return X
        rate_in, rate_out = self._needed_rate(), self.sfreq_out
        return on_recorded(
            lambda rows: resample(rows, rate_in, rate_out, method=self.method), X, presence
        )

    def _length(self, n_times: int) -> int:
        if self.sfreq_out is None:
            return n_times
        return resampled_length(n_times, self._needed_rate(), self.sfreq_out)
