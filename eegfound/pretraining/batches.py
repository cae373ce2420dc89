"""Which windows are trained together, in which order, and by whom.

Everything here follows from ``random_state``, the number of the stage, of the
epoch and of the step alone: not from what was drawn before, nor from how many
processes share the work.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from eegfound.base import SpecError
from eegfound.estimators._batches import Job, filled
from eegfound.models.network import SignalBatch
from eegfound.pretraining.source import WindowSource


class Purpose(enum.IntEnum):
    """What a seed is for: no two purposes share a sequence."""

    ORDER = 0
    TRAINING = 1
    MEASURE = 2
    PREPARE = 3
    BUILD = 4


def seeds(random_state: int, *numbers: int) -> tuple[int, int]:
    """Return two seeds that belong to a place in the training.

    Parameters
    ----------
    random_state : int
        The user's seed.
    *numbers : int
        Purpose, stage, step, part.

    Returns
    -------
    tuple of int
        One for what an objective draws, one for dropout.
    """
    state = np.random.SeedSequence((random_state, *numbers)).generate_state(2, np.uint64)
    return int(state[0]) >> 1, int(state[1]) >> 1


def seed_torch(seed: int, device: Any = "cpu") -> None:
    """Seed the generators that a part draws from: the CPU's, and that of its device.

    ``torch.manual_seed`` does so for every kind of device, which takes longer than a
    small network's pass.
    """
    torch.default_generator.manual_seed(seed)
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif kind != "cpu":
        torch.manual_seed(seed)


@dataclass(frozen=True)
class Windows:
    """Some windows of a source, and how they are cut into batches.

    Attributes
    ----------
    source : WindowSource
        Where they come from.
    index : ndarray of int
        Which they are.
    batch_size : int
        Most windows of an optimizer step.
    micro_batch_size : int
        Most windows of a forward pass.
    """

    source: WindowSource
    index: np.ndarray
    batch_size: int
    micro_batch_size: int

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_batches(self) -> int:
        """Batches of one pass."""
        return -(-len(self.index) // self.batch_size)

    def batches(self, seed: int | None) -> list[np.ndarray]:
        """Return the windows of each batch, of almost equal size.

        Parameters
        ----------
        seed : int | None
            Of the permutation; None keeps the order.
        """
        index = self.index
        if seed is not None:
            index = np.random.default_rng(seed).permutation(index)
        return np.array_split(index, max(1, self.n_batches))


@dataclass(frozen=True)
class Part:
    """Windows of one forward pass.

    Attributes
    ----------
    number : int
        Place within the batch.
    job : Job
        The windows.
    """

    number: int
    job: Job

    def __len__(self) -> int:
        return len(self.job.signal)

    def batch(self, device: Any) -> SignalBatch:
        """Return what the objective takes."""
        there = self.job.electrodes
        # Memory of torch's own: where an array begins decides the last bits of sums.
        signal = filled(self.job.signal, len(self))
        places = None if there.positions is None else torch.as_tensor(there.positions)
        return SignalBatch(
            signal.to(device),
            torch.tensor(there.rows, dtype=torch.int64, device=device),
            there.names,
            None if places is None else places.to(device),
        )


@dataclass(frozen=True)
class Batch:
    """What one process computes of one optimizer step.

    Attributes
    ----------
    number : int
        Step within the pass.
    n_windows : int
        Windows of the whole batch, in all processes.
    n_parts : int
        Parts of the whole batch.
    parts : tuple of Part
        Those of this process.
    """

    number: int
    n_windows: int
    n_parts: int
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return self.n_windows


def cut(index: np.ndarray, alike: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut a batch into parts of windows with the same electrodes.

    Parameters
    ----------
    index : ndarray of int, shape (n,)
        Windows of the batch.
    alike : ndarray of int, shape (n,)
        Windows with the same number may stand in one part.
    most : int
        Most windows of a part.

    Returns
    -------
    list of ndarray of int
        Windows of each part, of almost equal size.
    """
    parts = []
    for kind in np.unique(alike):
        members = index[alike == kind]
        parts.extend(np.array_split(members, -(-len(members) // most)))
    return parts


class Pass(Dataset):
    """One pass over windows, step by step, for one process.

    Parameters
    ----------
    windows : Windows
        The windows.
    batches : list of ndarray
        From :meth:`Windows.batches`.
    rank, world : int
        Number of this process and of all; part ``k`` goes to process ``k % world``.
    """

    def __init__(
        self, windows: Windows, batches: list[np.ndarray], rank: int = 0, world: int = 1
    ) -> None:
        self.windows, self.batches, self.rank, self.world = windows, batches, rank, world
        self.alike = getattr(windows.source, "alike", None)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        index = self.batches[number]
        source, most = self.windows.source, self.windows.micro_batch_size
        if self.alike is None:
            parts = [
                Job(job.epochs[at], job.electrodes, job.signal[at])
                for job in source.jobs(index.tolist())
                for at in cut(np.arange(len(job.epochs)), np.zeros(len(job.epochs)), most)
            ]
            own = [Part(k, parts[k]) for k in range(self.rank, len(parts), self.world)]
            return Batch(number, len(index), len(parts), tuple(own))
        members = cut(index, self.alike[index], most)
        own = [Part(k, self._one(members[k])) for k in range(self.rank, len(members), self.world)]
        return Batch(number, len(index), len(members), tuple(own))

    def _one(self, members: np.ndarray) -> Job:
        found = self.windows.source.jobs(members.tolist())
        if len(found) != 1 or len(found[0].signal) != len(members):
            raise SpecError(
                f"{type(self.windows.source).__name__}.alike says that windows are alike which "
                f"its jobs() returns in {len(found)} groups."
            )
        return found[0]

    def steps(self, first: int = 0, n_workers: int = 0) -> Iterator[Batch]:
        """Yield the steps from ``first`` on, read ahead by worker processes."""
        yield from DataLoader(
            self,
            batch_size=None,
            sampler=range(first, len(self)),
            num_workers=n_workers,
            collate_fn=_as_it_is,
        )


def _as_it_is(batch: Any) -> Any:
    return batch
