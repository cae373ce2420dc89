"""Where the windows of a training come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from eegfound.estimators._batches import Job


class WindowSource(Protocol):
    """Windows by number, ready for a network.

    Implementations read lazily, keep no signal in memory beyond the windows that
    were asked for, can be pickled, and give the same window the same numbers
    whatever is read with it.
    """

    #: Recording or subject of every window, shape ``(n_windows,)``: never split
    #: between training and hold-out. None where nobody said.
    groups: np.ndarray | None
    #: Windows with the same number have the same electrodes and length, shape
    #: ``(n_windows,)``. With it a process reads its own part of a batch only; a source
    #: may do without (then the attribute is missing or None).
    alike: np.ndarray | None

    def __len__(self) -> int:
        """Return the number of windows."""

    def jobs(self, indices: Sequence[int]) -> list[Job]:
        """Return windows in the network's rate and unit, grouped by their electrodes.

        Parameters
        ----------
        indices : sequence of int
            Which windows.

        Returns
        -------
        list of Job
            ``Job.epochs`` are places within ``indices``. Windows of one job have the
            same electrodes and length; every window stands in exactly one job, and
            jobs come in an order that depends on the windows alone.
        """

    def digest(self) -> str:
        """Return what tells this source from another one (for resuming)."""

    def record(self) -> dict[str, Any]:
        """Return what went in: the contamination record, as plain data.

        ``datasets`` (list of ``{"name", "licence", "citation", "subjects": [...],
        "n_recordings", "hours"}``), ``n_windows`` and ``hours``.
        """
