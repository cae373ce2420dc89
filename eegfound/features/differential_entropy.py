"""Differential entropy in frequency bands, as used with the SEED data sets."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from eegfound.base import SignalWarning, SpecError
from eegfound.features.bands import Bands, band_bins, check_bands, resolve_bands
from eegfound.features.feature_step import FeatureStep
from eegfound.features.smoothing import smooth_random_walk

#: Smallest energy that goes into the logarithm (a flat channel has none).
FLOOR = 1e-30
#: SEED's files hold log2(100 E).
LOG_FACTOR = 100.0
OUTPUTS = ("mean", "concat", "sequence")
#: Samples that are transformed at a time: larger parts come from fresh pages of memory.
CHUNK = 2**16


def band_energy(
    X: np.ndarray, sfreq: float, bands: str | Bands = "seed", *, window_seconds: float | None = 1.0
) -> np.ndarray:
    r"""Return the mean spectral energy in bands, window by window.

    With :math:`N` samples per window, :math:`w` the symmetric Hann window and
    :math:`f_k = k\,\mathrm{sfreq}/N`,

    .. math::
        P_k = \Bigl|\sum_{t=0}^{N-1} x_t w_t e^{-2\pi i k t/N}\Bigr|^2, \qquad
        E = \operatorname{mean}\{P_k : \mathrm{low} \le f_k \le \mathrm{high}\}.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals in microvolts.
    sfreq : float
        Rate in Hz.
    bands : {"seed", "seed_shared", "classic"} | mapping of str to (float, float)
        Intervals in Hz, both ends included.
    window_seconds : float | None
        Length of the windows, which do not overlap; a rest at the end is left
        out. None, or epochs shorter than that: one window.

    Returns
    -------
    ndarray, shape (..., n_windows, n_bands)
        Energy, neither divided by :math:`N` nor doubled.
    """
    from scipy.fft import rfft

    table = resolve_bands(bands)
    check_bands(table, sfreq)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    n_times = X.shape[-1]
    length = n_times if window_seconds is None else min(n_times, round(window_seconds * sfreq))
    if length < 1:
        raise SpecError(
            f"window_seconds={window_seconds!r} is less than one sample at {sfreq:g} Hz."
        )
    n_windows = n_times // length
    n_fft = _padded_length(length, sfreq, table)
    bins = band_bins(np.arange(n_fft // 2 + 1) * sfreq / n_fft, table, closed=True)
    # Only bins of some band are squared, and each once.
    low, high = min(b.start for _, b in bins), max(b.stop for _, b in bins)
    rows, taper = X.reshape(-1, n_times), symmetric_hann(length).astype(X.dtype)
    out = np.empty((len(rows), n_windows, len(bins)), dtype=X.dtype)
    # A few channels at a time: what lies between stays in the processor's cache.
    step = max(1, min(len(rows), CHUNK // (n_windows * n_fft)))
    windows = np.empty((step, n_windows, length), dtype=X.dtype)
    energy = np.empty((step, n_windows, high - low), dtype=X.dtype)
    for first in range(0, len(rows), step):
        some = rows[first : first + step, : n_windows * length]
        windows, energy = windows[: len(some)], energy[: len(some)]  # the last are fewer
        np.multiply(some.reshape(windows.shape), taper, out=windows)
        parts = rfft(windows, n_fft, axis=-1).view(X.dtype)[..., 2 * low : 2 * high]
        np.square(parts, out=parts)  # real, imaginary, real, ...
        np.add(parts[..., ::2], parts[..., 1::2], out=energy)
        for i, (_, band) in enumerate(bins):
            part = energy[..., band.start - low : band.stop - low]
            np.add.reduce(part, axis=-1, out=out[first : first + step, :, i])
    out /= np.array([band.stop - band.start for _, band in bins], dtype=X.dtype)
    return out.reshape(*X.shape[:-1], n_windows, len(bins))


def differential_entropy(
    X: np.ndarray, sfreq: float, bands: str | Bands = "seed", *, window_seconds: float | None = 1.0
) -> np.ndarray:
    """Return ``log2(100 E)`` of the energy ``E`` in bands, window by window.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals in microvolts.
    sfreq : float
        Rate in Hz.
    bands : {"seed", "seed_shared", "classic"} | mapping of str to (float, float)
        Intervals in Hz, both ends included.
    window_seconds : float | None
        Length of the windows; see :func:`band_energy`.

    Returns
    -------
    ndarray, shape (..., n_windows, n_bands)
        For a Gaussian signal an affine function of its differential entropy.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.features import differential_entropy
    >>> X = np.random.default_rng(0).normal(scale=10, size=(62, 800))  # microvolts
    >>> differential_entropy(X, sfreq=200).shape
    (62, 4, 5)
    """
    energy = band_energy(X, sfreq, bands, window_seconds=window_seconds)
    floor = np.asarray(FLOOR, dtype=energy.dtype)
    return np.log2(LOG_FACTOR * np.maximum(energy, floor))


def symmetric_hann(length: int) -> np.ndarray:
    """Return the Hann window whose both ends are zero (1 for a single sample)."""
    if length == 1:
        return np.ones(1)
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))


def _padded_length(length: int, sfreq: float, table: Bands) -> int:
    """Return the DFT length: the window's own, unless a band would hold no bin."""
    for low, high in table.values():
        slack = 1e-9 * sfreq
        first = np.ceil((low - slack) * length / sfreq)
        if first * sfreq / length > high + slack:
            return max(length, int(np.ceil(sfreq)))
    return length


