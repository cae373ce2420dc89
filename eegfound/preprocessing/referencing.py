"""Changing the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eegfound.base import SpecError, as_channel_info
from eegfound.preprocessing.signal_step import SignalStep


def rereference(
    X: np.ndarray,
    reference: Sequence[int] | None = None,
    *,
    targets: Sequence[int] | None = None,
) -> np.ndarray:
    """Subtract the mean of the reference channels from all channels.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Signals; channels that are all NaN were not recorded and count for
        nothing.
    reference : sequence of int | None
        Indices of the reference channels; None takes all of ``targets``.
    targets : sequence of int | None
        Channels that are re-referenced; None takes all. An epoch with one
        recorded target and no named reference stays as it is, since it is its
        own average.

    Returns
    -------
    ndarray, shape (n_epochs, n_channels, n_times)
        Signals in the new reference.

    Raises
    ------
    SpecError
        If no reference channel was recorded in some epoch.
    """
    everything = list(range(X.shape[1]))
    targets = everything if targets is None else list(targets)
    sources = targets if reference is None else list(reference)
    chosen = X[:, sources]
    recorded = ~np.isnan(chosen[..., :1])
    count = recorded.sum(axis=1, keepdims=True)
    if reference is not None and not count.all():
        raise SpecError(
            f"No reference channel was recorded (all NaN) in epoch {int(np.argmin(count))}: "
            "name another reference, or use reference='average'."
        )
    # Sum in double precision: the offsets of DC amplifiers exceed the EEG by 1e4.
    total = np.where(recorded, chosen, 0).sum(axis=1, keepdims=True, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    if reference is None:
        mean[count[:, 0, 0] == 1] = 0.0
    out = X.copy()
    picks = slice(None) if targets == everything else targets
    out[:, picks] = (X[:, picks] - mean).astype(X.dtype)
    return out


class Rereferencer(SignalStep):
    """Bring epochs to another reference.

    Parameters
    ----------
    reference : "average" | sequence of str | None
        ``"average"`` subtracts the mean over the EEG channels recorded in the
        epoch. Names subtract the mean of those channels. None changes nothing.
    info : ChannelInfo | mne.Info | None
        Names of the channels; needed for names as reference.

    Attributes
    ----------
    ch_names_ : tuple of str | None
        Channel names, as stated or read from the Epochs.
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import ChannelInfo, Rereferencer
    >>> info = ChannelInfo(["C3", "C4", "M1", "M2"], sfreq=250)
    >>> X = np.random.default_rng(0).standard_normal((5, 4, 250)) * 1e-5
    >>> linked = Rereferencer(["M1", "M2"], info=info).fit_transform(X)
    >>> bool(abs(linked[:, 2:].mean(axis=1)).max() < 1e-18)
    True
    """

    def __init__(self, reference: str | Sequence[str] | None = "average", *, info: Any = None):
        self.reference = reference
        self.info = info

    def _check(self, X: np.ndarray, presence: np.ndarray) -> None:
        self._sources()

    def _sources(self) -> list[int] | None:
        if self.reference is None or (
            isinstance(self.reference, str) and self.reference.lower() == "average"
        ):
            return None
        named = [self.reference] if isinstance(self.reference, str) else list(self.reference)
        if not named:
            raise SpecError(
                "reference names no channel; 'average' takes all, None changes nothing."
            )
        if self.ch_names_ is None:
            raise SpecError(
                f"reference={named} names channels, but nothing says how those of X are called: "
                "pass info= (epochs.info or a ChannelInfo)."
            )
        index = {name.upper(): i for i, name in enumerate(self.ch_names_)}
        unknown = [name for name in named if name.upper() not in index]
        if unknown:
            raise SpecError(
                f"reference names {unknown}, which are not among the channels "
                f"{list(self.ch_names_[:10])}{'…' if len(self.ch_names_) > 10 else ''}."
            )
        return [index[name.upper()] for name in named]

    def _targets(self) -> list[int] | None:
        return None if self.info is None else as_channel_info(self.info).eeg_picks()

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        if self.reference is None:
            return X
        return rereference(X, self._sources(), targets=self._targets())
