"""Showing how far a preparation is: a bar on terminals, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

#: Seconds between lines where there is no terminal.
_PAUSE = 10.0


class Progress:
    """Progress over files, on standard error.

    Parameters
    ----------
    total, done : int
        Files in all, and done before.
    verbose : bool | None
        None: on terminals and in notebooks only.
    """

    def __init__(self, total: int, done: int, verbose: bool | None) -> None:
        from eegfound.datasets.progress import interactive

        self._total, self._done, self._failed = total, done, 0
        there = interactive()
        self._shown = there if verbose is None else verbose
        self._bar: Any = None
        self._said = time.monotonic()
        if self._shown and there:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._task = self._bar.add_task("preparing", total=self._total, completed=self._done)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, entry: dict[str, Any]) -> None:
        """Tell that a file is done."""
        self._done += 1
        failed = entry["kind"] == "failure"
        self._failed += failed
        if not self._shown:
            return
        if self._bar is not None:
            name = entry["file"].rpartition("/")[2]
            told = f"{name} ({self._failed} failed)" if self._failed else name
            self._bar.update(self._task, completed=self._done, description=told)
        elif failed or time.monotonic() - self._said > _PAUSE or self._done == self._total:
            self._said = time.monotonic()
            what = f": {entry['file']} {entry['reason']}" if failed else ""
            print(f"{self._done}/{self._total} files{what}", file=sys.stderr, flush=True)
