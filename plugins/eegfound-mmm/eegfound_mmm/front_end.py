"""From windows of EEG to what MMM reads: normalized differential entropy."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any, Literal

import numpy as np

from eegfound.base import SignalWarning, SpecError
from eegfound.features import DifferentialEntropy
from eegfound_mmm.normalization import BandStatistics, Normalization, check_normalization

#: Bands the network reads: delta, theta, alpha, beta, gamma.
N_BANDS = 5
_SCOPES = ("pooled", "recording")


class DifferentialEntropyFrontEnd:
    """Differential entropy per channel, second and band, normalized per band.

    Parameters
    ----------
    plan : InputPlan
        The estimator's plan; tells the rate of the signal and of the recording.
    bands : {"seed", "seed_shared"} | mapping of str to (float, float)
        Five intervals in Hz. ``"seed"`` is the paper's appendix (1-3, 4-7,
        8-13, 14-30, 31-50), ``"seed_shared"`` its main text (1-4, 4-8, 8-14,
        14-31, 31-50).
    window_seconds : float | None
        Length of a window, each of which the network reads on its own. None:
        the whole epoch is one window.
    smoothing : {"lds"} | None
        ``"lds"`` smooths the windows of an epoch as SEED's files are (offline,
        within the epoch only); see :class:`eegfound.features.DifferentialEntropy`.
    noise_ratio : float
        Strength of that smoothing.
    normalization : {"gaussian", "minmax"}
        By mean and population standard deviation, or by minimum and maximum.
    statistics : {"pooled", "recording"}
        ``"pooled"``: one set of statistics over all training epochs, channels
        and windows. ``"recording"``: one per recording, told by ``groups``.

    Attributes
    ----------
    pooled_ : BandStatistics
        Over all training epochs.
    recordings_ : dict
        Recording to its statistics (empty for ``statistics="pooled"``).

    Notes
    -----
    With ``statistics="recording"`` an epoch gets the statistics of its own
    recording where that is known: when ``transform`` is told ``groups``, and for
    the epochs of ``fit``, which are recognized by their samples. All other
    epochs get the pooled statistics, with a warning.
    """

    def __init__(
        self, plan: Any, *, bands: Any = "seed", window_seconds: float | None = 1.0,
        smoothing: Literal["lds"] | None = None, noise_ratio: float = 0.1,
        normalization: Normalization = "gaussian", statistics: str = "pooled",
    ) -> None:  # fmt: skip
        check_normalization(normalization)
        if statistics not in _SCOPES:
            raise SpecError(f"statistics={statistics!r} is not one of {_SCOPES}.")
        if window_seconds is not None and not window_seconds > 0:
            raise SpecError(f"window_seconds={window_seconds!r} must be positive or None.")
        self.plan = plan
        self.bands = bands
        self.window_seconds = window_seconds
        self.smoothing = smoothing
        self.noise_ratio = noise_ratio
        self.normalization = normalization
        self.statistics = statistics

    def fit(
        self, signal: np.ndarray, groups: Any = None, sample_weight: Any = None
    ) -> DifferentialEntropyFrontEnd:
        """Learn the statistics of the training epochs.

        Parameters
        ----------
        signal : ndarray, shape (n_epochs, n_channels, n_times)
            Microvolts at the model's rate; NaN where not recorded.
        groups : array-like, shape (n_epochs,) | None
            Recording of each epoch; needed for ``statistics="recording"``.
        sample_weight : array-like, shape (n_epochs,) | None
            Weight of each epoch in means and spreads.

        Returns
        -------
        DifferentialEntropyFrontEnd
            Itself.

        Raises
        ------
        SpecError
            If the recording's rate cannot carry the bands, the bands are not
            five, or recordings are asked for and none is told.
        """
        self.entropy_ = DifferentialEntropy(
            self.bands, window_seconds=self.window_seconds, smoothing=self.smoothing,
            noise_ratio=self.noise_ratio, output="sequence", sfreq=self.plan.spec.sfreq,
            unit=self.plan.spec.unit, missing="nan",
        ).fit(signal)  # fmt: skip
        self._check_rate()
        raw = self._entropy(signal)
        if raw.shape[-1] != N_BANDS:
            raise SpecError(
                f"bands names {raw.shape[-1]} intervals, but MMM reads {N_BANDS} bands (delta, "
                "theta, alpha, beta, gamma)."
            )
        # The entropy of a flat channel is the floor of a logarithm: one of them
        # would move the statistics, and so the features of all other epochs.
        flat = signal.max(axis=-1) == signal.min(axis=-1)
        recorded = ~np.isnan(signal[..., 0])
        if flat.any() and (recorded & ~flat).any():
            warnings.warn(
                f"{int(flat.any(axis=1).sum())} epoch(s) have flat channels, which are left out of "
                "the statistics: set channels that were not recorded to NaN.",
                SignalWarning,
                stacklevel=2,
            )
            raw = raw.copy()
            raw[flat] = np.nan
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        self.pooled_ = BandStatistics.of(raw, weight)
        self.recordings_: dict[Any, BandStatistics] = {}
        self._seen: dict[bytes, Any] = {}
        if self.statistics == "recording":
            if groups is None:
                raise SpecError(
                    "statistics='recording' needs to know the recordings: pass fit(..., groups=), "
                    "or statistics='pooled'."
                )
            self._fit_recordings(signal, raw, np.asarray(groups), weight)
        return self

    def _fit_recordings(
        self, signal: np.ndarray, raw: np.ndarray, groups: np.ndarray, weight: np.ndarray | None
    ) -> None:
        names, which = np.unique(groups, return_inverse=True)
        for code, name in enumerate(names.tolist()):
            own = np.flatnonzero(which == code)
            self.recordings_[name] = BandStatistics.of(
                raw[own], None if weight is None else weight[own]
            )
            for epoch in own:
                key = _digest(signal[epoch])
                # The same samples in two recordings belong to neither.
                known = self._seen.get(key, name)
                self._seen[key] = name if known == name else None

    def _check_rate(self) -> None:
        from eegfound.features.bands import check_bands, resolve_bands

        check_bands(resolve_bands(self.bands), self.plan.info.sfreq)

    def _entropy(self, signal: np.ndarray) -> np.ndarray:
        """Return ``(n_epochs, n_channels, n_windows, n_bands)``."""
        # (n, windows, channels, bands), as features come, to channels first.
        return self.entropy_.transform(signal).transpose(0, 2, 1, 3)

    def transform(self, signal: np.ndarray, groups: Any = None) -> np.ndarray:
        """Compute and normalize the features of each epoch.

        Parameters
        ----------
        signal : ndarray, shape (n_epochs, n_channels, n_times)
            Microvolts at the model's rate; NaN where not recorded.
        groups : array-like, shape (n_epochs,) | None
            Recording of each epoch, for ``statistics="recording"``.

        Returns
        -------
        ndarray of float32, shape (n_epochs, n_channels, n_windows, 5)
            NaN where not recorded.
        """
        raw = self._entropy(signal)
        out = self.pooled_.apply(raw, self.normalization).astype(np.float32)
        if not self.recordings_:
            return out
        if groups is None:
            told = [self._seen.get(_digest(epoch)) for epoch in signal]
        else:
            told = np.asarray(groups).tolist()
        for name in set(told) & set(self.recordings_):
            own = [i for i, other in enumerate(told) if other == name]
            out[own] = self.recordings_[name].apply(raw[own], self.normalization)
        strangers = sum(name not in self.recordings_ for name in told)
        if strangers:
            warnings.warn(
                f"{strangers} epoch(s) are of no recording that fit saw and get the statistics of "
                "all recordings together: fit on part of the same recording, or use "
                "statistics='pooled' for training epochs too.",
                SignalWarning,
                stacklevel=2,
            )
        return out


def _digest(epoch: np.ndarray) -> bytes:
    data = np.ascontiguousarray(epoch, dtype=np.float32)
    return hashlib.blake2b(data.tobytes(), digest_size=16).digest()


def build_front_end(plan: Any, **options: Any) -> DifferentialEntropyFrontEnd:
    """Build the front end; see :class:`DifferentialEntropyFrontEnd`."""
    return DifferentialEntropyFrontEnd(plan, **options)
