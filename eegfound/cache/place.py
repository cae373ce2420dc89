"""Where embeddings are kept, and how much room they may take."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

from eegfound.base import SpecError

#: Bytes on disk where ``EEGFOUND_CACHE_SIZE`` says nothing.
DEFAULT_BOUND = 10 * 10**9
#: Less than this holds no useful number of embeddings.
SMALLEST_BOUND = 500_000
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_told: set[tuple[str, str]] = set()


class CacheWarning(UserWarning):
    """The embedding cache was damaged or cannot be used; numbers are right all the same."""


def default_place() -> Path:
    """Return the folder that ``cache=True`` means (below ``EEGFOUND_CACHE``, if set)."""
    from eegfound.models.store import cache_dir

    return cache_dir() / "embeddings"


def resolve_place(cache: Any) -> Path | None:
    """Return the folder that ``cache=`` names.

    Parameters
    ----------
    cache : None | bool | str | path-like
        None and False: no cache; True: the default place; else a folder.

    Returns
    -------
    Path | None
        An absolute path, or None for no cache.

    Raises
    ------
    SpecError
        If ``cache`` is something else, or the path of a file.
    """
    if cache is None or cache is False:
        return None
    if cache is True:
        return default_place().absolute()
    if not isinstance(cache, str | os.PathLike) or os.fspath(cache) == "" or "\0" in str(cache):
        raise SpecError(
            f"cache={cache!r} must be None, True (the default place), or the path of a folder."
        )
    try:
        place = Path(cache).expanduser().absolute()
        taken = place.is_file()
    except (RuntimeError, OSError) as error:  # no such user, too long
        raise SpecError(f"cache={cache!r} is no path: {error}.") from error
    if taken:
        raise SpecError(f"cache={str(place)!r} is a file: pass the path of a folder.")
    return place


def size_bound() -> int:
    """Return how many bytes the store may take (``EEGFOUND_CACHE_SIZE``, 10 GB by default).

    Raises
    ------
    SpecError
        If the variable is no size, or too small to hold anything.
    """
    text = os.environ.get("EEGFOUND_CACHE_SIZE", "").strip()
    if not text:
        return DEFAULT_BOUND
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text, re.IGNORECASE)
    bound = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if bound < SMALLEST_BOUND:
        raise SpecError(
            f"EEGFOUND_CACHE_SIZE={text!r} must be a size such as '500MB' or '10GB', at least "
            f"{SMALLEST_BOUND} bytes."
        )
    return bound


def complain(place: Path, kind: str, text: str) -> None:
    """Warn about a store, once per process and kind of trouble."""
    if (str(place), kind) not in _told:
        _told.add((str(place), kind))
        warnings.warn(text, CacheWarning, stacklevel=2)
