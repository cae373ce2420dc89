"""SpecMoE's named estimators."""

from __future__ import annotations

from dataclasses import replace

from eegfound.estimators import FoundationClassifier, FoundationRegressor, FoundationTransformer
from eegfound.estimators.pretrainer import FoundationPretrainer
from eegfound.models import FoundationModel


class SpecMoETransformer(FoundationTransformer):
    """SpecMoE's experts as a frozen encoder; parameters as in its base class."""

    default_model = "specmoe"


class SpecMoEClassifier(FoundationClassifier):
    """SpecMoE with a trainable head; parameters as in its base class."""

    default_model = "specmoe"


class SpecMoERegressor(FoundationRegressor):
    """SpecMoE with a trainable head for numbers; parameters as in its base class."""

    default_model = "specmoe"


class SpecMoEPretrainer(FoundationPretrainer):
    """SpecMoE's experts one after another, then their gates; parameters as in its base class.

    A network of fewer experts has fewer stages: ``size="expert"`` trains
    ``"expert-1"`` and its ``"gates"``.
    """

    default_model = "specmoe"

    def _model(self) -> FoundationModel:
        model = super()._model()
        config = {
            **model.sizes.get(self.size or model.default_size, {}),
            **(self.model_params or {}),
        }
        last = config.get("n_experts", len(model.stages))
        stages = tuple(
            stage
            for stage in model.stages
            if not stage.name.startswith("expert-") or int(stage.name.split("-")[1]) <= last
        )
        return replace(model, stages=stages)
