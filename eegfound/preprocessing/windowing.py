"""Cutting epochs and recordings into windows, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from eegfound.base import SpecError, as_channel_info
from eegfound.preprocessing.signal_step import SignalStep


@dataclass(frozen=True)
class Windows:
    """Windows and where each came from.

    Attributes
    ----------
    data : ndarray, shape (n_windows, n_channels, n_window_times)
        The windows, epoch by epoch, in order of time.
    epoch : ndarray of int, shape (n_windows,)
        Index of the epoch that each window was cut from.
    start : ndarray of int, shape (n_windows,)
        First sample of each window within its epoch or recording.
    sfreq : float | None
        Rate in Hz, where known.
    """

    data: np.ndarray
    epoch: np.ndarray
    start: np.ndarray
    sfreq: float | None = None

    @property
    def onset(self) -> np.ndarray:
        """First moment of each window in seconds from the start of its epoch."""
        if self.sfreq is None:
            raise SpecError("onset needs the rate of X: pass info= or sfreq= to the Windower.")
        return self.start / self.sfreq

    def expand(self, values: Any) -> np.ndarray:
        """Repeat values per epoch (labels, groups) for each window."""
        return expand(values, self.epoch)

    def aggregate(self, values: Any, how: str = "mean") -> np.ndarray:
        """Bring values per window back to epochs; see :meth:`Windower.aggregate`."""
        return aggregate(values, self.epoch, how=how)


def cut_windows(X: np.ndarray, length: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut every epoch into windows of equal length; the rest at the end is left out.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals.
    length, step : int
        Length of a window and distance between windows, in samples.

    Returns
    -------
    windows : ndarray, shape (n_epochs * n_per_epoch, n_channels, length)
        Windows, epoch by epoch.
    starts : ndarray of int, shape (n_per_epoch,)
        First sample of each window within its epoch.
    """
    starts = np.arange(0, X.shape[-1] - length + 1, step)
    view = np.lib.stride_tricks.sliding_window_view(X, length, axis=-1)[:, :, ::step]
    windows = np.ascontiguousarray(view.transpose(0, 2, 1, 3))
    return windows.reshape(-1, X.shape[1], length), starts


def expand(values: Any, epoch: np.ndarray) -> np.ndarray:
    """Repeat values per epoch for each window.

    Parameters
    ----------
    values : array-like, shape (n_epochs, ...)
        One entry per epoch: labels, groups, anything.
    epoch : ndarray of int, shape (n_windows,)
        Epoch of each window.

    Returns
    -------
    ndarray, shape (n_windows, ...)
        One entry per window.
    """
    values = np.asarray(values)
    n_epochs = int(epoch.max()) + 1 if epoch.size else 0
    if len(values) != n_epochs:
        raise SpecError(f"values has {len(values)} entries for {n_epochs} epochs.")
    return values[epoch]


def aggregate(values: Any, epoch: np.ndarray, *, how: str = "mean") -> np.ndarray:
    """Bring values per window back to one per epoch.

    Parameters
    ----------
    values : array-like, shape (n_windows, ...)
        One entry per window: probabilities, embeddings, predicted labels.
    epoch : ndarray of int, shape (n_windows,)
        Epoch of each window; every epoch has at least one.
    how : {"mean", "vote"}
        ``"mean"`` of numbers, or the most frequent label (``"vote"``; among
        equals the first in sorted order).

    Returns
    -------
    ndarray, shape (n_epochs, ...)
        One entry per epoch.
    """
    values = np.asarray(values)
    if len(values) != len(epoch):
        raise SpecError(f"values has {len(values)} entries for {len(epoch)} windows.")
    counts = np.bincount(epoch)
    if how == "mean":
        if not np.issubdtype(values.dtype, np.number):
            raise SpecError("how='mean' needs numbers; use how='vote' for labels.")
        total = np.zeros((len(counts), *values.shape[1:]))
        np.add.at(total, epoch, values)
        return total / counts.reshape(-1, *[1] * (values.ndim - 1))
    if how == "vote":
        if values.ndim != 1:
            raise SpecError(f"how='vote' needs one label per window, got shape {values.shape}.")
        labels, codes = np.unique(values, return_inverse=True)
        votes = np.zeros((len(counts), len(labels)), dtype=int)
        np.add.at(votes, (epoch, codes), 1)
        return labels[votes.argmax(axis=1)]
    raise SpecError(f"how={how!r} is not one of ('mean', 'vote').")


