"""Looking at a cache, emptying it, checking it."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eegfound.cache.memory import hits
from eegfound.cache.place import resolve_place, size_bound
from eegfound.cache.record import unpack
from eegfound.cache.schema import in_chunks, marks, shrink
from eegfound.cache.store import USE_GRAIN, EmbeddingStore, transaction


@dataclass
class CacheInfo:
    """What a cache holds.

    Attributes
    ----------
    place : Path
        The folder.
    entries : int
        Embeddings.
    bytes : int
        Bytes on disk, damaged stores included.
    bound : int
        Bytes that it may take.
    claims : int
        Embeddings that are being computed.
    set_aside : list of Path
        Damaged stores that were set aside.
    sources : list of dict
        Per encoder and read-out: facts, ``entries``, ``hits``, ``encoded``.
    """

    place: Path
    entries: int
    bytes: int
    bound: int
    claims: int = 0
    set_aside: list[Path] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)


def open_store(cache: Any = True) -> EmbeddingStore:
    """Return the store of a folder, by default the default one."""
    place = resolve_place(cache)
    assert place is not None
    return EmbeddingStore(place, size_bound())


def cache_info(cache: Any = True) -> CacheInfo:
    """Tell what a cache holds.

    Parameters
    ----------
    cache : True | str | path-like
        The folder; True is the default place.

    Returns
    -------
    CacheInfo
        Counts and sizes; all zero where there is no cache.
    """
    hits.write()  # those of this process
    store = open_store(cache)
    aside = store.set_aside_files()
    info = CacheInfo(store.place, 0, _size(store), store.bound, set_aside=aside)
    if not store.path().exists():
        return info

    def look(db: sqlite3.Connection) -> tuple[int, int, list[dict[str, Any]]]:
        counts = dict(db.execute("SELECT source, count(*) FROM entries GROUP BY source"))
        (claims,) = db.execute(
            "SELECT count(*) FROM claims WHERE expires > ?", (time.time(),)
        ).fetchone()
        sources = []
        for number, model, facts, n_found, encoded in db.execute(
            "SELECT id, model, facts, hits, encoded FROM sources ORDER BY id"
        ):
            told = {"model": model} | _facts(facts)
            told |= {"entries": counts.pop(number, 0), "hits": n_found, "encoded": encoded}
            sources.append(told)
        if counts:  # their source was damaged; their own bytes say whether they are
            sources.append({"model": "unknown", "entries": sum(counts.values())})
        return sum(s["entries"] for s in sources), claims, sources

    nothing: tuple[int, int, list[dict[str, Any]]] = (0, 0, [])
    info.entries, info.claims, info.sources = store.attempt(look, nothing)
    info.bytes = _size(store)
    return info


def _facts(text: Any) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _size(store: EmbeddingStore) -> int:
    total = 0
    for pattern in ("embeddings-*", "damaged-*"):
        for path in store.place.glob(pattern):
            try:
                total += path.stat().st_size
            except OSError:
                continue
    return total


def clear_cache(
    cache: Any = True, *, model: str | None = None, older_than: float | None = None
) -> int:
    """Delete embeddings; other processes may go on using the cache.

    Parameters
    ----------
    cache : True | str | path-like
        The folder; True is the default place.
    model : str | None
        Only those of this model.
    older_than : float | None
        Only those that were not used for this many days; those used up to a
        day before that may stay too.

    Returns
    -------
    int
        How many were deleted.
    """
    store = open_store(cache)
    for path in store.set_aside_files():
        path.unlink(missing_ok=True)
    if not store.path().exists():
        return 0
    # Use is noted once a day: what is noted may lie so much before the last use.
    span = None if older_than is None else 86_400 * older_than + USE_GRAIN
    before = None if span is None else int(time.time() - span)

    def clear(db: sqlite3.Connection) -> int:
        where = ["1"]
        values: list[Any] = []
        if model is not None:
            where.append("source IN (SELECT id FROM sources WHERE model = ?)")
            values.append(model)
        if before is not None:
            where.append("used < ?")
            values.append(before)
        with transaction(db):
            count = db.execute(f"DELETE FROM entries WHERE {' AND '.join(where)}", values).rowcount
            db.execute("DELETE FROM sources WHERE id NOT IN (SELECT source FROM entries)")
        shrink(db)
        return count

    return store.attempt(clear, 0)


@dataclass
class Verification:
    """What was found in a cache.

    Attributes
    ----------
    checked : int
        Entries that were read.
    bad : int
        Entries that were damaged, and are dropped.
    damaged_file : bool
        Whether the file as a whole was damaged and is set aside.
    """

    checked: int = 0
    bad: int = 0
    damaged_file: bool = False


def verify_cache(cache: Any = True) -> Verification:
    """Read every embedding, compare its checksum, and drop what is damaged.

    Parameters
    ----------
    cache : True | str | path-like
        The folder; True is the default place.

    Returns
    -------
    Verification
        What was found.
    """
    store = open_store(cache)
    result = Verification()
    path = store.path()
    if not path.exists():
        return result

    def check(db: sqlite3.Connection) -> Verification:
        found = Verification()
        bad = []
        rows = db.execute("SELECT id, key, value FROM entries NOT INDEXED")
        for number, key, blob in rows:
            found.checked += 1
            if not isinstance(key, bytes) or unpack(key, blob) is None:
                bad.append(number)
        for part in in_chunks(bad):
            db.execute(f"DELETE FROM entries WHERE id IN ({marks(part)})", part)
        found.bad = len(bad)
        (told,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if told != "ok":
            raise sqlite3.DatabaseError(str(told))
        return found

    result = store.attempt(check, result)
    result.damaged_file = store.path() != path
    return result
