"""Windows of an array, as a training takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from eegfound.estimators._batches import Job, jobs
from eegfound.estimators._encode import pieces_of
from eegfound.estimators._inputs import InputPlan
from eegfound.estimators._streaming import blocks, give_back


class ArraySource:
    """The windows of an array, brought to the network's rate and unit when asked for.

    A window longer than the network takes counts as several windows, its pieces of
    (almost) equal length.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        Checked by ``plan``; may be mapped into memory.
    presence : ndarray of bool, shape (n_epochs, n_used)
        From ``plan.check``.
    plan : InputPlan
        How arrays enter the model.
    whole : bool
        Whether windows are never cut (the model has a front end).
    groups : array-like, shape (n_epochs,) | None
        Subject or recording of each epoch.
    terms : mapping
        What is known of the data: ``name``, ``licence``, ``citation``.

    Attributes
    ----------
    front_end : Transformer | None
        Fitted front end of the model, to be set before windows are asked for.
    """

    def __init__(
        self, X: np.ndarray, presence: np.ndarray, plan: InputPlan, whole: bool, groups: Any,
        terms: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.X, self.presence, self.plan, self.terms = X, presence, plan, dict(terms)
        self.front_end: Any = None
        length = plan.n_model_times(X.shape[-1])
        self.pieces = [(0, length, 0)] if whole else pieces_of(length, plan)
        lengths = [stop - start for start, stop, _ in self.pieces]
        n_pieces = len(self.pieces)
        self.groups = None if groups is None else np.repeat(np.asarray(groups), n_pieces)
        caps = np.unique(presence, axis=0, return_inverse=True)[1].reshape(-1)
        kinds = np.unique(lengths, return_inverse=True)[1].reshape(-1)
        self.alike: np.ndarray | None = (caps[:, None] * n_pieces + kinds[None]).reshape(-1)

    @property
    def electrodes(self) -> list[str]:
        """Names of the rows that a front end is given."""
        return list(self.plan.names)

    def __len__(self) -> int:
        return len(self.X) * len(self.pieces)

    def jobs(self, indices: Sequence[int]) -> list[Job]:
        """Return windows, grouped by their electrodes; see :class:`WindowSource`."""
        index = np.asarray(indices, dtype=np.int64)
        epochs, piece = np.divmod(index, len(self.pieces))
        needed, place = np.unique(epochs, return_inverse=True)
        X = self.X[needed]
        give_back(self.X)
        found: list[Job] = []
        step = max(1, len(needed))
        for job in jobs(X, self.presence[needed], self.plan, self.front_end, step):
            where = np.full(len(needed), -1)
            where[job.epochs] = np.arange(len(job.epochs))
            found.extend(self._cut(job, where[place], piece))
        return found

    def _cut(self, job: Job, row: np.ndarray, piece: np.ndarray) -> list[Job]:
        """Cut the epochs of a job into the pieces that were asked for.

        Parameters
        ----------
        job : Job
            Whole epochs.
        row : ndarray of int
            Row of the job that each window is taken from; -1 for other jobs' windows.
        piece : ndarray of int
            Which piece of the epoch each window is.
        """
        mine = np.flatnonzero(row >= 0)
        if len(self.pieces) == 1:
            return [Job(mine, job.electrodes, job.signal[row[mine]])]
        spans = np.array([(start, stop) for start, stop, _ in self.pieces])
        lengths = (spans[:, 1] - spans[:, 0])[piece[mine]]
        found = []
        for length in np.unique(lengths):
            windows = mine[lengths == length]
            starts = spans[piece[windows], 0]
            signal = np.stack([
                job.signal[r, ..., at : at + length]
                for r, at in zip(row[windows], starts, strict=True)
            ])  # fmt: skip
            found.append(Job(windows, job.electrodes, signal))
        return found

    def digest(self) -> str:
        """Return what tells these windows from others: their bytes and their plan."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.X.dtype}{self.X.shape}{self.plan!r}".encode())
        for block in blocks(self.X):
            digest.update(np.ascontiguousarray(self.X[block]).data)
        if self.groups is not None:
            digest.update(repr(self.groups.tolist()).encode())
        return digest.hexdigest()

    def record(self) -> dict[str, Any]:
        """Return what an array can tell of itself: how much, and of which groups."""
        hours = len(self.X) * self.X.shape[-1] / self.plan.info.sfreq / 3600
        groups = [] if self.groups is None else [str(g) for g in np.unique(self.groups)]
        described = {
            "name": "array", "licence": "", "citation": "", "subjects": groups,
            "n_recordings": len(groups) or None, "hours": hours, **self.terms,
        }  # fmt: skip
        return {"datasets": [described], "n_windows": len(self), "hours": hours}
