"""Stretches of time: ``[start, stop)`` in samples, sorted and apart from each other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def merged(stretches: Iterable[tuple[int, int]], n_times: int) -> np.ndarray:
    """Return stretches sorted, cut to the recording, and joined where they touch.

    Parameters
    ----------
    stretches : iterable of (int, int)
        First sample and the one after the last.
    n_times : int
        Samples of the recording.

    Returns
    -------
    ndarray of int64, shape (n_stretches, 2)
        Sorted; no two touch.
    """
    out: list[list[int]] = []
    for start, stop in sorted((max(0, int(a)), min(n_times, int(b))) for a, b in stretches):
        if stop <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1][1] = max(out[-1][1], stop)
        else:
            out.append([start, stop])
    return np.asarray(out, dtype=np.int64).reshape(-1, 2)


def runs(mask: np.ndarray, at_least: int = 1) -> np.ndarray:
    """Return where a mask is True for at least so many samples in a row.

    Parameters
    ----------
    mask : ndarray of bool, shape (n_times,)
        The mask.
    at_least : int
        Shortest run.

    Returns
    -------
    ndarray of int64, shape (n_runs, 2)
        First sample of each run and the one after its last.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    found = edges.reshape(-1, 2).astype(np.int64)
    return found[found[:, 1] - found[:, 0] >= at_least]


def usable(rejected: np.ndarray, n_times: int) -> np.ndarray:
    """Return what lies between rejected stretches, shape (n_stretches, 2)."""
    if not len(rejected):
        return np.array([[0, n_times]], dtype=np.int64)
    edges = np.concatenate([[0], rejected.ravel(), [n_times]]).reshape(-1, 2)
    return edges[edges[:, 1] > edges[:, 0]]


def duration(stretches: np.ndarray) -> int:
    """Return how many samples stretches hold together."""
    return int((stretches[:, 1] - stretches[:, 0]).sum()) if len(stretches) else 0
