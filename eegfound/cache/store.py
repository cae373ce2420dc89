"""A store of embeddings that many processes share.

It is an SQLite file with a rollback journal. LMDB reads about five times
faster, but maps its file into memory: of 1000 randomly damaged copies of a
small store, 187 killed the reading process with SIGBUS (every truncation
among them), none with SQLite, which reports them as errors; a transaction of
SQLite takes 1 to 2 ms beside the second that its embeddings took. What SQLite
does not notice (a changed byte within a value) the checksum of each record
does. So a damaged store costs time, never a wrong number.

Every operation opens its own connection: nothing is carried over a fork, into
a thread or a pickle. A store damaged as a whole is renamed and the next number
begun, so that no journal of the old file can ever be taken for the new one's.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from eegfound.cache.place import complain
from eegfound.cache.record import pack, unpack
from eegfound.cache.schema import DAMAGE, PATIENCE, connect, in_chunks, is_damage, marks, shrink

Result = TypeVar("Result")
_NAME = re.compile(r"embeddings-v1-(\d{4})\.sqlite")
#: Folders whose lock could not be had, and until when that is remembered.
_blocked: dict[str, float] = {}
#: Seconds after which reading an embedding is noted as use.
USE_GRAIN = 86_400
#: Share of the bound at which the longest unused embeddings go, and how much goes at a time.
FULL, FREED = 0.9, 0.02


@dataclass(frozen=True)
class Source:
    """Whose embeddings they are, for people.

    Attributes
    ----------
    digest : bytes
        Digest of the recipe.
    facts : dict
        Model, size, weights, read-out and so on (JSON).
    """

    digest: bytes
    facts: dict[str, Any] = field(default_factory=dict)


class EmbeddingStore:
    """Embeddings in a folder.

    Parameters
    ----------
    place : Path
        The folder; made when first written to.
    bound : int
        Bytes that the store may take on disk.
    """

    def __init__(self, place: Path, bound: int) -> None:
        self.place = place
        self.bound = bound

    def path(self) -> Path:
        """Return the file in use: the one with the highest number."""
        numbers = [
            int(m[1]) for p in self.place.glob("embeddings-*") if (m := _NAME.fullmatch(p.name))
        ]
        return self.place / f"embeddings-v1-{max(numbers, default=1):04d}.sqlite"

    def set_aside_files(self) -> list[Path]:
        """Return the damaged stores that were set aside."""
        return sorted(self.place.glob("damaged-*"))

    def read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the embeddings that are there and whole; damaged ones are dropped.

        Parameters
        ----------
        keys : sequence of bytes
            Keys of epochs.
        """
        wanted = list(keys)
        if not wanted or not self.path().exists():
            return {}
        return self.attempt(lambda db: self._read(db, wanted), {})

    def _read(self, db: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, np.ndarray]:
        found, bad, stale = {}, [], []
        now = int(time.time())
        for part in in_chunks(keys):
            asked = set(part)
            rows = db.execute(
                f"SELECT key, used, value FROM entries WHERE key IN ({marks(part)})", part
            )
            for key, used, blob in rows:
                if not isinstance(key, bytes) or key not in asked:
                    raise sqlite3.DatabaseError("the index names other entries")
                value = unpack(key, blob)
                if value is None:
                    bad.append(key)
                    continue
                found[key] = value
                if not isinstance(used, int) or not now - USE_GRAIN < used <= now + USE_GRAIN:
                    stale.append(key)
        if bad:
            complain(
                self.place, "entries",
                f"{len(bad)} embedding(s) in {self.place} were damaged: they are dropped.",
            )  # fmt: skip
            self._drop(db, bad)
        # Unimportant enough to be left undone where the store is read-only.
        with contextlib.suppress(sqlite3.OperationalError):
            for part in in_chunks(stale):
                db.execute(
                    f"UPDATE entries SET used = ? WHERE key IN ({marks(part)})", [now, *part]
                )
        return found

    def _drop(self, db: sqlite3.Connection, keys: list[bytes]) -> None:
        with contextlib.suppress(sqlite3.OperationalError):
            for part in in_chunks(keys):
                db.execute(f"DELETE FROM entries WHERE key IN ({marks(part)})", part)

    def write(
        self, source: Source, items: Sequence[tuple[bytes, np.ndarray]], owner: str = ""
    ) -> bool:
        """Keep embeddings, and give up the claims on them.

        Returns
        -------
        bool
            Whether they were kept.
        """
        rows = [(key, pack(key, value)) for key, value in items]
        n_bytes = sum(len(blob) + 200 for _, blob in rows)
        if n_bytes > self.bound // 4 and len(rows) > 1:  # a few at a time
            half = len(rows) // 2
            parts = (items[:half], items[half:])
            return all([self.write(source, part, owner) for part in parts])
        if n_bytes > self.bound // 4:
            complain(
                self.place, "large",
                f"An embedding of {n_bytes / 1e6:.1f} MB is too large for a cache of "
                f"{self.bound / 1e6:.1f} MB (EEGFOUND_CACHE_SIZE): not kept.",
            )  # fmt: skip
            return False
        return self.attempt(lambda db: self._write(db, source, rows, n_bytes, owner), False)

    def _write(
        self, db: sqlite3.Connection, source: Source, rows: list[tuple[bytes, bytes]],
        n_bytes: int, owner: str,
    ) -> bool:  # fmt: skip
        for again in (True, False):
            try:
                with transaction(db):
                    self._make_room(db, n_bytes if again else 4 * n_bytes)
                    number, now = source_number(db, source), int(time.time())
                    db.executemany(
                        "INSERT OR REPLACE INTO entries (key, source, used, value) "
                        "VALUES (?, ?, ?, ?)",
                        [(key, number, now, blob) for key, blob in rows],
                    )
                    for part in in_chunks([key for key, _ in rows]):
                        db.execute(
                            f"DELETE FROM claims WHERE owner = ? AND key IN ({marks(part)})",
                            [owner, *part],
                        )
                    db.execute(
                        "UPDATE sources SET encoded = encoded + ? WHERE id = ?", (len(rows), number)
                    )
                if _pages(db, "page_count") * _pages(db, "page_size") > self.bound:
                    shrink(db)  # the bound was lowered
                return True
            except sqlite3.OperationalError as error:
                if not again or getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
                    raise
        return False

    def _make_room(self, db: sqlite3.Connection, n_bytes: int) -> None:
        """Delete what was not used for longest, a little at a time (the journal grows with it)."""
        page = _pages(db, "page_size")

        def taken() -> int:
            return page * (_pages(db, "page_count") - _pages(db, "freelist_count"))

        limit = int(FULL * self.bound)
        for _ in range(1000):
            too_much = taken() + n_bytes + page - limit
            if too_much <= 0:
                return
            each = db.execute(
                "SELECT avg(length(value)) FROM "
                "(SELECT value FROM entries ORDER BY used, id LIMIT 64)"
            ).fetchone()[0]
            if not each:
                return
            count = int(max(too_much, FREED * self.bound) / (each + 150)) + 1
            db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries ORDER BY used, id LIMIT ?)",
                (count,),
            )

    def note_hits(self, source: Source, count: int) -> None:
        """Count embeddings that were found (for ``eegfound cache info``)."""

        def note(db: sqlite3.Connection) -> None:
            db.execute("PRAGMA busy_timeout = 200")
            with contextlib.suppress(sqlite3.OperationalError):
                db.execute(
                    "UPDATE sources SET hits = hits + ? WHERE digest = ?", (count, source.digest)
                )

        if count and self.path().exists():
            self.attempt(note, None)

    def attempt(self, work: Callable[[sqlite3.Connection], Result], default: Result) -> Result:
        """Do something with the store; on any trouble warn, and go on with ``default``."""
        for _ in range(2):
            path = self.path()
            try:
                self.place.mkdir(parents=True, exist_ok=True)
                with closing(connect(path, self.bound, self._patience())) as db:
                    return work(db)
            except DAMAGE as error:
                if is_damage(error, path):
                    self.set_aside(path, error)
                    continue
                self._unusable(error)
                return default
            except OSError as error:
                self._unusable(error)
                return default
        return default

    def _patience(self) -> float:
        return 0.2 if time.monotonic() < _blocked.get(str(self.place), 0.0) else PATIENCE

    def _unusable(self, error: BaseException) -> None:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            # Somebody stopped in the middle of writing: do not wait for him every time.
            _blocked[str(self.place)] = time.monotonic() + 120
        complain(
            self.place, f"unusable {error}",
            f"The embedding cache in {self.place} cannot be used ({error}): what it lacks is "
            "computed and not kept. Choose another folder with cache=, or make room.",
        )  # fmt: skip

    def set_aside(self, path: Path, error: BaseException) -> None:
        """Rename a damaged store and begin the next number.

        Two processes may find the damage at the same time: both go on to the
        same number, and only one of them has something to rename.
        """
        found = _NAME.fullmatch(path.name)
        number = int(found[1]) if found else 1
        complain(
            self.place, f"damaged {number}",
            f"The embedding cache {path} is damaged ({error}): set aside, and begun anew.",
        )  # fmt: skip
        try:
            following = self.place / f"embeddings-v1-{number + 1:04d}.sqlite"
            following.touch()
            for old in self.set_aside_files():
                old.unlink(missing_ok=True)
            aside = self.place / f"damaged-{number:04d}.sqlite"
            path.replace(aside)
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            if aside.stat().st_size > self.bound // 10:
                aside.unlink()  # it would take the room of the new one
        except OSError:
            pass  # another process was faster, or the folder is read-only


def _pages(db: sqlite3.Connection, what: str) -> int:
    return int(db.execute(f"PRAGMA {what}").fetchone()[0])


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Any:
    """Write all of a block or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def source_number(db: sqlite3.Connection, source: Source) -> int:
    """Return the row of a source, making it if it is new."""
    asked = "SELECT id FROM sources WHERE digest = ?"
    row = db.execute(asked, (source.digest,)).fetchone()
    if row is None:
        db.execute(
            "INSERT INTO sources (digest, model, facts) VALUES (?, ?, ?)",
            (
                source.digest,
                str(source.facts.get("model", "")),
                json.dumps(source.facts, default=str),
            ),
        )
        row = db.execute(asked, (source.digest,)).fetchone()
    return int(row[0])
