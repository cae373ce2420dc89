"""What a plugin declares about its model's pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eegfound.base import PluginError

#: Parameters of the Pretrainer that a stage may set.
STAGE_KEYS = frozenset(
    {
        "max_epochs", "train_batch_size", "optimizer", "betas", "lr", "min_lr", "lr_schedule",
        "warmup", "weight_decay", "gradient_clip", "ema_decay", "objective_params",
    }
)  # fmt: skip


@dataclass(frozen=True)
class PretrainingStage:
    """One stage of a model's self-supervised training.

    Parameters
    ----------
    name : str
        By which users ask for it (``stages=["tokenizer", "masked"]``).
    objective : str
        Path of ``build(*, previous, **config) -> eegfound.nn.Objective``.
        ``previous`` maps the names of the earlier stages to their trained
        objectives (empty in the first); ``config`` is that of the size, and
        what the user gives.
    summary : str
        One line for listings.
    share : float
        Share of the passes over the data, where the user says only how many
        there are in all stages together.
    defaults : mapping of str to object
        Values of parameters of the Pretrainer, those in ``STAGE_KEYS``, that
        suit short runs on little data.
    recipes : mapping of str to mapping
        The same as published, by the name that ``recipe=`` takes.
    """

    name: str
    objective: str
    summary: str = ""
    share: float = 1.0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PluginError(f"Stage {self.name!r}: share={self.share!r} is not in (0, 1].")
        for where, values in {"defaults": self.defaults, **self.recipes}.items():
            unknown = set(values) - STAGE_KEYS
            if unknown:
                raise PluginError(
                    f"Stage {self.name!r}: {where!r} sets {sorted(unknown)}; a stage may set "
                    f"{sorted(STAGE_KEYS)}."
                )
