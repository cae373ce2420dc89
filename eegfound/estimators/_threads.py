"""Sharing the processor's cores instead of fighting for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch

from eegfound.base import SpecError


def n_workers(n_threads: int | None) -> int:
    """Return how many threads an encoder may use here.

    Parameters
    ----------
    n_threads : int | None
        The user's wish. None means: all that torch may use in the main
        thread (joblib's process workers set that to their share), one in any
        other thread, where somebody else is already working in parallel.

    Returns
    -------
    int
        At least 1.
    """
    if n_threads is not None:
        if not isinstance(n_threads, Integral) or n_threads < 1:
            raise SpecError(f"n_threads={n_threads!r} must be a positive integer or None.")
        return int(n_threads)
    if threading.current_thread() is not threading.main_thread():
        return 1
    return max(1, torch.get_num_threads())


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run a block with ``count`` torch threads and restore the old number."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
