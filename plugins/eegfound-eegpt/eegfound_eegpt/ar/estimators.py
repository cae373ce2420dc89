"""Named estimators of autoregressive EEGPT."""

from __future__ import annotations

from eegfound.estimators import (
    FoundationClassifier,
    FoundationPretrainer,
    FoundationRegressor,
    FoundationTransformer,
)


class EEGPTARTransformer(FoundationTransformer):
    """Autoregressive EEGPT as a frozen encoder; parameters as in its base class."""

    default_model = "eegpt-ar"


class EEGPTARClassifier(FoundationClassifier):
    """Autoregressive EEGPT with a trainable head; parameters as in its base class."""

    default_model = "eegpt-ar"


class EEGPTARRegressor(FoundationRegressor):
    """Autoregressive EEGPT with a head for numbers; parameters as in its base class."""

    default_model = "eegpt-ar"


class EEGPTARPretrainer(FoundationPretrainer):
    """Next-signal prediction as ``fit``; parameters as in its base class.

    The paper's second stage needs labels: it is the ``fit`` of
    :class:`eegfound_eegpt.EEGPTMultiTaskClassifier`, whose ``checkpoint`` takes what
    this one saves.
    """

    default_model = "eegpt-ar"
