"""Measuring time and memory of a block of code."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import TracebackType

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def _status_mb(field: str) -> float:
    match = re.search(rf"^{field}:\s+(\d+)", _STATUS.read_text(), re.MULTILINE)
    return int(match.group(1)) / 1024 if match else float("nan")


class Meter:
    """Context manager that measures wall time and the rise of memory.

    Attributes
    ----------
    seconds : float
        Wall time of the block.
    memory_mb : float
        Peak of the process' resident memory in the block, above its level at
        the beginning. NaN where the system does not tell (it does on Linux).
        Memory that the process held already and used again does not count.
    """

    def __enter__(self) -> Meter:
        self.memory_mb = float("nan")
        try:
            _CLEAR.write_text("5")  # resets the high-water mark of this process
            self._before = _status_mb("VmRSS")
        except OSError:
            self._before = float("nan")
        self._begin = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._begin
        if self._before == self._before:
            self.memory_mb = max(0.0, _status_mb("VmHWM") - self._before)
