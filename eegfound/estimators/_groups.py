"""Parameter groups: which tensor learns how fast."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def weight_groups(
    network: Any, decay: float | None, lr: float, trained: Collection[str] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return skorch parameter groups with layer-wise learning rates.

    Parameters
    ----------
    network : EncoderNetwork
        Tells the depth of each parameter and which are not decayed.
    decay : float | None
        Factor per layer: a parameter at depth ``d`` of ``n_layers + 1`` learns
        with ``lr * decay ** (n_layers + 1 - d)``.
    lr : float
        Learning rate of the head.
    trained : collection of str | None
        Names of the parameters that are trained; None for all.

    Returns
    -------
    list of (str, dict)
        For ``optimizer__param_groups``.
    """
    top = network.n_layers + 1
    exempt = network.no_weight_decay()
    groups = []
    for name, parameter in network.named_parameters():
        if trained is not None and name not in trained:
            continue
        options: dict[str, Any] = {}
        if decay is not None:
            options["lr"] = lr * decay ** (top - network.layer_index(name))
        if parameter.ndim <= 1 or name in exempt:
            options["weight_decay"] = 0.0
        groups.append((f"network.{name}", options))
    return groups
