"""Cutting epochs into batches, and how large a batch may be."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.estimators._inputs import InputPlan
from eegfound.estimators._streaming import blocks

#: Share of a GPU's free memory that a batch may take.
MEMORY_SHARE = 0.5
#: Most epochs of a batch on a GPU, however much memory it has.
MOST_EPOCHS = 1024


@dataclass(frozen=True)
class Electrodes:
    """The electrodes that a group of epochs has in common.

    Attributes
    ----------
    slots : tuple of int
        Their places among the estimator's channels.
    rows : tuple of int
        Their rows in the model's vocabulary.
    names : tuple of str
        Their names in the model's words.
    positions : ndarray | None
        Their positions in metres.
    """

    slots: tuple[int, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    positions: np.ndarray | None = None

    @classmethod
    def of(cls, plan: InputPlan, present: np.ndarray) -> Electrodes:
        """Select the recorded electrodes of a plan."""
        slots = tuple(int(i) for i in np.flatnonzero(present))
        return cls(
            slots,
            tuple(plan.rows[i] for i in slots),
            tuple(plan.names[i] for i in slots),
            None if plan.positions is None else plan.positions[list(slots)],
        )


@dataclass(frozen=True)
class Job:
    """One batch: epochs with the same electrodes.

    Attributes
    ----------
    epochs : ndarray of int64, shape (n,)
        Their numbers in the user's array.
    electrodes : Electrodes
        What was recorded in all of them.
    signal : ndarray of float32, shape (n, n_channels, ...)
        The network's input; may be a view.
    """

    epochs: np.ndarray
    electrodes: Electrodes
    signal: np.ndarray


def jobs(
    X: np.ndarray, presence: np.ndarray, plan: InputPlan, front_end: Any, batch_size: int
) -> Iterator[Job]:
    """Yield batches of at most ``batch_size`` epochs, preparing a block at a time.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        The user's array, checked by ``plan``.
    presence : ndarray of bool, shape (n_epochs, n_used)
        From ``plan.check``.
    plan : InputPlan
        How ``X`` enters the model.
    front_end : Transformer | None
        Fitted front end of the model.
    batch_size : int
        Epochs per batch; only the last of each cap is smaller.

    Yields
    ------
    Job
        A batch.
    """
    known: dict[bytes, Electrodes] = {}
    for block in blocks(X, batch_size):
        present = presence[block]
        signal = plan.apply(X[block], present)
        if front_end is not None:
            signal = np.ascontiguousarray(front_end.transform(signal), dtype=np.float32)
        for pattern, members in _caps(present):
            electrodes = known.setdefault(pattern.tobytes(), Electrodes.of(plan, pattern))
            for at in range(0, len(members), batch_size):
                chosen = members[at : at + batch_size]
                whole = len(members) == len(signal)
                part = signal[at : at + batch_size] if whole else signal[chosen]
                if not pattern.all():
                    part = part[:, pattern]
                yield Job(block.start + chosen, electrodes, part)


def _caps(presence: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each pattern of recorded channels and the epochs that have it."""
    if (presence == presence[0]).all():
        return [(presence[0], np.arange(len(presence)))]
    patterns, which = np.unique(presence, axis=0, return_inverse=True)
    return [(p, np.flatnonzero(which.reshape(-1) == k)) for k, p in enumerate(patterns)]


class ShortBatches:
    """Batches smaller than the fixed size that are known to give the same numbers.

    Matrix products may add up in another order when a batch has another size,
    so a batch that is not full is filled up. A single epoch then costs as much
    as a batch; for on-line use that is most of the time. Here smaller sizes are
    tried on noise once a network is asked again for a short batch of a shape:
    a size whose embeddings are those of the full batch to the bit is used from
    then on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: weakref.WeakKeyDictionary[Any, dict[Hashable, int | None]]
        self._sizes = weakref.WeakKeyDictionary()

    def size(
        self, network: Any, key: Hashable, signal: np.ndarray, full: int,
        forward: Callable[[Tensor], Tensor],
    ) -> int:  # fmt: skip
        """Return how many epochs the batch of ``signal`` should have.

        Parameters
        ----------
        network : object
            What is remembered goes when it goes.
        key : hashable
            What else the numbers depend on: electrodes, read-out.
        signal : ndarray, shape (n, ...)
            The short batch.
        full : int
            The fixed size.
        forward : callable
            From a batch to embeddings.

        Returns
        -------
        int
            From ``n`` to ``full``.
        """
        n = len(signal)
        fitting = [k for k in (1, 2, 4, 8, 16, 32, 64) if n <= k < full]
        if not fitting:
            return full
        key = (key, signal.shape[1:], full, fitting[0])
        with self._lock:
            sizes = self._sizes.setdefault(network, {})
            if key not in sizes:
                sizes[key] = None  # once may be the end of a long array
                return full
            if sizes[key] is None:
                sizes[key] = self._prove(signal, full, fitting, forward)
            return sizes[key] or full

    @staticmethod
    def _prove(
        signal: np.ndarray, full: int, sizes: list[int], forward: Callable[[Tensor], Tensor]
    ) -> int:
        noise = torch.randn(
            (full, *signal.shape[1:]), generator=torch.Generator().manual_seed(0)
        ) * float(np.std(signal) or 1.0)
        wide = _bits(forward(noise.clone()))
        for size in sizes:
            parts = [noise[:size], noise[-size:]]
            found = torch.cat([_bits(forward(part.clone())) for part in parts])
            if torch.equal(found, torch.cat([wide[:size], wide[-size:]])):
                return size
        return full


def _bits(features: Tensor) -> Tensor:
    return features.float().contiguous().view(torch.int32)


def filled(signal: np.ndarray, size: int) -> Tensor:
    """Return a batch of ``size`` epochs in memory of its own, the given ones repeated.

    Torch's memory begins at the same kind of address each time, NumPy's does
    not; the order in which products add up may depend on that.
    """
    batch = torch.empty((size, *signal.shape[1:]), dtype=torch.float32)
    target, n = batch.numpy(), len(signal)
    for at in range(0, size, n):
        target[at : at + n] = signal[: size - at]
    return batch


def batch_that_fits(free: int, each: int) -> int:
    """Return how many epochs a forward pass on a GPU may take.

    Parameters
    ----------
    free : int
        Bytes of memory that nobody uses.
    each : int
        Bytes that one epoch needs at the most.

    Returns
    -------
    int
        A power of two from 1 to 1024.
    """
    count = int(MEMORY_SHARE * free) // max(1, each)
    return 1 << max(0, min(count, MOST_EPOCHS).bit_length() - 1)


def measured_batch(forward: Callable[[Tensor], Tensor], signal: np.ndarray, device: str) -> int:
    """Run two epochs on a GPU and return how many fit into half of its free memory."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    forward(filled(signal, 2))
    each = (torch.cuda.max_memory_allocated(device) - before) // 2
    free = torch.cuda.mem_get_info(device)[0]
    return batch_that_fits(free, each)
