"""Telling whether a process that promised something still runs."""

from __future__ import annotations

import os
import platform
import sys
import time
from functools import lru_cache
from pathlib import Path


@lru_cache
def host() -> str:
    """Return a name of this machine, and of the container in it that numbers processes."""
    parts = [platform.node()]
    for place in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(
                Path(place).read_text().strip() if "random" in place else os.readlink(place)
            )
        except OSError:
            continue
    return "/".join(parts)


def start_of(pid: int) -> str:
    """Return when a process started: tells it from a later one of the same number.

    Empty where the system does not say, and for a process that has ended.
    """
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if facts[0] in "ZX" else facts[19]


def is_alive(pid: int, start: str) -> bool | None:
    """Say whether a process of this machine still runs; None if that cannot be known."""
    if start:
        return start_of(pid) == start
    if sys.platform == "win32" or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return None
    return None  # another process may have got the number: the lease decides


@lru_cache
def started_at() -> float:
    """Return the time at which this process started, as files tell time."""
    try:
        age = float(Path("/proc/uptime").read_text().split()[0]) - int(
            start_of(os.getpid())
        ) / os.sysconf("SC_CLK_TCK")
        return time.time() - age
    except (OSError, ValueError, AttributeError):
        return _IMPORTED


_IMPORTED = time.time()
