"""Two models that share a name: ``eegpt`` (2024, dual) and ``eegpt-ar`` (BrainGPT)."""

from __future__ import annotations

from eegfound.models import FoundationModel, hookimpl
from eegfound_eegpt.ar.declaration import MODEL as AUTOREGRESSIVE
from eegfound_eegpt.dual.declaration import MODEL as DUAL


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return both models."""
    return [DUAL, AUTOREGRESSIVE]
