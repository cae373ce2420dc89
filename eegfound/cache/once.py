"""Looking embeddings up, and computing what is not there, exactly once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from eegfound.cache.claims import Claimant
from eegfound.cache.memory import hits, recent
from eegfound.cache.store import EmbeddingStore, Source

#: Seconds of encoding between two writes: about what a killed process loses.
WRITE_SECONDS = 0.5
#: Seconds of encoding that are claimed at a time.
CLAIM_SECONDS = 3.0
#: Most epochs claimed at a time.
CLAIM_EPOCHS = 1024
#: Seconds without any progress of others after which one computes oneself.
PATIENCE = 600.0
#: Told the indices (among those asked for) and the embeddings of some epochs.
Done = Callable[[np.ndarray, np.ndarray], None]


class Rows:
    """The array to be filled, one row per epoch.

    Parameters
    ----------
    keys : sequence of bytes
        Key of each epoch; epochs that are the same have the same key.
    allocate : callable
        Returns the array for a shape of one embedding.
    mismatch : callable
        Returns the error to raise for two shapes that differ.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        allocate: Callable[[tuple[int, ...]], np.ndarray],
        mismatch: Callable[[tuple[int, ...], tuple[int, ...]], Exception],
    ) -> None:
        self.at: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            self.at.setdefault(key, []).append(i)
        self.array: np.ndarray | None = None
        self._allocate, self._mismatch = allocate, mismatch

    def put(self, key: bytes, value: np.ndarray) -> None:
        """Write an embedding to the rows of its epoch."""
        if self.array is None:
            self.array = self._allocate(value.shape)
        elif value.shape != self.array.shape[1:]:
            raise self._mismatch(value.shape, self.array.shape[1:])
        self.array[self.at[key]] = value

    def put_all(self, found: Mapping[bytes, np.ndarray]) -> None:
        """Write many embeddings at once."""
        if len({value.shape for value in found.values()}) != 1:
            for key, value in found.items():
                self.put(key, value)
            return
        some = next(iter(found))
        self.put(some, found[some])
        assert self.array is not None
        rows = [row for key in found for row in self.at[key]]
        values = [value for key, value in found.items() for _ in self.at[key]]
        self.array[rows] = values


def encode_once(
    store: EmbeddingStore,
    source: Source,
    rows: Rows,
    encode: Callable[[list[int], Done], object],
    *,
    step: int = 1,
    order: Callable[[list[bytes]], list[bytes]] = list,
) -> np.ndarray:
    """Return the embedding of every epoch, computing what nobody has computed.

    Parameters
    ----------
    store : EmbeddingStore
        Shared by all processes that may need the same epochs.
    source : Source
        Whose embeddings they are.
    rows : Rows
        Keys of the epochs.
    encode : callable
        ``encode(indices, done)`` encodes the epochs of some indices, and tells
        ``done`` about each batch.
    step : int
        Epochs that are best encoded together.
    order : callable
        Brings keys into the order in which they are best encoded.

    Returns
    -------
    ndarray of float32, shape (n_epochs, ...)
        Embeddings.
    """
    found = recent.get(store, list(rows.at))
    unread = [key for key in rows.at if key not in found]
    if unread:
        read = store.read(unread)
        recent.put(store, read)
        found |= read
    rows.put_all(found)
    n_found = len(found)
    lacking = [key for key in unread if key not in found]
    if lacking:
        pending = dict.fromkeys(order(lacking))
        n_found += _compute(store, source, rows, encode, pending, step)
    hits.add(store, source, n_found)
    assert rows.array is not None
    return rows.array


def _compute(
    store: EmbeddingStore,
    source: Source,
    rows: Rows,
    encode: Callable[[list[int], Done], object],
    pending: dict[bytes, None],
    step: int,
) -> int:
    """Fill in what is pending; return how many of it others have computed."""
    size, got, pause, alone = step, 0, 0.01, False
    progress = time.monotonic()
    with Claimant(store) as claimant:
        while pending:
            # Who shares the work takes ever less of it, so that all end together.
            part = len(pending) // 4 // step * step
            fair = len(pending) if claimant.unrivalled else max(step, part)
            mine, ready = claimant.claim(pending, min(size, fair))
            if not mine and alone:
                mine = list(pending)[:size]
            found = store.read(ready)
            rows.put_all(found)
            got += len(found)
            for key in found:
                del pending[key]
            # What was damaged or is gone again; perhaps it cannot even be dropped.
            mine += [key for key in ready if key not in found]
            if mine:
                begin = time.perf_counter()
                writer = _Writer(store, source, rows, mine, claimant.name)
                encode([rows.at[key][0] for key in mine], writer.add)
                writer.flush()
                for key in mine:
                    del pending[key]
                size = _next_size(len(mine), time.perf_counter() - begin, step)
            elif not ready:
                time.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(1.5 * pause, 0.2)
                alone = time.monotonic() - progress > PATIENCE
                continue
            pause, progress = 0.01, time.monotonic()
    return got


class _Writer:
    """Takes embeddings as they come, and writes them every now and then."""

    def __init__(
        self, store: EmbeddingStore, source: Source, rows: Rows, keys: list[bytes], owner: str
    ) -> None:
        self.store, self.source, self.rows, self.keys, self.owner = store, source, rows, keys, owner
        self._waiting: list[tuple[bytes, np.ndarray]] = []
        self._written = time.monotonic()

    def add(self, indices: np.ndarray, values: np.ndarray) -> None:
        for i, value in zip(indices, values):
            self.rows.put(self.keys[i], value)
            self._waiting.append((self.keys[i], value))
        if time.monotonic() - self._written > WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        items, self._waiting = self._waiting, []
        if items and self.store.write(self.source, items, self.owner):
            recent.put(self.store, {key: value.copy() for key, value in items})
        self._written = time.monotonic()


def _next_size(count: int, seconds: float, step: int) -> int:
    """Return how many epochs take about :data:`CLAIM_SECONDS`, in whole steps."""
    fitting = int(count * CLAIM_SECONDS / max(seconds, 1e-6))
    return max(step, min(fitting, CLAIM_EPOCHS) // step * step)
