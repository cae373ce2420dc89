"""Windows that hold two signals: which channels are which, and batches of both."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.base import ChannelInfo, SignalWarning, SpecError
from eegfound_architectures.brantx.align import PairedBatch


def split_channels(
    info: ChannelInfo | None, n_channels: int, exg: str
) -> tuple[list[int], list[int]]:
    """Find the EEG channels and those of another kind.

    Parameters
    ----------
    info : ChannelInfo | None
        Names and types. None is understood for a single channel, which then
        stands for both.
    n_channels : int
        Channels of the array.
    exg : str
        Type of the other channels.

    Returns
    -------
    eeg, exg : list of int
        Their places in the array, bad channels left out.

    Raises
    ------
    SpecError
        If one of the two kinds is not there, or nothing says which are which.
    """
    if info is None:
        if n_channels > 1:
            raise SpecError(
                f"X has {n_channels} channels and nothing says which: pass "
                f"info=ChannelInfo(ch_names, sfreq, ch_types=['eeg', ..., {exg!r}]) or mne.Epochs."
            )
        warnings.warn(
            f"The unnamed channel stands for both EEG and {exg.upper()}.",
            SignalWarning,
            stacklevel=4,
        )
        return [0], [0]
    if info.n_channels != n_channels:
        raise SpecError(f"X has {n_channels} channels but info names {info.n_channels}.")
    kinds = info.ch_types or ("eeg",) * n_channels
    other = [i for i, kind in enumerate(kinds) if kind == exg and info.ch_names[i] not in info.bads]
    for kind, picks in (("eeg", info.eeg_picks()), (exg, other)):
        if not picks:
            raise SpecError(
                f"info has no good channel of type {kind!r} (types: {sorted(set(kinds))}): set "
                "ch_types in ChannelInfo, or raw.set_channel_types in MNE."
            )
    return info.eeg_picks(), other


def paired_batches(
    encoder: Any,
    eeg: np.ndarray,
    exg: Tensor | None,
    size: int,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[np.ndarray, PairedBatch]]:
    """Yield windows that have the same electrodes, as networks take them.

    Parameters
    ----------
    encoder : FoundationTransformer
        Fitted; its plan says how EEG enters the network.
    eeg : ndarray, shape (n_epochs, n_eeg_channels, n_times)
        The user's EEG channels.
    exg : Tensor | None, shape (n_epochs, n_exg_channels, n_exg_times)
        The other signal, standardized.
    size : int
        Windows per batch, at most.
    generator : torch.Generator | None
        Draws the order; None keeps it.

    Yields
    ------
    index : ndarray of int
        Places of the batch's windows among all.
    batch : PairedBatch
        Their signals.
    """
    plan = encoder.plan_
    presence = plan.check(eeg)
    order = np.arange(len(eeg))
    if generator is not None:
        order = torch.randperm(len(eeg), generator=generator).numpy()
    for pattern in np.unique(presence, axis=0):
        members = order[(presence[order] == pattern).all(axis=1)]
        slots = np.flatnonzero(pattern)
        rows = torch.tensor([plan.rows[i] for i in slots])
        names = tuple(plan.names[i] for i in slots)
        places = None if plan.positions is None else torch.from_numpy(plan.positions[slots])
        for first in range(0, len(members), size):
            index = members[first : first + size]
            signal = plan.apply(eeg[index], presence[index])
            if encoder.front_end_ is not None:
                signal = np.asarray(encoder.front_end_.transform(signal), dtype=np.float32)
            there = torch.from_numpy(np.ascontiguousarray(signal[:, pattern]))
            other = None if exg is None else exg[index]
            yield index, PairedBatch(there, rows, names, places, exg=other)
