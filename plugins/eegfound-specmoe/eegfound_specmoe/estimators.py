"""SpecMoE's named estimators."""

from __future__ import annotations

from eegfound.estimators import FoundationClassifier, FoundationRegressor, FoundationTransformer


class SpecMoETransformer(FoundationTransformer):
    """SpecMoE's experts as a frozen encoder; parameters as in its base class."""

    default_model = "specmoe"


class SpecMoEClassifier(FoundationClassifier):
    """SpecMoE with a trainable head; parameters as in its base class."""

    default_model = "specmoe"


class SpecMoERegressor(FoundationRegressor):
    """SpecMoE with a trainable head for numbers; parameters as in its base class."""

    default_model = "specmoe"
