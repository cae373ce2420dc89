"""Power in frequency bands."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from eegfound.base import SignalWarning, SpecError
from eegfound.features.bands import Bands, band_bins, check_bands, resolve_bands
from eegfound.features.feature_step import FeatureStep

#: Smallest power in squared microvolts that goes into a logarithm.
FLOOR = 1e-12


def band_power(
    X: np.ndarray,
    sfreq: float,
    bands: str | Bands = "classic",
    *,
    window_seconds: float | None = 2.0,
    log: bool = False,
    relative: bool = False,
) -> np.ndarray:
    """Return the power in frequency bands by Welch's method.

    Parameters
    ----------
    X : ndarray, shape (..., n_times)
        Signals in microvolts.
    sfreq : float
        Rate in Hz.
    bands : {"classic", "seed", "seed_shared"} | mapping of str to (float, float)
        Intervals in Hz, read as ``low <= f < high``.
    window_seconds : float | None
        Length of Welch's segments (Hann window, half overlapping, constant
        removed). None, or epochs shorter than that: one segment.
    log : bool
        Natural logarithm of the result.
    relative : bool
        Divide by the power between the lowest and the highest edge.

    Returns
    -------
    ndarray, shape (..., n_bands)
        Power in squared microvolts (integral of the density over the band),
        or share of the power.

    Notes
    -----
    Where the segments are too short to resolve 1 Hz, they are padded with
    zeros to one second: narrow bands then get interpolated values.

    References
    ----------
    Welch (1967), The use of fast Fourier transform for the estimation of
    power spectra. https://doi.org/10.1109/TAU.1967.1161901

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.features import band_power
    >>> wave = np.sqrt(2) * np.sin(2 * np.pi * 10 * np.arange(1000) / 250)
    >>> band_power(wave, 250, {"alpha": (8, 13), "beta": (13, 30)}).round(3).tolist()
    [1.0, 0.0]
    """
    from scipy.signal import welch

    table = resolve_bands(bands)
    check_bands(table, sfreq)
    n_times = X.shape[-1]
    segment = n_times if window_seconds is None else min(n_times, round(window_seconds * sfreq))
    if segment < 1:
        raise SpecError(
            f"window_seconds={window_seconds!r} is less than one sample at {sfreq:g} Hz."
        )
    if segment < 2:  # a single sample less its mean: no power anywhere
        power = np.zeros((*X.shape[:-1], len(table)), dtype=X.dtype)
        total = np.zeros((*X.shape[:-1], 1), dtype=X.dtype)
    else:
        n_fft = max(segment, int(np.ceil(sfreq)))
        freqs, density = welch(
            X, sfreq, window="hann", nperseg=segment, noverlap=segment // 2, nfft=n_fft, axis=-1
        )
        step = freqs[1]
        bins = band_bins(freqs, table, closed=False)
        power = np.stack([density[..., where].sum(axis=-1) for _, where in bins], axis=-1) * step
        lowest = min(where.start for _, where in bins)
        highest = max(where.stop for _, where in bins)
        total = density[..., lowest:highest].sum(axis=-1, keepdims=True) * step
    if relative:
        power = power / np.maximum(total, FLOOR)
    if log:
        power = np.log(np.maximum(power, FLOOR))
    return power.astype(X.dtype if X.dtype == np.float32 else np.float64, copy=False)


class BandPower(FeatureStep):
    """Power of each channel in frequency bands, by Welch's method.

    Parameters
    ----------
    bands : {"classic", "seed", "seed_shared"} | mapping of str to (float, float)
        Intervals in Hz, read as ``low <= f < high``. "classic": delta 1-4,
        theta 4-8, alpha 8-13, beta 13-30, gamma 30-45.
    window_seconds : float | None
        Length of Welch's segments; None is the whole epoch (one Hann-windowed
        periodogram).
    log : bool
        Natural logarithm of the power.
    relative : bool
        Share of the power between the lowest and the highest edge.
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
    ch_names_ : tuple of str | None
        Channel names, as stated or read from the Epochs.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    See Also
    --------
    band_power : The same on plain arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import ChannelInfo
    >>> from eegfound.features import BandPower
    >>> X = np.random.default_rng(0).normal(scale=1e-5, size=(4, 2, 500))
    >>> step = BandPower({"alpha": (8, 13)}, info=ChannelInfo(["C3", "C4"], sfreq=250)).fit(X)
    >>> step.transform(X).shape, step.get_feature_names_out().tolist()
    ((4, 2), ['C3.alpha', 'C4.alpha'])
    """

    def __init__(
        self,
        bands: str | Bands = "classic",
        *,
        window_seconds: float | None = 2.0,
        log: bool = True,
        relative: bool = False,
        info: Any = None,
        sfreq: float | None = None,
        unit: str = "V",
        missing: str = "raise",
    ) -> None:
        self.bands = bands
        self.window_seconds = window_seconds
        self.log = log
        self.relative = relative
        self.info = info
        self.sfreq = sfreq
        self.unit = unit
        self.missing = missing

    def _check_fit(self, X: np.ndarray) -> None:
        table = resolve_bands(self.bands)
        check_bands(table, self._rate)
        narrow = min(high - low for low, high in table.values())
        seconds = X.shape[-1] / self._rate
        if seconds * narrow < 1:
            warnings.warn(
                f"Epochs of {seconds:.3g} s cannot resolve a band of {narrow:g} Hz (that takes "
                f"{1 / narrow:.3g} s): neighboring bands share their power.",
                SignalWarning,
                stacklevel=3,
            )

    def _features(self, X: np.ndarray) -> np.ndarray:
        return band_power(
            X,
            self._rate,
            self.bands,
            window_seconds=self.window_seconds,
            log=self.log,
            relative=self.relative,
        )

    def _columns(self) -> tuple[str, ...]:
        return tuple(resolve_bands(self.bands))
