"""Showing how far a long loop is, where somebody is looking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def interactive() -> bool:
    """Say whether standard error is a terminal or a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


def track(items: Sequence[Item], description: str, progress: bool | None = None) -> Iterator[Item]:
    """Iterate with a progress bar on standard error.

    Parameters
    ----------
    items : sequence
        What to iterate over.
    description : str
        Text in front of the bar.
    progress : bool | None
        None shows the bar on a terminal and in a notebook only.

    Yields
    ------
    object
        The items.
    """
    show = interactive() if progress is None else progress
    if not show:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    shown: Iterable[Item] = bar(
        items, description=description, console=Console(stderr=True), transient=True
    )
    yield from shown
