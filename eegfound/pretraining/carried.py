"""What a training leaves for the next one to go on with (``partial_fit``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from skorch.callbacks import Callback


def carry(net: Any) -> dict[str, Any]:
    """Return what going on with a trained net needs, on the CPU.

    Returns
    -------
    dict
        ``epochs``, ``steps`` and ``windows`` done in all, the state of the ``optimizer``,
        and of the averaged weights (``averaging``) where there are any.
    """
    callbacks = dict(net.callbacks_)
    kept = {
        "epochs": net.first_epoch + net.position_.epoch,
        "steps": net.first_step + net.position_.step,
        "windows": net.first_window + net.position_.n_windows,
        "optimizer": _on_cpu(net.unwrapped_.state_dict()["state"]),
    }
    if "averaging" in callbacks:
        kept["averaging"] = _on_cpu(callbacks["averaging"].average_.state_dict())
    return kept


def _on_cpu(value: Any) -> Any:
    if torch.is_tensor(value):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: _on_cpu(each) for key, each in value.items()}
    return copy.copy(value)


class Carried(Callback):
    """Gives a net the optimizer's memory and the averages of an earlier training.

    Parameters
    ----------
    kept : mapping
        From :func:`carry`.
    """

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.kept = kept

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Restore; rates are those of the new training."""
        optimizer = net.unwrapped_
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": self.kept["optimizer"], "param_groups": groups})
        averaging = dict(net.callbacks_).get("averaging")
        if averaging is not None and "averaging" in self.kept:
            averaging.average_.load_state_dict(self.kept["averaging"])