class DifferentialEntropy(FeatureStep):
    """Differential entropy of each channel in frequency bands.

    The feature of the SEED data sets: windows of one second, Hann window,
    ``log2`` of one hundred times the mean energy of each band.

    Parameters
    ----------
    bands : {"seed", "seed_shared", "classic"} | mapping of str to (float, float)
        Intervals in Hz, both ends included. "seed": delta 1-3, theta 4-7,
        alpha 8-13, beta 14-30, gamma 31-50; "seed_shared" has common edges.
    window_seconds : float | None
        Length of the windows; None is the whole epoch.
    smoothing : {"lds"} | None
        ``"lds"`` smooths each epoch's sequence of windows with a linear
        dynamical system (:func:`smooth_random_walk`), as SEED's published
        files were. It looks ahead within the epoch, never across epochs.
    noise_ratio : float
        For ``smoothing="lds"``: variance of the random walk over that of the
        observation noise. SEED's own value is not published.
    output : {"mean", "concat", "sequence"}
        ``"mean"`` over windows, ``"concat"`` of all windows, or a 4-D
        ``"sequence"``.
    info : ChannelInfo | mne.Info | None
        Names and rate of the input; with it the unit is checked.
    sfreq : float | None
        Rate of the input in Hz, instead of ``info``.
    unit : str
        Unit of arrays; Epochs are always in volts.
    missing : {"raise", "nan"}
        What to do with channels that are all NaN: an error, or NaN features.

    Attributes
    ----------
    sfreq_ : float
        Rate of the input. Single-channel rows (2-D) about which nothing is
        stated are taken for 200 Hz, with a warning.
    n_times_in_ : int
        Samples per epoch seen in ``fit``.
    ch_names_ : tuple of str | None
        Channel names, as stated or read from the Epochs.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    See Also
    --------
    differential_entropy : The same on plain arrays.

    References
    ----------
    Duan, Zhu & Lu (2013), Differential entropy feature for EEG-based emotion
    classification. https://doi.org/10.1109/NER.2013.6695876

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import ChannelInfo
    >>> from eegfound.features import DifferentialEntropy
    >>> X = np.random.default_rng(0).normal(scale=1e-5, size=(4, 2, 800))
    >>> step = DifferentialEntropy(info=ChannelInfo(["C3", "C4"], sfreq=200)).fit(X)
    >>> step.transform(X).shape, step.get_feature_names_out()[:2].tolist()
    ((4, 10), ['C3.delta', 'C3.theta'])
    """

    def __init__(
        self,
        bands: str | Bands = "seed",
        *,
        window_seconds: float | None = 1.0,
        smoothing: Literal["lds"] | None = None,
        noise_ratio: float = 0.1,
        output: Literal["mean", "concat", "sequence"] = "mean",
        info: Any = None,
        sfreq: float | None = None,
        unit: str = "V",
        missing: str = "raise",
    ) -> None:
        self.bands = bands
        self.window_seconds = window_seconds
        self.smoothing = smoothing
        self.noise_ratio = noise_ratio
        self.output = output
        self.info = info
        self.sfreq = sfreq
        self.unit = unit
        self.missing = missing

    def _check_fit(self, X: np.ndarray) -> None:
        if self.output not in OUTPUTS:
            raise SpecError(f"output={self.output!r} is not one of {OUTPUTS}.")
        if self.smoothing not in (None, "lds"):
            raise SpecError(f"smoothing={self.smoothing!r} is not one of (None, 'lds').")
        table = resolve_bands(self.bands)
        check_bands(table, self._rate)
        if self.window_seconds is None:
            return
        length = round(self.window_seconds * self._rate)
        if X.shape[-1] < length:
            warnings.warn(
                f"Epochs of {X.shape[-1] / self._rate:.3g} s are shorter than "
                f"window_seconds={self.window_seconds:g}; each is one window.",
                SignalWarning,
                stacklevel=3,
            )

    def _features(self, X: np.ndarray) -> np.ndarray:
        values = differential_entropy(X, self._rate, self.bands, window_seconds=self.window_seconds)
        if self.smoothing == "lds":
            values = smooth_random_walk(values, self.noise_ratio, axis=-2)
        return values.mean(axis=-2) if self.output == "mean" else values

    def _shape(self, features: np.ndarray) -> np.ndarray:
        # (n_epochs, n_channels, n_windows, n_bands) -> windows in front of channels
        if self.output == "sequence":
            return np.ascontiguousarray(features.transpose(0, 2, 1, 3))
        if self.output == "concat" and features.shape[2] != self._n_windows():
            raise SpecError(
                f"X has {features.shape[2]} windows per epoch, but DifferentialEntropy was fitted "
                f"with {self._n_windows()}: pass epochs of the same length, or output='mean'."
            )
        return features.reshape(len(features), -1)

    def _is_table(self) -> bool:
        return self.output != "sequence"

    def _columns(self) -> tuple[str, ...]:
        bands = tuple(resolve_bands(self.bands))
        if self.output == "mean":
            return bands
        return tuple(f"{band}.w{i}" for i in range(self._n_windows()) for band in bands)

    def _n_windows(self) -> int:
        if self.window_seconds is None:
            return 1
        return max(1, self.n_times_in_ // round(self.window_seconds * self._rate))
