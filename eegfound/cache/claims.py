"""Who computes what: no two processes encode the same epoch.

Before computing, a process claims keys in one transaction; others leave them
out and wait for the result. Nobody waits while holding a claim, so nobody can
wait for himself. A claim ends with its result, with its process, or when it
has not been renewed for a while (the process was stopped, or its machine is
gone). In doubt an epoch is computed twice, which is slower and never wrong.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from functools import partial
from itertools import islice
from types import TracebackType
from uuid import uuid4

from eegfound.cache.process import host, is_alive, start_of
from eegfound.cache.schema import in_chunks, marks
from eegfound.cache.store import EmbeddingStore, transaction

#: Seconds that a claim counts without being renewed.
LEASE = 30.0


class Claimant:
    """One call that computes embeddings; its claims are renewed while it runs.

    Parameters
    ----------
    store : EmbeddingStore
        Where claims are kept.
    lease : float
        Seconds that claims count without being renewed.
    """

    def __init__(self, store: EmbeddingStore, lease: float = LEASE) -> None:
        self.store = store
        self.lease = lease
        self.name = f"{host()}|{os.getpid()}|{start_of(os.getpid())}|{uuid4().hex}"
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None
        self._holds = False
        #: Whether nobody else was computing what was last asked for.
        self.unrivalled = True

    def __enter__(self) -> Claimant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        if self._holds:
            self.store.attempt(self._release, None)

    def _release(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM claims WHERE owner = ?", (self.name,))

    def claim(self, keys: Iterable[bytes], most: int) -> tuple[list[bytes], list[bytes]]:
        """Claim the first keys that nobody has stored or claimed.

        Parameters
        ----------
        keys : iterable of bytes
            Distinct keys, in the order in which they are to be computed.
        most : int
            How many to claim.

        Returns
        -------
        mine : list of bytes
            To be computed here. All that was asked for where the store cannot
            be used: then everybody computes for himself.
        ready : list of bytes
            Stored meanwhile by others.
        """
        keys = iter(keys)
        mine: list[bytes] = []
        ready: list[bytes] = []
        while len(mine) < most and (window := list(islice(keys, 500))):
            everything = (window[: most - len(mine)], list[bytes]())
            found = self.store.attempt(partial(self._claim, window, most - len(mine)), everything)
            mine += found[0]
            ready += found[1]
        if mine and self._renewing is None:
            self._holds = True
            self._renewing = threading.Thread(target=self._renew, daemon=True)
            self._renewing.start()
        return mine, ready

    def _claim(
        self, keys: list[bytes], most: int, db: sqlite3.Connection
    ) -> tuple[list[bytes], list[bytes]]:
        taken, ready = self._taken(db, keys)
        self.unrivalled = len(taken) == len(ready)
        if len(taken) == len(keys):  # nothing to write
            return [], ready
        with transaction(db):
            taken, ready = self._taken(db, keys)
            mine = [key for key in keys if key not in taken][:most]
            until = time.time() + self.lease
            db.executemany(
                "INSERT OR REPLACE INTO claims (key, owner, expires) VALUES (?, ?, ?)",
                [(key, self.name, until) for key in mine],
            )
        return mine, ready

    def _taken(self, db: sqlite3.Connection, keys: list[bytes]) -> tuple[set[bytes], list[bytes]]:
        """Return the keys that need not be computed here, and those of them that are stored."""
        taken: set[bytes] = set()
        ready: list[bytes] = []
        for part in in_chunks(keys):
            rows = db.execute(f"SELECT key FROM entries WHERE key IN ({marks(part)})", part)
            ready += [key for (key,) in rows]
            rows = db.execute(
                f"SELECT key, owner, expires FROM claims WHERE key IN ({marks(part)})", part
            )
            living: dict[str, bool] = {}
            for key, owner, expires in rows:
                if owner not in living:
                    living[owner] = owner != self.name and self._counts(owner, expires)
                if living[owner]:
                    taken.add(key)
        taken.update(ready)
        return taken, ready

    def _counts(self, owner: object, expires: object) -> bool:
        """Say whether a claim still means something."""
        now = time.time()
        # Beyond the longest lease: a clock was set, or the bytes are damaged.
        if not isinstance(expires, float) or not now < expires < now + 2 * max(LEASE, self.lease):
            return False
        place, pid, start, *_ = [*str(owner).split("|"), "", ""]
        if place != host():
            return True
        return is_alive(int(pid) if pid.isdecimal() else -1, start) is not False

    def _renew(self) -> None:
        while not self._ended.wait(self.lease / 4):
            self.store.attempt(
                lambda db: (
                    db.execute(
                        "UPDATE claims SET expires = ? WHERE owner = ?",
                        (time.time() + self.lease, self.name),
                    ).rowcount
                ),
                0,
            )
