"""One recording as an Arrow file: written whole or not at all, read where it is needed.

A shard is an Arrow IPC file. Its columns are electrodes (float32, volts), its rows
samples, cut into record batches of about a megabyte, so that a window touches
neighbouring pages. Rate and positions stand in the schema's metadata; any Arrow
reader opens it.
"""

from __future__ import annotations

import json
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from eegfound.base import ChannelInfo
from eegfound.corpus.errors import CorpusError, writing

#: Ending of shards.
SUFFIX = ".arrow"
#: Bytes of a record batch, about.
CHUNK_BYTES = 2**20
#: Recordings a process keeps open.
MOST_OPEN = 128
_KEY = b"eegfound"


def write_shard(path: Path, data: np.ndarray, info: ChannelInfo, out: Path) -> tuple[int, str]:
    """Write a recording under a temporary name beside ``path``.

    Parameters
    ----------
    path : Path
        The file to write.
    data : ndarray of float32, shape (n_channels, n_times)
        Volts.
    info : ChannelInfo
        Names, rate, positions.
    out : Path
        The store, for messages.

    Returns
    -------
    size : int
        Bytes of the file.
    digest : str
        Of names, rate and samples.

    Raises
    ------
    CorpusError
        If it cannot be written; nothing is left behind then.
    """
    facts = {
        "sfreq": info.sfreq,
        "unit": "V",
        "positions": {k: list(map(float, v)) for k, v in (info.positions or {}).items()},
    }
    schema = pa.schema(
        [pa.field(name, pa.float32(), nullable=False) for name in info.ch_names],
        metadata={_KEY: json.dumps(facts).encode()},
    )
    digest = xxhash.xxh3_128(json.dumps([list(info.ch_names), info.sfreq]).encode())
    step = max(1, CHUNK_BYTES // (4 * len(data)))
    try:
        with writing(out, f"the recording {path.name.partition(SUFFIX)[0]}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                with pa.ipc.new_file(file, schema) as writer:
                    for start in range(0, data.shape[1], step):
                        part = np.ascontiguousarray(data[:, start : start + step], dtype="<f4")
                        digest.update(part.data)
                        writer.write_batch(
                            pa.record_batch([pa.array(row) for row in part], schema=schema)
                        )
                file.flush()
                os.fsync(file.fileno())
            size = path.stat().st_size
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return size, digest.hexdigest()


class Shard:
    """A shard mapped into memory.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    CorpusError
        If it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(self._map)))
            facts = json.loads(self._reader.schema.metadata[_KEY])
            names = tuple(self._reader.schema.names)
            self.info = ChannelInfo(names, facts["sfreq"], positions=facts["positions"] or None)
            self._n_chunks = self._reader.num_record_batches
            self._chunks: dict[int, list[np.ndarray]] = {}
            self._step = len(self._chunk(0)[0])
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise CorpusError(
                f"The shard {path} is missing or damaged ({error}): delete it and prepare again "
                "with the same parameters, which makes only what is not there."
            ) from error
        self.path = path

    def _chunk(self, number: int) -> list[np.ndarray]:
        if number not in self._chunks:
            batch = self._reader.get_batch(number)
            self._chunks[number] = [column.to_numpy(zero_copy_only=True) for column in batch]
        return self._chunks[number]

    @property
    def n_times(self) -> int:
        """Samples of the recording."""
        return (self._n_chunks - 1) * self._step + len(self._chunk(self._n_chunks - 1)[0])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return a copy of samples ``[start, stop)``, shape (n_channels, stop - start)."""
        out = np.empty((self.info.n_channels, stop - start), dtype=np.float32)
        at = start
        while at < stop:
            number = at // self._step
            first = number * self._step
            end = min(stop, first + self._step)
            for row, column in zip(out, self._chunk(number)):
                row[at - start : end - start] = column[at - first : end - first]
            at = end
        # Give the pages back: they stay in the system's cache, but count as ours no more.
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
        return out

    def forget(self) -> None:
        """Drop what was remembered of the record batches that were read."""
        self._chunks.clear()


class OpenShards:
    """Shards that are open in this process: a few, their pages given back after use.

    Parameters
    ----------
    folder : Path
        Folder that the names of shards start from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, Shard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_open": OrderedDict()}

    def get(self, name: str) -> Shard:
        """Return a shard, opened if need be."""
        if name not in self._open:
            while len(self._open) >= MOST_OPEN:
                self._open.popitem(last=False)
            self._open[name] = Shard(self._folder / name)
        self._open.move_to_end(name)
        return self._open[name]

    def forget(self) -> None:
        """Drop what reading left in memory."""
        for shard in self._open.values():
            shard.forget()


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield unfinished files of preparations that were killed."""
    yield from folder.rglob("*.tmp")
