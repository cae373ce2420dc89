"""DARE-EEG's named estimators."""

from __future__ import annotations

from eegfound.estimators import (
    FoundationClassifier,
    FoundationPretrainer,
    FoundationRegressor,
    FoundationTransformer,
)


class DARETransformer(FoundationTransformer):
    """DARE-EEG as a frozen encoder; parameters as in its base class."""

    default_model = "dare"


class DAREClassifier(FoundationClassifier):
    """DARE-EEG with a trainable head; parameters as in its base class.

    ``tuning="conv_linear"`` is the paper's conv-linear-probing.
    """

    default_model = "dare"


class DARERegressor(FoundationRegressor):
    """DARE-EEG with a trainable head for numbers; parameters as in its base class."""

    default_model = "dare"


class DAREPretrainer(FoundationPretrainer):
    """DARE-EEG's dual-aligned pretraining as ``fit``; parameters as in its base class."""

    default_model = "dare"
