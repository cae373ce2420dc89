"""NeuroLM for eegfound: neural tokenizer, language model over EEG, prompt scoring.

Importing this package imports no torch; its estimators do, on first use.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_ESTIMATORS = ("NeuroLMClassifier", "NeuroLMPretrainer", "NeuroLMRegressor", "NeuroLMTransformer")
__all__ = [
    "NeuroLMClassifier",
    "NeuroLMPretrainer",
    "NeuroLMPromptClassifier",
    "NeuroLMRegressor",
    "NeuroLMTransformer",
    "byte_ids",
]


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        from eegfound_neurolm import estimators

        return getattr(estimators, name)
    if name == "NeuroLMPromptClassifier":
        from eegfound_neurolm.prompting import NeuroLMPromptClassifier

        return NeuroLMPromptClassifier
    if name == "byte_ids":
        from eegfound_neurolm.vocabulary import byte_ids

        return byte_ids
    raise AttributeError(f"module 'eegfound_neurolm' has no attribute {name!r}")
