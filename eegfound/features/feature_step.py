"""What the feature Transformers have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from eegfound.base import SignalWarning, SpecError, check_unit, is_epochs, unit_factor
from eegfound.preprocessing.signal_step import SignalReader, on_recorded

#: Rate taken for single-channel rows about which nothing was said.
NOMINAL_SFREQ = 200.0
#: Samples that go through at once: intermediate arrays stay near the cache
#: size, whatever the number of epochs.
CHUNK_SAMPLES = 2**20


def in_chunks(function: Callable[[np.ndarray], np.ndarray], X: np.ndarray) -> np.ndarray:
    """Apply a function to blocks of the first axis and join the results.

    Parameters
    ----------
    function : callable
        Treats each entry of the first axis on its own.
    X : ndarray, shape (n, ..., n_times)
        Signals.

    Returns
    -------
    ndarray, shape (n, ...)
        ``function(X)``.
    """
    per_entry = max(1, X[:1].size)
    block = max(1, CHUNK_SAMPLES // per_entry)
    if len(X) <= block:
        return function(X)
    return np.concatenate([function(X[i : i + block]) for i in range(0, len(X), block)])


class FeatureStep(TransformerMixin, SignalReader):
    """A Transformer from signals to a table of features; not for direct use.

    Subclasses have the constructor parameters ``info``, ``unit`` and
    ``missing`` (and ``sfreq`` where they need a rate) and define
    ``_features(X)`` on microvolts and ``_columns()``.
    """

    _needs_rate = True

    # Constructor parameters that every subclass has.
    info: Any
    unit: str
    missing: str

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check parameters, rate and unit against the data; nothing is learned.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        signals, _ = self._signals(X, reset=True)
        self.n_times_in_ = signals.shape[-1]
        if self._needs_rate and self.sfreq_ is None:
            if not self.flat_:
                raise SpecError(
                    f"{type(self).__name__} must know the rate of X: pass info= (epochs.info or a "
                    "ChannelInfo) or sfreq=."
                )
            warnings.warn(
                f"{type(self).__name__} was not told the rate of X and takes it for "
                f"{NOMINAL_SFREQ:g} Hz; pass info= or sfreq=.",
                SignalWarning,
                stacklevel=2,
            )
            self.sfreq_ = NOMINAL_SFREQ
        self._check_fit(signals)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features of each epoch.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        ndarray, shape (n_epochs, n_features)
            Features, float32 for float32 input, else float64.
        """
        check_is_fitted(self)
        signals, presence = self._signals(X, reset=False)
        factor = unit_factor("V" if is_epochs(X) else self.unit, "uV")

        def of_block(block: np.ndarray) -> np.ndarray:
            return self._features(block if factor == 1 else block * block.dtype.type(factor))

        return self._shape(on_recorded(partial(in_chunks, of_block), signals, presence))

    def _signals(self, X: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        if self.missing not in ("raise", "nan"):
            raise SpecError(f"missing={self.missing!r} is not one of ('raise', 'nan').")
        signals, presence = self._read(X, reset=reset)
        if self.missing == "raise" and not presence.all():
            channel = int(np.argmin(presence.all(axis=0)))
            name = self.ch_names_[channel] if self.ch_names_ else channel
            raise SpecError(
                f"X contains NaN: channel {name} was not recorded in "
                f"{int((~presence[:, channel]).sum())} epoch(s). Fill it with "
                "MontageMapper(missing='interpolate') first, or pass missing='nan' to get NaN "
                "features."
            )
        if is_epochs(X) or self.info is not None:
            check_unit(signals, "V" if is_epochs(X) else self.unit)
        else:
            unit_factor(self.unit)
        return signals, presence

    def _check_fit(self, X: np.ndarray) -> None:
        """Raise if the parameters do not fit ``X``."""

    def _features(self, X: np.ndarray) -> np.ndarray:
        """Return features of microvolts, shape (..., n_times) -> (..., n)."""
        raise TypeError(f"{type(self).__name__} does not say which features it computes.")

    def _columns(self) -> Sequence[str]:
        """Return the name of each feature of one channel."""
        return ("",)

    def _shape(self, features: np.ndarray) -> np.ndarray:
        return features.reshape(len(features), -1)

    @property
    def _rate(self) -> float:
        return float(self.sfreq_ or NOMINAL_SFREQ)

    def _is_table(self) -> bool:
        return True

    @available_if(_is_table)
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features.

        Parameters
        ----------
        input_features : array-like of str | None
            Channel names of the step before; used where ``fit`` saw no names.

        Returns
        -------
        ndarray of str
            Channel and feature, such as ``"C3.alpha"``.
        """
        check_is_fitted(self)
        n_channels = 1 if self.flat_ else self.n_features_in_
        names = self.ch_names_
        if names is None and input_features is not None and len(input_features) == n_channels:
            names = tuple(input_features)
        if names is None:
            names = tuple(f"ch{i}" for i in range(n_channels))
        columns = self._columns()
        return np.asarray([f"{n}.{c}" if c else n for n in names for c in columns], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
