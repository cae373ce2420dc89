"""The tables of a store and how a connection to it is opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

#: Raised with the layout of the tables or of a record; another layout is another file.
LAYOUT = 1
PAGE_BYTES = 8192
#: Seconds to wait for another process that is writing.
PATIENCE = 20.0

_TABLES = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, model TEXT NOT NULL, facts TEXT NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0, encoded INTEGER NOT NULL DEFAULT 0);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, source INTEGER NOT NULL,
    used INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX entries_by_use ON entries (used);
CREATE INDEX entries_by_source ON entries (source);
CREATE TABLE claims (
    key BLOB PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
"""

#: Troubles that are not the file's fault: locked, no memory, read-only, I/O, full, no access.
_INNOCENT = {
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY,
}  # fmt: skip
#: What damaged bytes can raise besides an error of SQLite.
DAMAGE = (sqlite3.Error, MemoryError, OverflowError, UnicodeDecodeError)


def connect(path: Path, bound: int, patience: float = PATIENCE) -> sqlite3.Connection:
    """Open a store, making its tables if it is new.

    Parameters
    ----------
    path : Path
        The file.
    bound : int
        Bytes it may have.
    patience : float
        Seconds to wait for a lock.

    Returns
    -------
    Connection
        Without implicit transactions.
    """
    db = sqlite3.connect(path, timeout=patience, isolation_level=None)
    try:
        db.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA mmap_size = 0")
        # What is lost when the power fails is computed again; a killed process loses nothing.
        db.execute("PRAGMA synchronous = OFF")
        if _layout(db) != LAYOUT:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("BEGIN IMMEDIATE")
            if _layout(db) != LAYOUT:  # nobody else was faster
                if (
                    _layout(db) != 0
                    or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                ):
                    raise sqlite3.DatabaseError("the file holds something else")
                for statement in filter(str.strip, _TABLES.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {LAYOUT}")
            db.execute("COMMIT")
        size = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {max(1, bound // size)}")
    except BaseException:
        db.close()
        raise
    return db


def _layout(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def is_damage(error: BaseException, path: Path) -> bool:
    """Say whether an error means that the file is damaged, not merely out of reach."""
    if isinstance(error, MemoryError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return True
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return True
    if code & 0xFF == sqlite3.SQLITE_READONLY:
        # Some damaged bytes make a file look as if a newer release had written it.
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code & 0xFF not in _INNOCENT


def shrink(db: sqlite3.Connection) -> None:
    """Give the room of deleted rows back to the disk."""
    db.executescript("PRAGMA incremental_vacuum")  # execute would free one page only


def in_chunks(keys: list[bytes], size: int = 500) -> list[list[bytes]]:
    """Cut keys into lists that one statement takes."""
    return [keys[at : at + size] for at in range(0, len(keys), size)]


def marks(keys: list[bytes]) -> str:
    """Return as many placeholders as keys."""
    return ",".join("?" * len(keys))
