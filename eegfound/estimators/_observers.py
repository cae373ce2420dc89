"""Callbacks that somebody around a fit (a search) adds to every net trained inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_WATCHING: ContextVar[tuple[Any, ...]] = ContextVar("eegfound_watching", default=())


@contextmanager
def watching(*callbacks: Any) -> Iterator[None]:
    """Give skorch callbacks to every net that is trained within the block.

    Parameters
    ----------
    *callbacks : skorch.callbacks.Callback
        Used as they are, not copied: they report to whoever made them.
    """
    token = _WATCHING.set((*_WATCHING.get(), *callbacks))
    try:
        yield
    finally:
        _WATCHING.reset(token)


def watchers() -> tuple[Any, ...]:
    """Return the callbacks of all surrounding :func:`watching` blocks."""
    return _WATCHING.get()
