"""Named estimators of the FoME-style model (our design, no published weights)."""

from __future__ import annotations

from eegfound.estimators import FoundationClassifier, FoundationRegressor, FoundationTransformer
from eegfound.estimators.pretrainer import FoundationPretrainer


class FomeStyleTransformer(FoundationTransformer):
    """Our FoME-style network as a frozen encoder; parameters as in its base class."""

    default_model = "fome-style"


class FomeStyleClassifier(FoundationClassifier):
    """Our FoME-style network with a trainable head; parameters as in its base class."""

    default_model = "fome-style"


class FomeStyleRegressor(FoundationRegressor):
    """Our FoME-style network with a head for numbers; parameters as in its base class."""

    default_model = "fome-style"


class FomeStylePretrainer(FoundationPretrainer):
    """Our FoME-style network learns to draw hidden patches; parameters as in its base class."""

    default_model = "fome-style"
