"""The lock of a journal file, which dies with its process."""

from __future__ import annotations

import os
from typing import Any

from optuna.storages.journal import JournalFileOpenLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class KernelLock:
    """An exclusive lock that the kernel frees when its owner is killed.

    Optuna's own locks are files that a killed owner leaves behind. Whoever
    gets the lock also cuts off the half line that a writer may have left.

    Parameters
    ----------
    path : str
        The journal.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        place = os.open(self._path + ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(place, fcntl.LOCK_EX)
        self._held = place
        cut_half_line(self._path)
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._held is not None:
            place, self._held = self._held, None
            os.close(place)


def cut_half_line(path: str) -> None:
    """Shorten a journal to its last whole line.

    Parameters
    ----------
    path : str
        The journal; need not exist.
    """
    try:
        size = os.path.getsize(path)
    except FileNotFoundError:
        return
    if not size:
        return
    with open(path, "rb+") as file:
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        end = size
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                file.truncate(start + place + 1)
                return
            end = start
        file.truncate(0)


def journal_lock(path: str) -> Any:
    """Return the best lock that this system has for a journal."""
    return JournalFileOpenLock(path) if fcntl is None else KernelLock(path)
