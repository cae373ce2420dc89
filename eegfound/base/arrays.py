"""Reading the arrays and Epochs that users pass, in one way everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from eegfound.base.exceptions import SpecError
from eegfound.base.info import ChannelInfo, as_channel_info


def is_epochs(X: Any) -> bool:
    """Say whether ``X`` is ``mne.BaseEpochs``, or a list of such (without importing mne)."""
    if isinstance(X, list) and X:
        return all(is_epochs(part) for part in X) if hasattr(X[0], "events") else False
    return hasattr(X, "get_data") and hasattr(X, "info") and hasattr(X, "events")


def refuse_continuous(X: Any) -> None:
    """Refuse an ``mne.io.Raw`` or ``Evoked`` with a way out."""
    if hasattr(X, "info") and hasattr(X, "ch_names") and not hasattr(X, "events"):
        raise SpecError(
            f"X is a {type(X).__name__}, but windows are needed: cut it into Epochs "
            "(mne.make_fixed_length_epochs) or use eegfound.Windower."
        )


def epochs_to_array(epochs: Any) -> tuple[np.ndarray, ChannelInfo]:
    """Return the data of MNE Epochs in volts, and their channel facts.

    Parameters
    ----------
    epochs : mne.BaseEpochs | list of mne.BaseEpochs
        Epochs; dropped epochs are not returned. scikit-learn's splits make
        lists of single epochs of them.

    Returns
    -------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Volts.
    info : ChannelInfo
        Names, types and rate.
    """
    if isinstance(epochs, list):
        parts = [epochs_to_array(part) for part in epochs]
        info = parts[0][1]
        if any(other.ch_names != info.ch_names or other.sfreq != info.sfreq for _, other in parts):
            raise SpecError("The Epochs in the list differ in channels or rate.")
        if len({frozenset(other.bads) for _, other in parts}) > 1:
            # Each part knows its own bad channels: not recorded there.
            for i, (data, other) in enumerate(parts):
                bad = [other.ch_names.index(name) for name in other.bads]
                parts[i] = (data.copy(), info)
                parts[i][0][:, bad] = np.nan
            info = info.replace(bads=())
        return np.concatenate([data for data, _ in parts]), info
    return epochs.get_data(copy=False), as_channel_info(epochs.info)


def as_3d(X: np.ndarray, *, info: ChannelInfo | None = None) -> np.ndarray:
    """Read 2-D input as windows of one channel.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_times) or (n_epochs, n_channels, n_times)
        Signals.
    info : ChannelInfo | None
        If given, its number of channels must be the array's.

    Returns
    -------
    ndarray, shape (n_epochs, n_channels, n_times)
        A view of ``X``.
    """
    if X.ndim == 2:
        if info is not None and info.n_channels != 1:
            raise SpecError(
                f"X is 2-D {X.shape}, which means windows of one channel, but info names "
                f"{info.n_channels} channels: pass (n_epochs, n_channels, n_times), "
                "for one epoch X[numpy.newaxis]."
            )
        X = X[:, np.newaxis, :]
    elif X.ndim != 3:
        raise SpecError(
            "X must be (n_epochs, n_channels, n_times) or (n_epochs, n_times), "
            f"got shape {X.shape}."
        )
    if info is not None and X.shape[1] != info.n_channels:
        raise SpecError(
            f"X has {X.shape[1]} channels (axis 1) but info names {info.n_channels}: "
            f"{list(info.ch_names[:8])}{'…' if info.n_channels > 8 else ''}."
        )
    return X


def presence_mask(X: np.ndarray, *, first: int = 0) -> np.ndarray:
    """Return which channels were recorded in each epoch.

    A channel that is NaN throughout was not recorded. A channel that is NaN
    in part is an error, since no step could know what to do with it.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals.
    first : int
        Number of the first epoch, for messages about a part of a larger array.

    Returns
    -------
    ndarray of bool, shape (n_epochs, n_channels)
        True where the channel was recorded.

    Raises
    ------
    SpecError
        On infinities, on channels that are NaN in part, and on epochs without
        any channel.
    """
    # One pass over the data in the ordinary case: NaN and inf both poison the sum.
    with np.errstate(all="ignore"):
        sums = X.sum(axis=-1)
    finite = np.isfinite(sums)
    if finite.all():
        return finite
    nan = np.isnan(X[~finite])
    bad = X[~finite]
    if np.isinf(bad).any():
        raise SpecError("X contains inf (infinity). Repair or drop those epochs first.")
    share = nan.mean(axis=-1)
    if ((share > 0) & (share < 1)).any():
        epoch, channel = np.argwhere(~finite)[np.argmax((share > 0) & (share < 1))]
        raise SpecError(
            f"X contains NaN in part of a channel (epoch {first + epoch}, channel {channel}). A "
            "channel that is NaN throughout means 'not recorded'; interpolate or drop the epochs "
            "where only some samples are missing."
        )
    presence = finite.copy()
    presence[~finite] = share == 0
    empty = ~presence.any(axis=1)
    if empty.any():
        raise SpecError(
            f"X contains NaN in every channel of {int(empty.sum())} epoch(s), first at index "
            f"{first + int(np.argmax(empty))}: nothing was recorded there, drop them."
        )
    return presence
