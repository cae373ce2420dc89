"""Running a network over epochs: by presence pattern, in fixed micro-batches.

On the CPU every micro-batch has the same number of epochs (the last one is
filled up, unless fewer are known to give the same numbers) and is computed by
one thread. So, with the model's own micro-batch, the numbers for an epoch
depend on that epoch alone: not on its neighbours, nor on the number of threads
or worker processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.estimators._batches import (
    Electrodes,
    Job,
    ShortBatches,
    filled,
    jobs,
    measured_batch,
)
from eegfound.estimators._inputs import InputPlan
from eegfound.estimators._pooling import concatenate, pool, read_tokens
from eegfound.estimators._streaming import BLOCK_EPOCHS
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens

#: Most epochs prepared at a time, where one batch is not larger.
BLOCK = BLOCK_EPOCHS
#: Most bytes of features in slices (tokens, electrodes, moments) returned at once.
MOST_SLICED_BYTES = 2**30

_short_batches = ShortBatches()


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
    reading: str = "pooled",
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
    reading : str
        ``"pooled"``, or what :func:`eegfound.estimators._pooling.read_tokens` knows.

    Returns
    -------
    Tensor of float32, shape (n_epochs, n_features) or (n_epochs, n_slices, width)
        Features; in slices for any reading but ``"pooled"``.
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
    joined = concatenate(tokens)
    if reading == "pooled":
        features = pool(network, joined, pooling, layer=layer, slots=slots, n_slots=n_slots)
    else:
        features = read_tokens(
            network, joined, reading, pooling=pooling, layer=layer, slots=slots, n_slots=n_slots
        )
    return features.float()


def encode(
    network: EncoderNetwork,
    X: np.ndarray,
    presence: np.ndarray,
    plan: InputPlan,
    *,
    pooling: str,
    layer: int | None = None,
    front_end: Any = None,
    batch_size: int | None = 8,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    n_threads: int | None = None,
    reading: str = "pooled",
    fill_up: bool = False,
    done: Callable[[np.ndarray, np.ndarray], None] | None = None,
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
    batch_size : int | None
        Epochs per forward pass. None, on a GPU: what fits into half of its
        free memory.
    device : str
        Torch device.
    dtype : torch.dtype
        Precision of the network.
    n_threads : int | None
        See :func:`eegfound.estimators._threads.n_workers`.
    reading : str
        See :func:`forward_features`.
    fill_up : bool
        Fill short batches up without trying smaller ones: then nothing but
        these epochs ever passes the network.
    done : callable | None
        Told the indices and the features of every batch, in this thread, while
        others go on computing.

    Returns
    -------
    ndarray of float32, shape (n_epochs, n_features) or (n_epochs, n_slices, width)
        Features.

    Raises
    ------
    SpecError
        If epochs differ in the number of features, or if features in slices
        would take more than :data:`MOST_SLICED_BYTES`.
    """
    n_slots = len(plan.picks)
    pieces = (
        [(0, 0, 0)] if front_end is not None else pieces_of(plan.n_model_times(X.shape[-1]), plan)
    )

    def forward(signal: Tensor, electrodes: Electrodes) -> Tensor:
        with torch.inference_mode():
            return forward_features(
                network, signal.to(device=device, dtype=dtype), electrodes,
                pieces=pieces, pooling=pooling, layer=layer, n_slots=n_slots, reading=reading,
            )  # fmt: skip

    on_cpu = torch.device(device).type == "cpu"
    if batch_size is None:
        first = next(jobs(X[:1], presence[:1], plan, front_end, 1))
        full = measured_batch(lambda x: forward(x, first.electrodes), first.signal, device)
    else:
        full = batch_size

    def run(job: Job) -> np.ndarray:
        n = size = len(job.signal)
        if on_cpu and fill_up:
            size = full
        elif on_cpu and n < full:
            key = (job.electrodes.rows, job.electrodes.slots, pooling, layer, reading)
            size = _short_batches.size(
                network, key, job.signal, full, lambda x: forward(x, job.electrodes)
            )
        return forward(filled(job.signal, size), job.electrodes)[:n].cpu().numpy()

    work = jobs(X, presence, plan, front_end, full)
    workers = min(n_workers(n_threads), -(-len(X) // full)) if on_cpu else 1
    out: np.ndarray | None = None
    with torch_threads(1) if on_cpu else nullcontext():
        for job, features in _in_order(run, work, workers):
            if out is None:
                out = empty_features(len(X), features.shape[1:])
            elif features.shape[1:] != out.shape[1:]:
                raise _mismatch(pooling, reading, features.shape, out.shape, job)
            out[job.epochs] = features
            if done is not None:
                done(job.epochs, features)
    assert out is not None
    return out


def check_features(features: np.ndarray, presence: np.ndarray, reading: str) -> None:
    """Refuse features that hold NaN or infinity beyond the electrodes that were not recorded.

    Parameters
    ----------
    features : ndarray, shape (n_epochs, n_features) or (n_epochs, n_slices, width)
        From :func:`encode`.
    presence : ndarray of bool, shape (n_epochs, n_used)
        As it was given there.
    reading : str
        As it was given there.

    Raises
    ------
    SpecError
        If there are any.
    """
    gaps = np.isnan(features) if features.ndim == 3 else np.zeros(1, dtype=bool)
    if gaps.any() and reading in ("tokens", "channels"):
        wanted = (~presence).sum(axis=1) * (features.shape[1] // presence.shape[1])
        whole = gaps.all(axis=2).sum(axis=1)
        sound = (gaps.any(axis=2).sum(axis=1) == whole) & ((whole == wanted) | (whole == 0))
        if sound.all() and not np.isinf(features).any():
            return
    elif np.isfinite(features).all():
        return
    raise SpecError(
        "The embeddings hold NaN or infinity (pooling='channels' gives NaN where an electrode is "
        "missing): use pooling='mean' or interpolate first."
    )


def empty_features(n_epochs: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array for features of a shape per epoch, unless it is too large.

    Raises
    ------
    SpecError
        If a head reads more slices than belong in memory; pooled features are
        the user's own choice.
    """
    _check_size(n_epochs, shape)
    return np.empty((n_epochs, *shape), dtype=np.float32)


def _check_size(n_epochs: int, shape: tuple[int, ...]) -> None:
    n_bytes = 4 * n_epochs * math.prod(shape)
    if len(shape) > 1 and n_bytes > MOST_SLICED_BYTES:
        raise SpecError(
            f"This head reads {shape[0]} vectors of {shape[1]} numbers per epoch: "
            f"{n_bytes / 2**30:.1f} GiB for {n_epochs} epochs, of which at most "
            f"{MOST_SLICED_BYTES / 2**30:.3g} GiB are kept in memory. Use a head that reads less "
            "('graph', 'conv_linear', 'mlp', 'linear'), a tuning that reads batch by batch "
            "('readout', 'partial', 'lora', 'full'), or fewer epochs."
        )


def _mismatch(
    pooling: str, reading: str, found: tuple[int, ...], before: tuple[int, ...], job: Job
) -> SpecError:
    """Return the error about epochs with other numbers of features."""
    electrodes = len(job.electrodes.slots)
    if reading == "pooled":
        return SpecError(
            f"pooling={pooling!r} gives {found[1]} features for epochs with {electrodes} "
            f"electrodes but {before[1]} for others: use pooling='mean', or interpolate the "
            "missing electrodes."
        )
    return SpecError(
        f"With pooling={pooling!r} the model gives this head {found[1]} vectors of {found[2]} "
        f"numbers for epochs with {electrodes} electrodes but {before[1]} of {before[2]} for "
        "others: use head='linear' or 'mlp' with pooling='mean', or interpolate the missing "
        "electrodes."
    )


def _in_order(
    run: Callable[[Job], np.ndarray], jobs: Iterator[Job], workers: int
) -> Iterator[tuple[Job, np.ndarray]]:
    """Run jobs on a few threads, keeping only a few of them in memory."""
    if workers <= 1:
        for job in jobs:
            yield job, run(job)
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        waiting: list[tuple[Job, Any]] = []
        for job in jobs:
            waiting.append((job, executor.submit(run, job)))
            if len(waiting) > 2 * workers:
                job, future = waiting.pop(0)
                yield job, future.result()
        for job, future in waiting:
            yield job, future.result()
