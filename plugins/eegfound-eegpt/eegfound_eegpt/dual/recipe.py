"""Optimizer and learning rates of the released pretraining script."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

WEIGHT_DECAY = 1e-6


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Return parameter groups: matrices and tables decay, vectors and biases do not.

    Parameters
    ----------
    module : Module
        Whose trainable parameters are grouped.

    Returns
    -------
    list of dict
        With ``params`` and ``weight_decay``. Token tables decay as well: the
        script's list of exceptions names a module, which matches no parameter.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    decayed = [p for name, p in named if p.ndim != 1 and "bias" not in name]
    plain = [p for name, p in named if p.ndim == 1 or "bias" in name]
    return [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]


def one_cycle(
    module: nn.Module, n_steps: int, *, peak: float = 5e-4
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """Return AdamW and its schedule: up for a fifth of the steps, then a cosine down.

    Parameters
    ----------
    module : Module
        Whose trainable parameters are optimized.
    n_steps : int
        Steps of the whole training.
    peak : float
        Largest learning rate; the first is half of it, the last a sixteenth.

    Returns
    -------
    optimizer : AdamW
        Its first beta moves between 0.85 and 0.95 against the learning rate.
    schedule : OneCycleLR
        To be stepped after each optimizer step.
    """
    optimizer = torch.optim.AdamW(parameter_groups(module), lr=peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=n_steps, pct_start=0.2, div_factor=2.0,
        final_div_factor=8.0,
    )  # fmt: skip
    return optimizer, schedule
