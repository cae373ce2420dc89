"""Recordings prepared once for pretraining, and windows read from them.

:func:`prepare_corpus` turns folders of recordings into a store of Arrow files
that are mapped into memory; :class:`Corpus` opens it. Names are loaded on first
use.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "prepare_corpus": "eegfound.corpus.prepare",
    "Preparation": "eegfound.corpus.prepare",
    "Corpus": "eegfound.corpus.corpus",
    "CorpusSource": "eegfound.corpus.source",
    "CorpusError": "eegfound.corpus.errors",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'eegfound.corpus' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
