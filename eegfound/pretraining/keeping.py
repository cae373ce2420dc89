"""Keeping what was trained: weights of the encoder, or whole objectives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from eegfound.base import CheckpointError, SpecError
from eegfound.models import FoundationModel

#: What a file with whole objectives says it holds.
OBJECTIVES = "objectives"


def encoder_state(
    network: torch.nn.Module, model: FoundationModel, size: str, config: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Return the tensors of a trained encoder that the model's networks know.

    Parameters
    ----------
    network : EncoderNetwork
        ``kept`` of an objective; may have more (a token for hidden patches).
    model, size, config
        What the networks of a Transformer are built from.

    Returns
    -------
    dict of str to Tensor
        For :func:`eegfound.models.loading.load_state`, with any read-out.

    Raises
    ------
    CheckpointError
        If the network has none of the tensors.
    """
    known: set[str] = set()
    for pooling in model.poolings:
        with torch.device("meta"):
            known |= set(model.build(size, pooling=pooling, **config).state_dict())
    state = {k: v.detach().cpu().clone() for k, v in network.state_dict().items() if k in known}
    if not state:
        raise CheckpointError(
            f"{model.name}: the objective's encoder shares no tensor's name with the network."
        )
    return state


def plain(value: Any, what: str) -> Any:
    """Return a value as JSON keeps it.

    Raises
    ------
    SpecError
        If it cannot be kept.
    """
    try:
        return json.loads(json.dumps(value, default=_number))
    except TypeError as error:
        raise SpecError(f"{what} cannot be written into a file: {error}.") from error


def _number(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain data")


def history_summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last row of training and of hold-out of every stage."""
    last = {(row["stage"], row["split"]): row for row in rows}
    return list(last.values())


def objectives_state(objectives: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of all stages, ``stage/name``; shared ones stand there twice."""
    return {
        f"{stage}/{name}": tensor.detach().cpu().clone()
        for stage, objective in objectives.items()
        for name, tensor in objective.state_dict().items()
    }


def split_stages(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tensors of each stage of a file that :func:`objectives_state` made."""
    stages: dict[str, dict[str, Any]] = {}
    for key, tensor in state.items():
        stage, _, name = key.partition("/")
        stages.setdefault(stage, {})[name] = tensor
    return stages
