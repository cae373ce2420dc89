"""Showing how far a benchmark is."""

from __future__ import annotations

import sys
from types import TracebackType

from eegfound.datasets.progress import interactive


class Progress:
    """Bar on a terminal, one line per pipeline elsewhere (both on stderr).

    Parameters
    ----------
    total : int
        Number of cells.
    enabled : bool
        False shows nothing.
    """

    def __init__(self, total: int, enabled: bool) -> None:
        self.total = total
        self.enabled = enabled
        self._left: dict[str, int] = {}
        self._failed: set[str] = set()

    def __enter__(self) -> Progress:
        self._bar = None
        if self.enabled and interactive():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("benchmark", total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, pipeline: str, cells: int) -> None:
        """Announce a pipeline and its number of cells."""
        self._left[pipeline] = cells

    def say(self, text: str) -> None:
        """Name what is going on."""
        if self._bar is not None:
            self._bar.update(self._task, description=text)

    def done(self, pipeline: str, error: str | None, resumed: bool = False) -> None:
        """Count a cell."""
        self._left[pipeline] -= 1
        if error and pipeline in self._failed:
            error = None  # told already
        elif error:
            self._failed.add(pipeline)
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=pipeline)
            if error:
                self._bar.console.print(f"[red]{pipeline} failed:[/red] {error}", highlight=False)
        elif self.enabled and (
            error or (not self._left[pipeline] and pipeline not in self._failed)
        ):
            how = f"failed: {error}" if error else "resumed" if resumed else "done"
            print(f"benchmark: {pipeline} {how}", file=sys.stderr, flush=True)
