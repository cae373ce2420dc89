"""Subjects as they are written on a command line."""

from __future__ import annotations

import re


def subjects_of(text: str) -> list[str]:
    """Read ``"1-3,S07"`` as ``["1", "2", "3", "S07"]``, and ``"S001-S003"`` as three.

    Parameters
    ----------
    text : str
        Names with commas between them.
    """
    found: list[str] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        span = re.fullmatch(r"(\D*)(\d+)-\1(\d+)", part)
        first, last = (int(span[2]), int(span[3])) if span else (1, 0)
        if span is None or last < first:
            found.append(part)
            continue
        width = len(span[2]) if span[2].startswith("0") else 0
        found += [f"{span[1]}{number:0{width}}" for number in range(first, last + 1)]
    return found
