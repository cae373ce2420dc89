"""A small store of known embeddings, and damaged files (imports no torch)."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np

from eegfound.cache import memory
from eegfound.cache.once import Rows, encode_once
from eegfound.cache.store import EmbeddingStore, Source

N, WIDTH = 40, 200
KEYS = [hashlib.sha256(str(i).encode()).digest() for i in range(N)]
TRUTH = np.random.default_rng(0).standard_normal((N, WIDTH)).astype(np.float32)
TRUTH[3, 5] = np.nan
SOURCE = Source(b"recipe", {"model": "toy", "size": "small", "pooling": "mean"})


def embed(folder, *, bound=10**8, keys=KEYS, truth=TRUTH, source=SOURCE):
    """Return the rows, and the indices that had to be computed; from the file alone."""
    computed = []
    memory.recent.__init__()  # nothing is at hand

    def encode(chosen, done):
        computed.extend(chosen)
        done(np.arange(len(chosen)), truth[chosen])

    rows = Rows(keys, lambda shape: np.empty((len(keys), *shape), np.float32), None)
    out = encode_once(EmbeddingStore(Path(folder), bound), source, rows, encode, step=8)
    return out, computed


def damage(data: bytes, how: str, seed: int) -> bytes:
    """Return a damaged copy of the bytes of a file."""
    chance = random.Random(f"{how}{seed}")
    raw = bytearray(data)
    at = chance.randrange(max(1, len(raw)))
    if how == "bit":
        raw[at] ^= 1 << chance.randrange(8)
    elif how == "head":  # the first bytes of a page say what it is
        page = at // 8192 * 8192
        raw[min(len(raw) - 1, page + chance.randrange(110))] = chance.randrange(256)
    elif how == "truncated":
        del raw[at:]
    elif how == "page":
        page = at // 8192 * 8192
        raw[page : page + 8192] = chance.randbytes(len(raw[page : page + 8192]))
    elif how == "zeros":
        raw[at : at + 700] = bytes(len(raw[at : at + 700]))
    elif how == "garbage":
        raw[:] = chance.randbytes(chance.choice([1, 100, 5000, 20000]))
    elif how == "empty":
        raw.clear()
    else:
        raise ValueError(how)
    return bytes(raw)


DAMAGES = ("bit", "head", "truncated", "page", "zeros", "garbage", "empty")
