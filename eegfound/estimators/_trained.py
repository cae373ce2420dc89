"""What a pretraining leaves: tensors for a Transformer, and what is told about them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from eegfound.pretraining.keeping import OBJECTIVES, encoder_state, history_summary, plain

#: Parameters whose None means: the recipe's, else the stage's.
BY_STAGE = (
    "max_epochs", "train_batch_size", "optimizer", "betas", "lr", "min_lr", "lr_schedule",
    "warmup", "weight_decay", "gradient_clip", "ema_decay", "objective_params",
)  # fmt: skip


def trained_state(estimator: Any) -> dict[str, Any]:
    """Return the tensors that a Transformer's network takes."""
    config = _kept_config(estimator)
    return encoder_state(estimator.encoder_, estimator._model(), estimator.size_, config)


def _kept_config(estimator: Any) -> dict[str, Any]:
    """Return the options of the network that is kept, beyond those of its size."""
    return {**estimator.config_, **estimator.objective_.kept_config}


def _rows_of_the_weights(estimator: Any) -> list[dict[str, Any]]:
    """Return what was logged up to the pass whose weights were kept."""
    last = {
        stage: best["epoch"]
        for stage, best in estimator.best_.items()
        if estimator.early_stopping and best and best.get("epoch")
    }
    return [row for row in estimator.history_ if row["epoch"] <= last.get(row["stage"], np.inf)]


def settings_of(estimator: Any) -> dict[str, Any]:
    """Return the settings of a training, as they were when it took place."""
    told = (
        "stages", "recipe", "micro_batch_size", "window_seconds", "dtype", "validation_fraction",
        "early_stopping", *BY_STAGE,
    )  # fmt: skip
    settings = {name: getattr(estimator, name) for name in told}
    return {name: copy.deepcopy(value) for name, value in settings.items() if value is not None}


def metadata_of(estimator: Any, **more: Any) -> dict[str, Any]:
    """Return what is written about the weights of a fitted estimator."""
    model = estimator._model()
    front_end = estimator._params_for(front_end=True)
    # Whole objectives are built from the options of all stages; those that only the kept
    # network has (a tokenizer's encoder) would give the next stage another network.
    whole = more.get("content") == OBJECTIVES
    own = estimator.config_ if whole else _kept_config(estimator)
    config = {**model.sizes[estimator.size_], **own}
    return {
        "model": model.name,
        "size": estimator.size_,
        "config": plain(config, "model_params"),
        "front_end": plain(front_end, "model_params"),
        "recipe": plain({**estimator._told, "random_state": estimator.seed_}, "A parameter"),
        "settings": plain(estimator._used, "A parameter"),
        "record": plain(estimator.record_, "The contamination record"),
        "fingerprint": estimator.fingerprint_,
        "n_steps": estimator.n_steps_,
        "history": history_summary(_rows_of_the_weights(estimator)),
        "stages": list(estimator.objectives_),
        "objective_params": plain(estimator._params, "objective_params"),
        **more,
    }
