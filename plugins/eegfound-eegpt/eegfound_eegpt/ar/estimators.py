"""Named estimators of autoregressive EEGPT."""

from __future__ import annotations

from eegfound.estimators import FoundationClassifier, FoundationRegressor, FoundationTransformer


class EEGPTARTransformer(FoundationTransformer):
    """Autoregressive EEGPT as a frozen encoder; parameters as in its base class."""

    default_model = "eegpt-ar"


class EEGPTARClassifier(FoundationClassifier):
    """Autoregressive EEGPT with a trainable head; parameters as in its base class."""

    default_model = "eegpt-ar"


class EEGPTARRegressor(FoundationRegressor):
    """Autoregressive EEGPT with a head for numbers; parameters as in its base class."""

    default_model = "eegpt-ar"
