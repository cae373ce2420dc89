"""LaBraM's training recipe: learning rate over steps and over layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eegfound.nn import cosine_schedule

__all__ = ["cosine_schedule", "parameter_groups", "parameter_settings"]


def parameter_settings(
    network: Any, *, weight_decay: float = 0.05, layer_decay: float = 1.0
) -> dict[str, dict[str, float]]:
    """Return depth, rate factor and weight decay of every parameter.

    Parameters
    ----------
    network : LaBraM
        Says how deep a parameter stands (:meth:`layer_index`) and which
        tables are not decayed.
    weight_decay : float
        Of matrices; vectors, biases and tables have none.
    layer_decay : float
        Factor on the learning rate per layer, counted from the output.

    Returns
    -------
    dict of str to dict
        ``layer``, ``lr_scale`` and ``weight_decay`` by name, trainable
        parameters only.
    """
    skipped = network.no_weight_decay()
    top = network.n_layers + 1 if layer_decay != 1 else 0
    depth: Callable[[str], int] = network.layer_index if layer_decay != 1 else (lambda _: 0)
    settings = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim <= 1 or name.endswith(".bias") or name in skipped
        layer = depth(name)
        settings[name] = {
            "layer": layer,
            "lr_scale": layer_decay ** (top - layer),
            "weight_decay": 0.0 if plain else weight_decay,
        }
    return settings


def parameter_groups(
    network: Any, lr: float, *, weight_decay: float = 0.05, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Return parameter groups for a torch optimizer.

    Parameters
    ----------
    network : LaBraM
        See :func:`parameter_settings`.
    lr : float
        Learning rate on the output side.
    weight_decay, layer_decay : float
        See :func:`parameter_settings`.

    Returns
    -------
    list of dict
        With ``params``, ``lr``, ``lr_scale`` and ``weight_decay``; parameters
        with equal settings share a group.
    """
    settings = parameter_settings(network, weight_decay=weight_decay, layer_decay=layer_decay)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if name in settings:
            scale, decay = settings[name]["lr_scale"], settings[name]["weight_decay"]
            group = groups.setdefault(
                (scale, decay),
                {"params": [], "lr": lr * scale, "lr_scale": scale, "weight_decay": decay},
            )
            group["params"].append(parameter)
    return list(groups.values())
