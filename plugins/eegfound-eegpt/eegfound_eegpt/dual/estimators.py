"""EEGPT's named estimators (the model of 2024)."""

from __future__ import annotations

from eegfound.estimators import (
    FoundationClassifier,
    FoundationPretrainer,
    FoundationRegressor,
    FoundationTransformer,
)


class EEGPTTransformer(FoundationTransformer):
    """EEGPT as a frozen encoder; parameters as in its base class."""

    default_model = "eegpt"


class EEGPTClassifier(FoundationClassifier):
    """EEGPT with a trainable head; parameters as in its base class."""

    default_model = "eegpt"


class EEGPTRegressor(FoundationRegressor):
    """EEGPT with a trainable head for numbers; parameters as in its base class."""

    default_model = "eegpt"


class EEGPTPretrainer(FoundationPretrainer):
    """EEGPT's dual self-supervision as ``fit``; parameters as in its base class."""

    default_model = "eegpt"
