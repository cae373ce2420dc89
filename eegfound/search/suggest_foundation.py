"""Spaces of the estimators of foundation models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int

from eegfound.search.space import SearchSpace

if TYPE_CHECKING:
    from eegfound.models import FoundationModel
    from eegfound.search.suggest import DataFacts

#: Read-outs that an inner layer has as well as the output.
_ANY_LAYER = ("mean", "max", "mean_std")
#: Read-outs as long as the window or the cap; only searched where they are the default.
_LONG = ("flatten", "channels")


def _size(estimator: Any, model: FoundationModel) -> str:
    """Return the size that the estimator will have."""
    if estimator.size is not None:
        return str(estimator.size)
    from eegfound.models.files import read_metadata
    from eegfound.models.trained import TrainedWeights

    if isinstance(estimator.checkpoint, TrainedWeights):
        return estimator.checkpoint.size
    if isinstance(estimator.checkpoint, str | os.PathLike) and Path(estimator.checkpoint).is_file():
        return str(read_metadata(estimator.checkpoint).get("size", model.default_size))
    known = {checkpoint.name: checkpoint.size for checkpoint in model.checkpoints}
    if estimator.checkpoint == "default" and estimator.pretrained and model.checkpoints:
        return model.checkpoints[0].size
    return known.get(estimator.checkpoint, model.default_size)


def _n_layers(estimator: Any, model: FoundationModel) -> int | None:
    """Return the number of layers without memory for a single weight."""
    if estimator._effective("model_params"):
        return None  # they may change it
    import torch

    with torch.device("meta"):
        return int(model.build(_size(estimator, model)).n_layers)


def _readout(estimator: Any) -> SearchSpace:
    model = estimator._model()
    default = estimator.pooling or model.poolings[0]
    poolings = [default, *(p for p in model.poolings if p != default and p not in _LONG)]
    if default in _LONG and default == model.poolings[0]:
        poolings = [default, *(p for p in poolings if p in _ANY_LAYER)]
    space = SearchSpace({"pooling": poolings})
    depth = _n_layers(estimator, model)
    plain = tuple(p for p in poolings if p in _ANY_LAYER)
    if depth is not None and depth > 2 and plain:
        inner = sorted({round(depth / 2), round(3 * depth / 4), depth - 1})
        space["layer"] = [None, *inner]
        space.when["layer"] = {"pooling": plain}
    return space


def transformer(estimator: Any, facts: DataFacts) -> SearchSpace:
    """Return read-outs and layers of a frozen encoder.

    Parameters
    ----------
    estimator : FoundationTransformer
        Its model and size count.
    facts : DataFacts
        Not used.

    Returns
    -------
    SearchSpace
        ``pooling`` and, for read-outs that inner layers have, ``layer``.
    """
    return _readout(estimator)


def tunable(estimator: Any, facts: DataFacts) -> SearchSpace:
    """Return what matters for the way an encoder is trained.

    Parameters
    ----------
    estimator : FoundationClassifier | FoundationRegressor
        Its ``tuning``, or its recipe's, decides which parameters count.
    facts : DataFacts
        Not used.

    Returns
    -------
    SearchSpace
        Without the number of epochs: hold data out (``early_stopping=True``)
        to find it.
    """
    tuning = estimator._tuning()  # a recipe may set it, and the head
    model = estimator._model()
    penalty = Float(1e-4, 1e1, log=True) if tuning == "head" else Float(1e-3, 0.3, log=True)
    space: dict[str, Any] = {"weight_decay": penalty}
    if tuning != "head":
        small = tuning in ("full", "partial", "two_stage")
        space["lr"] = Float(1e-5, 1e-3, log=True) if small else Float(1e-4, 1e-2, log=True)
    if tuning in ("full", "two_stage"):
        space["layer_decay"] = Float(0.5, 1.0)
    if tuning == "two_stage":
        space["second_stage"] = ["full", "lora"] if _has_peft() else ["full"]
    if tuning == "partial":
        space["n_unfrozen"] = Int(1, max(1, (_n_layers(estimator, model) or 2) // 2))
    if tuning == "lora":
        space["lora_rank"] = Int(2, 16, log=True)
        space["lora_dropout"] = Float(0.0, 0.3)
    if estimator._effective("head") in (None, "linear", "mlp") and tuning not in (
        "conv_linear",
        "readout",
    ):
        space["head"] = ["linear", "mlp"]
    space["head_dropout"] = Float(0.0, 0.5)
    if tuning != "conv_linear" and tuning != "readout" and estimator.recipe is None:
        return SearchSpace(space).joined(_readout(estimator))
    return SearchSpace(space)


def _has_peft() -> bool:
    from importlib.util import find_spec

    return find_spec("peft") is not None
