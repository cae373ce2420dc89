"""Running a network over epochs: by presence pattern, in fixed micro-batches.

Every micro-batch has the same number of epochs (the last one is filled up) and
is computed by one thread. So, with the model's own micro-batch on the CPU, the
numbers for an epoch depend on that epoch alone: not on its neighbours, nor on
the number of threads or worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.estimators._inputs import InputPlan
from eegfound.estimators._pooling import concatenate, pool
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens

#: Epochs prepared at a time (one batch at least): bounds the memory of the front end.
BLOCK = 256


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


def pieces_of(n_times: int, plan: InputPlan) -> list[tuple[int, int, int]]:
    """Cut a window into pieces that one forward pass takes.

    Parameters
    ----------
    n_times : int
        Samples at the model's rate.
    plan : InputPlan
        The plan with the model's contract.

    Returns
    -------
    list of (first_sample, last_sample, first_patch)
        Pieces of (almost) equal length that cover all patches once.
    """
    spec = plan.spec
    if spec.max_samples is None or n_times <= spec.max_samples or spec.long_windows != "chunk":
        return [(0, n_times, 0)]
    n_patches, most = spec.n_patches(n_times), spec.n_patches(spec.max_samples)
    counts = [len(part) for part in np.array_split(np.arange(n_patches), -(-n_patches // most))]
    pieces, first = [], 0
    for count in counts:
        start = first * spec.stride
        pieces.append((start, start + (count - 1) * spec.stride + spec.patch_samples, first))
        first += count
    return pieces


def forward_features(
    network: EncoderNetwork,
    signal: Tensor,
    electrodes: Electrodes,
    *,
    pieces: list[tuple[int, int, int]],
    pooling: str,
    layer: int | None,
    n_slots: int,
) -> Tensor:
    """Encode epochs that have the same electrodes, and pool their tokens.

    Parameters
    ----------
    network : EncoderNetwork
        The network.
    signal : Tensor, shape (n_epochs, n_channels, ...)
        Recorded channels only.
    electrodes : Electrodes
        Which they are.
    pieces : list of (int, int, int)
        From :func:`pieces_of`.
    pooling, layer, n_slots
        See :func:`eegfound.estimators._pooling.pool`.

    Returns
    -------
    Tensor of float32, shape (n_epochs, n_features)
        Features.
    """
    rows = torch.tensor(electrodes.rows, dtype=torch.int64, device=signal.device)
    positions = (
        None
        if electrodes.positions is None
        else torch.as_tensor(electrodes.positions, device=signal.device)
    )
    tokens: list[tuple[Tokens, int]] = []
    for start, stop, first in pieces:
        part = signal if len(pieces) == 1 else signal[..., start:stop]
        batch = SignalBatch(part, rows, electrodes.names, positions)
        tokens.append((network(batch, layer=layer), first))
    slots = torch.tensor(electrodes.slots, dtype=torch.int64, device=signal.device)
    return pool(
        network, concatenate(tokens), pooling, layer=layer, slots=slots, n_slots=n_slots
    ).float()


@dataclass(frozen=True)
class _Job:
    epochs: np.ndarray
    electrodes: Electrodes
    signal: np.ndarray


def _jobs(
    X: np.ndarray, presence: np.ndarray, plan: InputPlan, front_end: Any, batch_size: int
) -> Iterator[_Job]:
    size = max(BLOCK, batch_size)
    for first in range(0, len(X), size):
        block = slice(first, min(first + size, len(X)))
        signal = plan.apply(X[block], presence[block])
        if front_end is not None:
            signal = np.ascontiguousarray(front_end.transform(signal), dtype=np.float32)
        patterns, which = np.unique(presence[block], axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            members = np.flatnonzero(which.reshape(-1) == k)
            electrodes = Electrodes.of(plan, pattern)
            for at in range(0, len(members), batch_size):
                chosen = members[at : at + batch_size]
                filled = np.resize(chosen, batch_size)
                part = signal[filled] if pattern.all() else signal[filled][:, pattern]
                yield _Job(first + chosen, electrodes, part)


def encode(
    network: EncoderNetwork,
    X: np.ndarray,
    presence: np.ndarray,
    plan: InputPlan,
    *,
    pooling: str,
    layer: int | None = None,
    front_end: Any = None,
    batch_size: int = 8,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    n_threads: int | None = None,
) -> np.ndarray:
    """Return the features of every epoch.

    Parameters
    ----------
    network : EncoderNetwork
        In eval mode, already on ``device`` and in ``dtype``.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        The user's array, checked by ``plan``.
    presence : ndarray of bool, shape (n_epochs, n_used)
        From ``plan.check``.
    plan : InputPlan
        How ``X`` enters the model.
    pooling : str
        Read-out.
    layer : int | None
        Layer to read at; None is the output.
    front_end : Transformer | None
        Fitted front end of the model.
    batch_size : int
        Epochs per forward pass.
    device : str
        Torch device.
    dtype : torch.dtype
        Precision of the network.
    n_threads : int | None
        See :func:`eegfound.estimators._threads.n_workers`.

    Returns
    -------
    ndarray of float32, shape (n_epochs, n_features)
        Features.
    """
    n_slots = len(plan.picks)
    pieces = (
        [(0, 0, 0)] if front_end is not None else pieces_of(plan.n_model_times(X.shape[-1]), plan)
    )

    def run(job: _Job) -> np.ndarray:
        with torch.inference_mode():
            signal = torch.from_numpy(job.signal).to(device=device, dtype=dtype)
            features = forward_features(
                network, signal, job.electrodes,
                pieces=pieces, pooling=pooling, layer=layer, n_slots=n_slots,
            )  # fmt: skip
            return features[: len(job.epochs)].cpu().numpy()

    jobs = _jobs(X, presence, plan, front_end, batch_size)
    workers = n_workers(n_threads) if device == "cpu" else 1
    out: np.ndarray | None = None
    with torch_threads(1) if device == "cpu" else torch_threads(torch.get_num_threads()):
        for job, features in _in_order(run, jobs, min(workers, -(-len(X) // batch_size))):
            if out is None:
                out = np.empty((len(X), features.shape[1]), dtype=np.float32)
            elif features.shape[1] != out.shape[1]:
                from eegfound.base import SpecError

                raise SpecError(
                    f"pooling={pooling!r} gives {features.shape[1]} features for epochs with "
                    f"{len(job.electrodes.slots)} electrodes but {out.shape[1]} for others: use "
                    "pooling='mean', or interpolate the missing electrodes."
                )
            out[job.epochs] = features
    assert out is not None
    return out


def _in_order(
    run: Callable[[_Job], np.ndarray], jobs: Iterator[_Job], workers: int
) -> Iterator[tuple[_Job, np.ndarray]]:
    """Run jobs on a few threads, keeping only a few of them in memory."""
    if workers <= 1:
        for job in jobs:
            yield job, run(job)
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        waiting: list[tuple[_Job, Any]] = []
        for job in jobs:
            waiting.append((job, executor.submit(run, job)))
            if len(waiting) > 2 * workers:
                job, future = waiting.pop(0)
                yield job, future.result()
        for job, future in waiting:
            yield job, future.result()
