"""MMM's named estimators."""

from __future__ import annotations

from eegfound.estimators import FoundationClassifier, FoundationRegressor, FoundationTransformer
from eegfound.estimators.pretrainer import FoundationPretrainer


class MMMTransformer(FoundationTransformer):
    """MMM as a frozen encoder; parameters as in its base class."""

    default_model = "mmm"


class MMMClassifier(FoundationClassifier):
    """MMM with a trainable head; parameters as in its base class."""

    default_model = "mmm"


class MMMRegressor(FoundationRegressor):
    """MMM with a trainable head for numbers; parameters as in its base class."""

    default_model = "mmm"


class MMMPretrainer(FoundationPretrainer):
    """MMM learns to rebuild features of all electrodes; parameters as in its base class."""

    default_model = "mmm"
