"""Where a study lives: in memory, in a journal file, or in a database."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from eegfound.base import SpecError
from eegfound.search.journal import journal_lock

#: Seconds that a process waits for another one's lock on an SQLite file.
SQLITE_TIMEOUT = 120
#: Seconds that a PostgreSQL server has to answer, unless the URL says connect_timeout=.
CONNECT_TIMEOUT = 20
_JOURNALS = (".log", ".journal")
_GREETERS = (
    "optuna.study.study",
    "optuna.storages._in_memory",
    "optuna.storages._rdb.storage",
    "optuna.storages.journal._storage",
)


def open_storage(storage: Any = None) -> BaseStorage:
    """Open the storage that a parameter stands for.

    Parameters
    ----------
    storage : None | str | path-like | optuna.storages.BaseStorage
        None: in memory. ``"journal:study.log"``, or a path that ends in
        ``.log`` or ``.journal``: an append-only file. ``"sqlite:///study.db"``,
        ``"postgresql://user:password@host/base"`` or another URL of
        SQLAlchemy: a database, whose tables are made if needed. Storages of
        Optuna are taken as they are.

    Returns
    -------
    optuna.storages.BaseStorage
        An open storage. Several processes may have one open.

    Raises
    ------
    SpecError
        If the text is neither a URL nor a journal, or the storage cannot be
        opened: no access, no server there, a file that holds something else.
    ImportError
        If the database's driver is not installed.

    Notes
    -----
    A journal file is for processes of one computer; on a network drive, and
    for many workers, use PostgreSQL.
    """
    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, BaseStorage):
        return storage
    if not isinstance(storage, str | os.PathLike):
        raise SpecError(
            f"storage={storage!r} is neither None, a path, a URL nor an Optuna storage."
        )
    text = os.fspath(storage)
    if text.startswith("journal:"):
        return _journal(text.removeprefix("journal:"))
    if "://" in text:
        return _database(text)
    if text.endswith(_JOURNALS):
        return _journal(text)
    raise SpecError(
        f"storage={text!r}: is it 'journal:{text}' (a file of its own kind) or 'sqlite:///{text}'?"
    )


def _journal(path: str) -> BaseStorage:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(path, lock_obj=journal_lock(path)))
    except (OSError, ValueError, KeyError, TypeError) as error:  # no access, or no journal
        raise _unusable(f"journal:{path}", error) from error


def _unusable(place: str, error: BaseException) -> SpecError:
    told = (str(error).strip() or repr(error)).splitlines()[0]
    return SpecError(
        f"storage={describe_place(place)!r} cannot be used: {told}. Is the place right, is the "
        "server up, and may you write there?"
    )


def _database(url: str) -> BaseStorage:
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        # Which driver that means depends on SQLAlchemy's version: take one that is here.
        installed = [name for name in ("psycopg2", "psycopg") if find_spec(name)]
        url = f"postgresql+{[*installed, 'psycopg2'][0]}{separator}{rest}"
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgresql") and "connect_timeout" not in url:
        options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT}
    if url.startswith("sqlite"):
        options = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
        path = url.partition(":///")[2]
        if path and path != ":memory:" and not path.startswith("file:"):
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unusable(url, error) from error
    for attempt in range(10):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except ImportError as error:
            raise ImportError(
                f"The driver for {url.partition('://')[0]} is missing ({error}); "
                "for PostgreSQL: pip install 'eegfound[postgres]'."
            ) from error
        except Exception as error:
            # Two processes that make the tables at once: one of them is told
            # that they exist. It finds them there the next time.
            if attempt == 9 or not _may_pass(error):
                raise _unusable(url, error) from error
            time.sleep(0.1 * (attempt + 1))
    raise AssertionError


def _may_pass(error: BaseException) -> bool:
    text = f"{error} {error.__cause__}".lower()
    return any(words in text for words in ("already exists", "locked", "duplicate", "unique"))


def is_shared(storage: Any) -> bool:
    """Say whether a storage outlives the process."""
    return not isinstance(storage, InMemoryStorage)


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keep Optuna from announcing each study on stderr."""
    loggers = [logging.getLogger(name) for name in _GREETERS]

    def silent(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    for logger in loggers:
        logger.addFilter(silent)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(silent)


def open_study(
    storage: BaseStorage, study_name: str | None, *, sampler: Any = None, pruner: Any = None
) -> optuna.Study:
    """Make a study, or go on with the one of that name.

    Parameters
    ----------
    storage : optuna.storages.BaseStorage
        See :func:`open_storage`.
    study_name : str | None
        None makes a new one.
    sampler, pruner : object | None
        Of Optuna.

    Returns
    -------
    optuna.Study
        Its values are maximized.

    Raises
    ------
    SpecError
        If there is a study of that name that minimizes or has several values.
    """
    try:
        with _without_greeting():
            study = optuna.create_study(
                storage=storage, study_name=study_name, sampler=sampler, pruner=pruner,
                direction="maximize", load_if_exists=study_name is not None,
            )  # fmt: skip
    except (optuna.exceptions.StorageInternalError, OSError) as error:
        raise _unusable(_place_of(storage), error.__cause__ or error) from error
    if [d.name for d in study.directions] != ["MAXIMIZE"]:
        raise SpecError(
            f"The study {study_name!r} has the directions {[d.name for d in study.directions]}; "
            "scores are maximized: choose another study_name."
        )
    return study


def _place_of(storage: BaseStorage) -> str:
    return str(getattr(storage, "url", None) or type(storage).__name__)


def describe_place(storage: Any) -> str:
    """Return where a study is kept, without user, password and options."""
    text = os.fspath(storage) if isinstance(storage, str | os.PathLike) else type(storage).__name__
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    place, _, options = rest.partition("?")  # a password may stand on either side
    # With an @ behind the question mark nobody knows which of both begins the other.
    return f"{scheme}://{'...' if '@' in options else place.rpartition('@')[2]}"
