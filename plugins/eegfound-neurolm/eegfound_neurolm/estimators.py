"""NeuroLM's named estimators."""

from __future__ import annotations

from eegfound.estimators import (
    FoundationClassifier,
    FoundationPretrainer,
    FoundationRegressor,
    FoundationTransformer,
)


class NeuroLMTransformer(FoundationTransformer):
    """NeuroLM as a frozen encoder; parameters as in its base class."""

    default_model = "neurolm"


class NeuroLMClassifier(FoundationClassifier):
    """NeuroLM with a trainable head; parameters as in its base class."""

    default_model = "neurolm"


class NeuroLMRegressor(FoundationRegressor):
    """NeuroLM with a trainable head for numbers; parameters as in its base class."""

    default_model = "neurolm"


class NeuroLMPretrainer(FoundationPretrainer):
    """NeuroLM's pretraining in two stages; parameters as in its base class."""

    default_model = "neurolm"