class Windower(SignalStep):
    """Cut epochs or a recording into windows, and keep the books.

    A Transformer cannot change the number of samples inside a ``Pipeline``,
    because the labels would not follow. So cut first, and carry labels and
    groups over with :meth:`expand`; :meth:`aggregate` leads back.

    Parameters
    ----------
    window : float | None
        Length of a window in seconds; None keeps whole epochs.
    step : float | None
        Distance between the starts of windows in seconds; None is ``window``
        (no overlap).
    info : ChannelInfo | mne.Info | None
        Names and rate of the input.
    sfreq : float | None
        Rate of the input in Hz, instead of ``info``.
    skip_bad : bool
        For an ``mne.io.Raw``: leave out windows that touch an annotation
        whose description starts with "bad".

    Attributes
    ----------
    n_windows_ : int
        Windows per epoch of the data seen in ``fit``.
    window_index_ : ndarray of int, shape (n_windows,)
        Epoch of each window of the data seen in ``fit``.
    starts_ : ndarray of int, shape (n_windows,)
        First sample of each of those windows within its epoch.

    See Also
    --------
    Windows : What :meth:`split` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import Windower
    >>> X, y = np.zeros((4, 2, 1000)), np.array(["rest", "task", "rest", "task"])
    >>> cutter = Windower(window=2.0, step=1.0, sfreq=250)
    >>> windows = cutter.fit_transform(X)
    >>> windows.shape, cutter.expand(y).shape
    ((12, 2, 500), (12,))
    >>> cutter.aggregate(cutter.expand(y), how="vote").tolist()
    ['rest', 'task', 'rest', 'task']
    """

    def __init__(
        self,
        window: float | None = None,
        step: float | None = None,
        *,
        info: Any = None,
        sfreq: float | None = None,
        skip_bad: bool = True,
    ) -> None:
        self.window = window
        self.step = step
        self.info = info
        self.sfreq = sfreq
        self.skip_bad = skip_bad

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and count the windows.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), Epochs or Raw
            Signals. A continuous array is one long epoch: ``X[numpy.newaxis]``.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        windows = self._cut(X, reset=True)
        self.window_index_ = windows.epoch
        self.starts_ = windows.start
        self.n_windows_ = int(np.bincount(windows.epoch)[0])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the windows of ``X``, epoch by epoch.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), Epochs or Raw
            Signals.

        Returns
        -------
        ndarray, shape (n_windows, n_channels, n_window_times) or (n_windows, n_window_times)
            Windows. How many there are per epoch depends on ``n_times``.
        """
        check_is_fitted(self)
        data = self.split(X).data
        return data[:, 0] if self.flat_ else data

    def split(self, X: Any) -> Windows:
        """Return the windows of ``X`` with their bookkeeping.

        Nothing is learned for it, so it works before ``fit`` as well (and then
        leaves no trace).

        Parameters
        ----------
        X : array, Epochs or Raw
            Signals, as for :meth:`transform`.

        Returns
        -------
        Windows
            Data (3-D), epoch, start and onset of each window.
        """
        if hasattr(self, "window_index_"):
            return self._cut(X, reset=False)
        return clone(self)._cut(X, reset=True)

    def expand(self, values: Any) -> np.ndarray:
        """Repeat labels or groups for each window of the data seen in ``fit``.

        Parameters
        ----------
        values : array-like, shape (n_epochs, ...)
            One entry per epoch.

        Returns
        -------
        ndarray, shape (n_windows, ...)
            One entry per window.
        """
        check_is_fitted(self)
        return expand(values, self.window_index_)

    def aggregate(self, values: Any, how: Literal["mean", "vote"] = "mean") -> np.ndarray:
        """Bring values per window of the data seen in ``fit`` back to epochs.

        Parameters
        ----------
        values : array-like, shape (n_windows, ...)
            One entry per window: probabilities, embeddings, predicted labels.
        how : {"mean", "vote"}
            ``"mean"`` of numbers, or the most frequent label (``"vote"``;
            among equals the first in sorted order).

        Returns
        -------
        ndarray, shape (n_epochs, ...)
            One entry per epoch.
        """
        check_is_fitted(self)
        return aggregate(values, self.window_index_, how=how)

    def _cut(self, X: Any, *, reset: bool) -> Windows:
        bad = np.zeros(0, dtype=bool)
        if hasattr(X, "first_samp"):  # mne.io.Raw
            X, bad = self._read_raw(X)
        X, _ = self._read(X, reset=reset)
        length, step = self._samples(X.shape[-1])
        data, starts = cut_windows(X, length, step)
        epoch, start = np.repeat(np.arange(len(X)), len(starts)), np.tile(starts, len(X))
        if bad.any():
            seen = np.concatenate([[0], np.cumsum(bad)])
            keep = seen[starts + length] == seen[starts]
            if not keep.any():
                raise SpecError(
                    f"Every window of {length} samples touches a bad annotation; pass a shorter "
                    "window= or skip_bad=False."
                )
            data, epoch, start = data[keep], epoch[keep], start[keep]
        return Windows(data, epoch, start, self.sfreq_)

    def _samples(self, n_times: int) -> tuple[int, int]:
        if self.window is None:
            return n_times, n_times
        rate = self._needed_rate()
        length = round(self.window * rate)
        step = length if self.step is None else round(self.step * rate)
        for name, value, samples in (("window", self.window, length), ("step", self.step, step)):
            if samples < 1:
                raise SpecError(
                    f"{name}={value!r} is less than one sample at {rate:g} Hz; give it in seconds."
                )
        if length > n_times:
            raise SpecError(
                f"window={self.window:g} s is longer than the epochs, which last "
                f"{n_times / rate:.3g} s ({n_times} samples at {rate:g} Hz): pass a shorter window "
                "or longer epochs."
            )
        return length, step

    def _read_raw(self, raw: Any) -> tuple[_RawAsEpoch, np.ndarray]:
        """Return a recording as one epoch, and which samples are annotated as bad."""
        bad = np.zeros(raw.n_times, dtype=bool)
        if self.skip_bad and len(raw.annotations):
            marked = raw.get_data(picks=[0], reject_by_annotation="NaN", verbose="error")[0]
            bad = np.isnan(marked) & ~np.isnan(raw.get_data(picks=[0])[0])
        return _RawAsEpoch(raw.get_data()[np.newaxis], raw.info), bad


class _RawAsEpoch:
    """A recording in the clothes of one epoch, for the common reader."""

    events = ()

    def __init__(self, data: np.ndarray, info: Any) -> None:
        self._data = data
        self.info = as_channel_info(info)

    def get_data(self, copy: bool = False) -> np.ndarray:
        return self._data
