"""Channel names, layouts, positions, and mapping one montage to another.

Reading names needs neither mne nor scikit-learn; the rest is loaded on first
use.
"""

from __future__ import annotations

import importlib
from typing import Any

from eegfound.montage.matching import VocabularyMatch, match_vocabulary
from eegfound.montage.names import ParsedName, parse_name
from eegfound.montage.recording import NameReport, parse_names

_WHERE = {
    "Layout": "eegfound.montage.layouts",
    "get_layout": "eegfound.montage.layouts",
    "list_layouts": "eegfound.montage.layouts",
    "union_layout": "eegfound.montage.layouts",
    "electrode_positions": "eegfound.montage.positions",
    "MontageMapper": "eegfound.montage.mapper",
    "MontageReport": "eegfound.montage.report",
}

__all__ = [
    "Layout",
    "MontageMapper",
    "MontageReport",
    "NameReport",
    "ParsedName",
    "VocabularyMatch",
    "electrode_positions",
    "get_layout",
    "list_layouts",
    "match_vocabulary",
    "parse_name",
    "parse_names",
    "union_layout",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'eegfound.montage' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
