"""What all steps on signals have in common: reading the input in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from eegfound.base import (
    ChannelInfo,
    SpecError,
    as_3d,
    as_channel_info,
    epochs_to_array,
    is_epochs,
    presence_mask,
)

#: Relative difference up to which two rates are the same.
SAME_RATE = 1e-6


def on_recorded(
    function: Callable[[np.ndarray], np.ndarray], X: np.ndarray, presence: np.ndarray
) -> np.ndarray:
    """Apply a function of single channels to the recorded channels only.

    Parameters
    ----------
    function : callable
        Works on the last axis of an array and knows nothing of the others.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals.
    presence : ndarray of bool, shape (n_epochs, n_channels)
        Which channels were recorded.

    Returns
    -------
    ndarray, shape (n_epochs, n_channels, ...)
        NaN where nothing was recorded.
    """
    if presence.all():
        return function(X)
    recorded = function(X[presence])
    out = np.full((*X.shape[:2], *recorded.shape[1:]), np.nan, dtype=recorded.dtype)
    out[presence] = recorded
    return out


class SignalReader(BaseEstimator):
    """Reads arrays and Epochs against what ``info`` and the rate parameter say.

    Not for direct use. Subclasses may have the constructor parameters
    ``info`` and the one that ``_rate_name`` names.
    """

    #: Constructor parameter that holds the rate of the input.
    _rate_name = "sfreq"

    def _stated(self) -> tuple[ChannelInfo | None, float | None]:
        """Return the channel facts and the rate that the parameters state."""
        name = self._rate_name
        info = getattr(self, "info", None)
        info = None if info is None else as_channel_info(info)
        rate = getattr(self, name, None)
        if rate is not None and not 0 < rate < float("inf"):
            raise SpecError(f"{name}={rate!r} is not a rate: give samples per second (Hz).")
        if info is not None and rate is not None and not _same(rate, info.sfreq):
            raise SpecError(
                f"{name}={rate:g} Hz contradicts info, whose rate is {info.sfreq:g} Hz: "
                f"leave {name} out."
            )
        return info, rate if rate is not None else (info.sfreq if info else None)

    def _read(self, X: Any, *, reset: bool, **options: Any) -> Any:
        """Return the signals as a 3-D array and which channels are recorded.

        Sets ``n_features_in_``, ``sfreq_`` (None when nothing says it),
        ``ch_names_`` (None likewise) and ``flat_`` (input was 2-D) when
        ``reset``. Extra options go to ``validate_data``; with ``y`` the
        validated targets are returned as third value.
        """
        info, rate = self._stated()
        if is_epochs(X):
            X, found = epochs_to_array(X)
            X, info, rate = self._align(X, found, info, rate, reset=reset)
        if info is not None and getattr(X, "ndim", 2) == 3:
            as_3d(X, info=info)  # says which channels are meant, before scikit-learn counts
        checked = validate_data(
            self,
            X,
            reset=reset,
            allow_nd=True,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            **options,
        )
        X, *y = checked if isinstance(checked, tuple) else (checked,)
        if reset:
            self.flat_ = X.ndim == 2
            self.sfreq_ = rate
            self.ch_names_ = None if info is None else tuple(info.ch_names)
        elif self.flat_ != (X.ndim == 2):
            raise SpecError(
                f"{type(self).__name__} was fitted with {2 if self.flat_ else 3}-D arrays, "
                f"got shape {X.shape}."
            )
        X = as_3d(X, info=info)
        return (X, presence_mask(X), *y)

    def _align(
        self,
        X: np.ndarray,
        found: ChannelInfo,
        info: ChannelInfo | None,
        rate: float | None,
        *,
        reset: bool,
    ) -> tuple[np.ndarray, ChannelInfo, float]:
        """Check Epochs against the parameters (or ``fit``) and order their channels."""
        wanted, source = (None if info is None else info.ch_names), "info names"
        if not reset:
            rate = self.sfreq_ if rate is None else rate
            if wanted is None:
                wanted, source = self.ch_names_, "fit saw"
        if rate is not None and not _same(rate, found.sfreq):
            stated = self._stated()[1]
            raise SpecError(
                f"The Epochs have a rate of {found.sfreq:g} Hz, but "
                + (
                    f"{type(self).__name__} was told {rate:g} Hz "
                    f"({self._rate_name}= or info=): pass info=epochs.info."
                    if stated is not None
                    else f"{type(self).__name__} was fitted at {rate:g} Hz: "
                    f"call epochs.resample({rate:g}) first."
                )
            )
        if wanted is not None:
            lacking = [name for name in wanted if name not in found.ch_names]
            if lacking:
                raise SpecError(f"The Epochs lack the channel(s) {lacking} that {source}.")
            order = [found.ch_names.index(name) for name in wanted]
            if order != list(range(X.shape[1])):
                X = X[:, order]
                kinds = None if found.ch_types is None else [found.ch_types[i] for i in order]
                found = found.replace(ch_names=wanted, ch_types=kinds)
        return X, info or found, found.sfreq


class SignalStep(TransformerMixin, SignalReader, auto_wrap_output_keys=None):
    """A Transformer from signals to signals; not for direct use.

    Subclasses define ``_apply(X, presence)`` on 3-D arrays, and ``_check()``
    for their parameters.
    """

    #: Whether 2-D input gives 2-D output.
    _keeps_form = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Signals have three axes; a data frame has two. See set_output.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)  # type: ignore[call-arg]

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters against the data; nothing is learned.

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
        X, presence = self._read(X, reset=True)
        self._check(X, presence)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Apply the step to each epoch.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals; channels that are all NaN stay NaN.

        Returns
        -------
        ndarray
            Signals in the form (2-D or 3-D) and precision of ``X``.
        """
        check_is_fitted(self)
        X, presence = self._read(X, reset=False)
        self._check(X, presence)
        out = self._apply(X, presence)
        return out[:, 0] if self.flat_ and self._keeps_form else out

    def _check(self, X: np.ndarray, presence: np.ndarray) -> None:
        """Raise if the parameters do not fit ``X``."""

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        return X

    def _needed_rate(self) -> float:
        if self.sfreq_ is None:
            raise SpecError(
                f"{type(self).__name__} must know the rate of X: pass info= (epochs.info or a "
                f"ChannelInfo) or {self._rate_name}=."
            )
        return self.sfreq_

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: signals stay arrays.

        The method is there so that ``Pipeline.set_output`` reaches the steps
        behind this one whose output is a table.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} | None
            Ignored.

        Returns
        -------
        self
        """
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of axis 1 of the output: channels.

        Parameters
        ----------
        input_features : array-like of str | None
            Channel names of the step before; used where ``fit`` saw no names.

        Returns
        -------
        ndarray of str
            ``"ch0"``, ``"ch1"``, … where nothing names the channels; for 2-D
            input ``"t0"``, ``"t1"``, … (the samples).
        """
        check_is_fitted(self)
        if self.flat_:
            return np.asarray(
                [f"t{i}" for i in range(self._length(self.n_features_in_))], dtype=object
            )
        names = self.ch_names_
        if names is None and input_features is not None:
            names = tuple(input_features)
        if names is None:
            names = tuple(f"ch{i}" for i in range(self.n_features_in_))
        return np.asarray(names, dtype=object)

    def _length(self, n_times: int) -> int:
        """Return the number of samples out for ``n_times`` samples in."""
        return n_times

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_RATE * max(a, b)
