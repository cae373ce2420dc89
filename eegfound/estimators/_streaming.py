"""Walking through arrays that may be larger than memory, a block at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Bytes of the user's array that are looked at or prepared at a time.
BLOCK_BYTES = 16 * 2**20
#: Most epochs at a time: keeps the pieces that threads wait for short.
BLOCK_EPOCHS = 256


def epochs_per_block(X: np.ndarray, at_least: int = 1) -> int:
    """Return how many epochs of ``X`` are handled at a time.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, ...)
        The whole array.
    at_least : int
        Epochs that must fit into a block, however large; the result is a
        multiple of it.

    Returns
    -------
    int
        Epochs.
    """
    each = max(1, X[:1].nbytes)
    count = min(BLOCK_EPOCHS, BLOCK_BYTES // each)
    return max(1, count // at_least) * at_least


def blocks(X: np.ndarray, at_least: int = 1) -> Iterator[slice]:
    """Yield slices of epochs that cover ``X``.

    Pages of a file that is mapped into memory (``numpy.memmap``) are given
    back once their block is done, so a file larger than memory costs no more
    than a block.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, ...)
        The whole array, perhaps a view of a memory map.
    at_least : int
        See :func:`epochs_per_block`.

    Yields
    ------
    slice
        Epochs of a block.
    """
    size = epochs_per_block(X, at_least)
    mapped = mapped_file(X)
    for first in range(0, len(X), size):
        yield slice(first, min(first + size, len(X)))
        if mapped is not None:
            _give_back(mapped)


def mapped_file(X: Any) -> mmap.mmap | None:
    """Return the file behind an array, if its pages can be given back.

    A copy-on-write map (``mode="c"``) is left alone: its changes are nowhere
    but in those pages.
    """
    while X is not None:
        if isinstance(X, np.memmap) and X.mode == "c":
            return None
        base = getattr(X, "base", None)
        if isinstance(X, np.memmap) and isinstance(base, mmap.mmap):
            return base if hasattr(base, "madvise") else None
        X = base
    return None


def give_back(X: np.ndarray) -> None:
    """Give the pages of a mapped file back to the system; they are read again if needed."""
    mapped = mapped_file(X)
    if mapped is not None:
        _give_back(mapped)


def _give_back(mapped: mmap.mmap) -> None:
    mapped.madvise(mmap.MADV_DONTNEED)
