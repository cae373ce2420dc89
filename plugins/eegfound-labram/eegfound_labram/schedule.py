"""LaBraM's training recipe: learning rate over steps and over layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def cosine_schedule(
    peak: float, final: float, *, epochs: int, steps_per_epoch: int, warmup_epochs: int = 0
) -> np.ndarray:
    """Return the learning rate of every step.

    Parameters
    ----------
    peak, final : float
        Largest rate, and the one that the cosine heads for (and never
        reaches).
    epochs, steps_per_epoch : int
        Length of the training.
    warmup_epochs : int
        Epochs of linear growth from 0 to ``peak``, both included.

    Returns
    -------
    ndarray, shape (epochs * steps_per_epoch,)
        One rate per step.

    Examples
    --------
    >>> from eegfound_labram.schedule import cosine_schedule
    >>> cosine_schedule(1.0, 0.0, epochs=4, steps_per_epoch=1, warmup_epochs=2).tolist()
    [0.0, 1.0, 1.0, 0.5]
    """
    warmup = warmup_epochs * steps_per_epoch
    rest = epochs * steps_per_epoch - warmup
    phase = np.pi * np.arange(rest) / max(rest, 1)
    return np.concatenate(
        [np.linspace(0.0, peak, warmup), final + 0.5 * (peak - final) * (1 + np.cos(phase))]
    )


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
