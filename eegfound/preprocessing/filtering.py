"""Band-pass and notch filters without phase shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from eegfound.base import SpecError
from eegfound.preprocessing.signal_step import SignalStep, on_recorded

Method = Literal["iir", "fir"]


def bandpass(
    X: np.ndarray,
    sfreq: float,
    l_freq: float | None,
    h_freq: float | None,
    *,
    method: Method = "iir",
    order: int = 4,
) -> np.ndarray:
    """Keep the frequencies between ``l_freq`` and ``h_freq``.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals. Rows of NaN give rows of NaN.
    sfreq : float
        Rate in Hz.
    l_freq, h_freq : float | None
        Edges of the pass band in Hz; None leaves that side open.
    method : {"iir", "fir"}
        ``"iir"``: Butterworth filter run forward and backward
        (``scipy.signal.sosfiltfilt``; -6 dB at the edges), which suits epochs
        of a few seconds. ``"fir"``: MNE's default filter as in
        ``Raw.filter``, which is long: 6.6 s for ``l_freq=0.5``.
    order : int
        Order of the Butterworth filter.

    Returns
    -------
    ndarray, shape (..., n_times)
        Filtered signals, float32 for float32 input, else float64.

    Raises
    ------
    SpecError
        If the edges do not fit the rate, or the windows are too short.
    """
    check_band(sfreq, l_freq, h_freq)
    if method not in ("iir", "fir"):
        raise SpecError(f"method={method!r} is not one of ('iir', 'fir').")
    if l_freq is None and h_freq is None:
        return X
    n_times = X.shape[-1]
    if method == "fir":
        return _fir(X, sfreq, l_freq, h_freq)
    if l_freq is not None and n_times * l_freq < sfreq:
        raise SpecError(
            f"Windows of {n_times / sfreq:.3g} s are too short for l_freq={l_freq:g} Hz, which "
            f"needs at least {1 / l_freq:.3g} s (one period): pass longer windows, raise l_freq "
            f"to {sfreq / n_times:.2g} Hz, or filter the recording before cutting it."
        )
    from scipy.signal import butter

    edges = [f for f in (l_freq, h_freq) if f is not None]
    kind = "bandpass" if len(edges) == 2 else ("highpass" if h_freq is None else "lowpass")
    sos = butter(order, edges if len(edges) == 2 else edges[0], kind, fs=sfreq, output="sos")
    # The reflected edges must outlast the slowest transient.
    return _forward_backward(sos, X, pad_seconds=1 / min(edges), sfreq=sfreq)


def notch(
    X: np.ndarray, sfreq: float, freqs: float | Sequence[float], *, width: float = 2.0
) -> np.ndarray:
    """Take out narrow lines, such as the mains at 50 or 60 Hz.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals. Rows of NaN give rows of NaN.
    sfreq : float
        Rate in Hz.
    freqs : float | sequence of float
        Frequencies in Hz to take out.
    width : float
        Width of each notch at -6 dB, in Hz.

    Returns
    -------
    ndarray, shape (..., n_times)
        Filtered signals, float32 for float32 input, else float64.

    Raises
    ------
    SpecError
        If a notch lies beyond the Nyquist frequency, or the windows are too
        short for its width.
    """
    lines = [float(f) for f in np.atleast_1d(np.asarray(freqs, dtype=float))]
    if not width > 0:
        raise SpecError(f"width={width!r} must be a positive number of Hz.")
    for line in lines:
        if not width / 2 < line < sfreq / 2:
            raise SpecError(
                f"freqs={line:g} Hz cannot be taken out of signals at {sfreq:g} Hz: it must lie "
                f"between width/2 = {width / 2:g} Hz and the Nyquist frequency {sfreq / 2:g} Hz."
            )
    n_times = X.shape[-1]
    if lines and n_times * width < sfreq:
        raise SpecError(
            f"Windows of {n_times / sfreq:.3g} s are too short for a notch of width={width:g} Hz, "
            f"which needs at least {1 / width:.3g} s: pass longer windows, a larger width, or "
            "filter the recording before cutting it."
        )
    if not lines:
        return X
    from scipy.signal import iirnotch, tf2sos

    sos = np.concatenate([tf2sos(*iirnotch(line, line / width, fs=sfreq)) for line in lines])
    return _forward_backward(sos, X, pad_seconds=2 / width, sfreq=sfreq)


def check_band(sfreq: float, l_freq: float | None, h_freq: float | None) -> None:
    """Raise if a pass band is impossible at a rate.

    Parameters
    ----------
    sfreq : float
        Rate in Hz.
    l_freq, h_freq : float | None
        Edges in Hz.

    Raises
    ------
    SpecError
        Naming the edge that is wrong.
    """
    nyquist = sfreq / 2
    for name, edge in (("l_freq", l_freq), ("h_freq", h_freq)):
        if edge is None:
            continue
        if not edge > 0:
            raise SpecError(f"{name}={edge!r} must be a positive frequency in Hz, or None.")
        if edge >= nyquist:
            raise SpecError(
                f"{name}={edge:g} Hz is not below the Nyquist frequency {nyquist:g} Hz of signals "
                f"at {sfreq:g} Hz: lower {name} or pass None."
            )
    if l_freq is not None and h_freq is not None and l_freq >= h_freq:
        raise SpecError(f"l_freq={l_freq:g} Hz must lie below h_freq={h_freq:g} Hz.")


def _forward_backward(
    sos: np.ndarray, X: np.ndarray, *, pad_seconds: float, sfreq: float
) -> np.ndarray:
    from scipy.signal import sosfiltfilt

    n_times = X.shape[-1]
    padlen = min(n_times - 1, max(6 * (len(sos) + 1), round(pad_seconds * sfreq)))
    out = sosfiltfilt(sos, X, axis=-1, padtype="odd", padlen=padlen)
    return out.astype(X.dtype if X.dtype == np.float32 else np.float64, copy=False)


def _fir(X: np.ndarray, sfreq: float, l_freq: float | None, h_freq: float | None) -> np.ndarray:
    from mne.filter import create_filter, filter_data

    needed = len(create_filter(None, sfreq, l_freq, h_freq, verbose="error"))
    if X.shape[-1] < needed:
        edges = " and ".join(
            f"{n}={f:g} Hz" for n, f in (("l_freq", l_freq), ("h_freq", h_freq)) if f is not None
        )
        raise SpecError(
            f"Windows of {X.shape[-1] / sfreq:.3g} s are too short for the FIR filter of {edges}, "
            f"which needs at least {needed / sfreq:.3g} s: pass longer windows, method='iir', or "
            "filter the recording before cutting it."
        )
    out = filter_data(X.astype(np.float64), sfreq, l_freq, h_freq, copy=False, verbose="error")
    return out.astype(X.dtype if X.dtype == np.float32 else np.float64, copy=False)


class BandPass(SignalStep):
    """Band-pass, high-pass or low-pass filter without phase shift.

    Parameters
    ----------
    l_freq, h_freq : float | None
        Edges of the pass band in Hz; None leaves that side open.
    info : ChannelInfo | mne.Info | None
        Names and rate of the input.
    sfreq : float | None
        Rate of the input in Hz, instead of ``info``.
    method : {"iir", "fir"}
        See :func:`bandpass`.
    order : int
        Order of the Butterworth filter (``method="iir"``).

    Attributes
    ----------
    sfreq_ : float | None
        Rate of the input.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Notes
    -----
    A filter knows nothing of what lies outside the window. Where the
    continuous recording is at hand, filter that before cutting it.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import BandPass
    >>> X = np.random.default_rng(0).standard_normal((3, 22, 1000)) * 1e-5
    >>> BandPass(8, 30, sfreq=250).fit_transform(X).shape
    (3, 22, 1000)
    """

    def __init__(
        self,
        l_freq: float | None = None,
        h_freq: float | None = None,
        *,
        info: Any = None,
        sfreq: float | None = None,
        method: Method = "iir",
        order: int = 4,
    ) -> None:
        self.l_freq = l_freq
        self.h_freq = h_freq
        self.info = info
        self.sfreq = sfreq
        self.method = method
        self.order = order

    def _check(self, X: np.ndarray, presence: np.ndarray) -> None:
        # One silent window is enough to find out what does not fit.
        self._filter(np.zeros((1, X.shape[-1])))

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        return on_recorded(self._filter, X, presence)

    def _filter(self, rows: np.ndarray) -> np.ndarray:
        if self.l_freq is None and self.h_freq is None:
            return rows
        return bandpass(
            rows,
            self._needed_rate(),
            self.l_freq,
            self.h_freq,
            method=self.method,
            order=self.order,
        )


class Notch(SignalStep):
    """Take out the mains and other narrow lines, without phase shift.

    Parameters
    ----------
    freqs : float | sequence of float | None
        Frequencies in Hz, such as 50 or ``[60, 120]``; None changes nothing.
    info : ChannelInfo | mne.Info | None
        Names and rate of the input.
    sfreq : float | None
        Rate of the input in Hz, instead of ``info``.
    width : float
        Width of each notch at -6 dB, in Hz.

    Attributes
    ----------
    sfreq_ : float | None
        Rate of the input.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import Notch
    >>> X = np.random.default_rng(0).standard_normal((3, 22, 1000)) * 1e-5
    >>> Notch(50, sfreq=250).fit_transform(X).shape
    (3, 22, 1000)
    """

    def __init__(
        self,
        freqs: float | Sequence[float] | None = None,
        *,
        info: Any = None,
        sfreq: float | None = None,
        width: float = 2.0,
    ) -> None:
        self.freqs = freqs
        self.info = info
        self.sfreq = sfreq
        self.width = width

    def _check(self, X: np.ndarray, presence: np.ndarray) -> None:
        self._filter(np.zeros((1, X.shape[-1])))

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        return on_recorded(self._filter, X, presence)

    def _filter(self, rows: np.ndarray) -> np.ndarray:
        if self.freqs is None:
            return rows
        return notch(rows, self._needed_rate(), self.freqs, width=self.width)
