"""What can go wrong with a store of prepared recordings."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eegfound.base import SpecError

#: What the system says when nothing more can be written.
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file grew beyond the limit of this process (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.EIO: "the disk reports an error",
}


class CorpusError(SpecError):
    """A store cannot be written, or is not what it should be."""


@contextmanager
def writing(out: Path, what: str) -> Iterator[None]:
    """Turn a failure to write into an error that says where, why and what to do.

    Parameters
    ----------
    out : Path
        The store, as the user named it.
    what : str
        What was being written.

    Raises
    ------
    CorpusError
        In place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = _FULL.get(error.errno or 0, str(error))
        raise CorpusError(
            f"Cannot write {what} to out={str(out)!r}: {reason}. What is finished is kept: make "
            "room (or move the folder to where there is some) and prepare again; it goes on "
            "from there."
        ) from error
