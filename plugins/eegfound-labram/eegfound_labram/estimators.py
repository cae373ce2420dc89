"""LaBraM's named estimators."""

from __future__ import annotations

from eegfound.estimators import (
    FoundationClassifier,
    FoundationPretrainer,
    FoundationRegressor,
    FoundationTransformer,
)


class LaBraMTransformer(FoundationTransformer):
    """LaBraM as a frozen encoder; parameters as in its base class."""

    default_model = "labram"


class LaBraMClassifier(FoundationClassifier):
    """LaBraM with a trainable head; parameters as in its base class."""

    default_model = "labram"


class LaBraMRegressor(FoundationRegressor):
    """LaBraM with a trainable head for numbers; parameters as in its base class."""

    default_model = "labram"


class LaBraMPretrainer(FoundationPretrainer):
    """LaBraM's pretraining in two stages; parameters as in its base class."""

    default_model = "labram"
