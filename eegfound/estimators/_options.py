"""What a training was asked for: the user's word, else the recipe's, else the tuning's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from eegfound.base import SpecError
from eegfound.models import FoundationModel

OPTIMIZERS = ("adamw", "adam", "amsgrad", "sgd")
SCHEDULES = ("constant", "cosine", "onecycle", "onecycle_half", "plateau")
HEAD_STARTS = ("zero", "ridge", "probe")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of one training, after recipe and defaults.

    The names are those of :class:`FoundationClassifier`'s parameters. None
    means that there is none (no clipping, no averaging).
    """

    tuning: str = "head"
    head: str = "linear"
    head_hidden: int | None = None
    head_dropout: float | None = None
    head_start: str = "zero"
    n_unfrozen: int = 2
    lora_rank: int = 8
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    lora_targets: Any = None
    second_stage: str = "full"
    adapter_channels: Any = None
    adapter_options: Mapping[str, Any] | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0
    channel_dropout: float = 0.0
    max_epochs: int = 30
    lr: float = 1e-3
    min_lr: float = 0.0
    weight_decay: float = 0.01
    layer_decay: float | None = None
    optimizer: str = "adamw"
    lr_schedule: str = "constant"
    warmup: float = 0.0
    gradient_clip: float | None = None
    ema_decay: float | None = None
    train_batch_size: int = 32
    activation_memory_mb: float = 512.0

    def __post_init__(self) -> None:
        for name in ("max_epochs", "train_batch_size", "n_unfrozen", "lora_rank"):
            _whole(name, getattr(self, name))
        if self.head_hidden is not None:
            _whole("head_hidden", self.head_hidden)
        for name in ("lr", "activation_memory_mb"):
            _within(name, getattr(self, name), above=0.0)
        for name in ("min_lr", "weight_decay", "warmup", "mixup"):
            _within(name, getattr(self, name), least=0.0)
        for name in ("label_smoothing", "channel_dropout", "lora_dropout"):
            _within(name, getattr(self, name), least=0.0, below=1.0)
        if self.head_dropout is not None:
            _within("head_dropout", self.head_dropout, least=0.0, below=1.0)
        if self.gradient_clip is not None:
            _within("gradient_clip", self.gradient_clip, above=0.0)
        if self.ema_decay is not None:
            _within("ema_decay", self.ema_decay, above=0.0, below=1.0)
        if self.layer_decay is not None:
            _within("layer_decay", self.layer_decay, above=0.0, most=1.0)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("lr_schedule", self.lr_schedule, SCHEDULES)
        _one_of("head_start", self.head_start, HEAD_STARTS)


def recipe_of(model: FoundationModel, recipe: str | None) -> Mapping[str, Any]:
    """Return what a model's recipe sets; nothing for None.

    Raises
    ------
    SpecError
        If the model has no recipe of that name.
    """
    if recipe is None:
        return {}
    if recipe not in model.recipes:
        raise SpecError(
            f"recipe={recipe!r}: {model.name} has "
            + (f"the recipes {sorted(model.recipes)}." if model.recipes else "no recipes.")
        )
    return model.recipes[recipe]


def resolve(
    given: Mapping[str, Any], recipe: Mapping[str, Any], defaults: Mapping[str, Any]
) -> TrainingOptions:
    """Choose each option: given, else the recipe's, else the tuning's default.

    Parameters
    ----------
    given : mapping
        The estimator's parameters; None counts as not given.
    recipe : mapping
        From :func:`recipe_of`.
    defaults : mapping
        Of the tuning.

    Returns
    -------
    TrainingOptions
        Checked.
    """
    chosen: dict[str, Any] = {}
    for option in fields(TrainingOptions):
        for source in (given, recipe, defaults):
            if source.get(option.name) is not None:
                chosen[option.name] = source[option.name]
                break
    length, usual = given.get("max_epochs"), recipe.get("max_epochs")
    if given.get("warmup") is None and recipe.get("warmup") and length and usual:
        # A shorter training than the recipe's warms up for the same share of it.
        chosen["warmup"] = recipe["warmup"] * min(1.0, length / usual)
    return TrainingOptions(**chosen)


def _whole(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise SpecError(f"{name}={value!r} must be a positive integer.")


def _within(
    name: str, value: Any, *, least: float | None = None, above: float | None = None,
    below: float | None = None, most: float | None = None,
) -> None:  # fmt: skip
    good = isinstance(value, Real) and not isinstance(value, bool)
    good = good and (least is None or value >= least) and (above is None or value > above)
    good = good and (below is None or value < below) and (most is None or value <= most)
    if not good:
        start = f"[{least:g}" if least is not None else f"({above:g}"
        end = f"{below:g})" if below is not None else f"{most:g}]" if most is not None else "inf)"
        raise SpecError(f"{name}={value!r} must lie in {start}, {end}.")


def _one_of(name: str, value: Any, names: tuple[str, ...]) -> None:
    if value not in names:
        raise SpecError(f"{name}={value!r} is not one of {names}.")
