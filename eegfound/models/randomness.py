"""Drawing from torch's generator without being disturbed, or disturbing anybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch has one generator per process: two threads that seed it would draw from
# each other's sequence. Reentrant, since training builds networks.
_turn = threading.RLock()


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Run a block on a freshly seeded torch generator, one thread at a time.

    The caller's generators (CPU and GPU) are as before afterwards.

    Parameters
    ----------
    seed : int
        Seed of the block.
    """
    with _turn, torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
