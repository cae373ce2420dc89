"""What a stage was asked for: the user's word, else the recipe's, else the stage's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from eegfound.base import SpecError
from eegfound.estimators._options import OPTIMIZERS, SCHEDULES, _one_of, _whole, _within
from eegfound.models import FoundationModel, PretrainingStage

#: Name of the stage of a model that declares none.
ONLY = "pretraining"
#: Share of a training in which the rate grows, where nobody said.
WARM_UP = 0.05


@dataclass(frozen=True)
class StageOptions:
    """Options of one stage, after recipe and defaults.

    The names are those of the Pretrainer's parameters. ``warmup`` counts epochs.
    None means that there is none (no clipping, no averaging).
    """

    max_epochs: int = 20
    train_batch_size: int = 64
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    lr: float = 5e-4
    min_lr: float = 1e-6
    lr_schedule: str = "cosine"
    warmup: float = 0.0
    weight_decay: float = 0.05
    gradient_clip: float | None = 3.0
    ema_decay: float | None = None
    objective_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_epochs", "train_batch_size"):
            _whole(name, getattr(self, name))
        _within("lr", self.lr, above=0.0)
        for name in ("min_lr", "weight_decay", "warmup"):
            _within(name, getattr(self, name), least=0.0)
        if self.gradient_clip is not None:
            _within("gradient_clip", self.gradient_clip, above=0.0)
        if self.ema_decay is not None:
            _within("ema_decay", self.ema_decay, above=0.0, below=1.0)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("lr_schedule", self.lr_schedule, SCHEDULES)
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise SpecError(f"betas={self.betas!r} must be two numbers in [0, 1).")


def stages_of(model: FoundationModel) -> tuple[PretrainingStage, ...]:
    """Return a model's stages; one where it only declares an objective.

    Raises
    ------
    SpecError
        If the model has neither.
    """
    if model.stages:
        return tuple(model.stages)
    if model.objective is None:
        raise SpecError(f"{model.name} declares no objective: it cannot be pretrained here.")
    return (PretrainingStage(ONLY, model.objective, "the model's objective"),)


def choose_stages(
    model: FoundationModel, names: Sequence[str] | str | None
) -> tuple[PretrainingStage, ...]:
    """Return the stages that were asked for, in the model's order.

    Parameters
    ----------
    model : FoundationModel
        The model.
    names : sequence of str | None
        None takes all.
    """
    known = stages_of(model)
    if names is None:
        return known
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in {stage.name for stage in known}]
    if unknown or not wanted:
        raise SpecError(
            f"stages={names!r}: {model.name} has the stages {[stage.name for stage in known]}."
        )
    return tuple(stage for stage in known if stage.name in wanted)


def stage_recipe(model: FoundationModel, stage: PretrainingStage, recipe: str | None) -> Any:
    """Return what a recipe says about a stage; nothing for None.

    Raises
    ------
    SpecError
        If no stage of the model has a recipe of that name.
    """
    if recipe is None:
        return {}
    known = sorted({name for each in stages_of(model) for name in each.recipes})
    if recipe not in known:
        raise SpecError(
            f"recipe={recipe!r}: {model.name} has "
            + (f"the pretraining recipes {known}." if known else "no pretraining recipes.")
        )
    return stage.recipes.get(recipe, {})


def resolve_stage(
    model: FoundationModel,
    stage: PretrainingStage,
    given: Mapping[str, Any],
    recipe: str | None,
    names: Sequence[str],
) -> StageOptions:
    """Choose each option of a stage: given, else the recipe's, else the stage's.

    Parameters
    ----------
    model : FoundationModel
        The model.
    stage : PretrainingStage
        One of its stages.
    given : mapping
        The Pretrainer's parameters; None counts as not given. A mapping from names
        of stages gives each stage its own value.
    recipe : str | None
        Name of the recipe.
    names : sequence of str
        Names of the model's stages.

    Returns
    -------
    StageOptions
        Checked.
    """
    published, defaults = stage_recipe(model, stage, recipe), stage.defaults
    given = {name: of_stage(name, value, stage.name, names) for name, value in given.items()}
    chosen: dict[str, Any] = {}
    for option in fields(StageOptions):
        for origin in (given, published, defaults):
            if origin.get(option.name) is not None:
                chosen[option.name] = origin[option.name]
                break
    chosen["objective_params"] = {
        name: value
        for origin in (defaults, published, given)
        for name, value in (origin.get("objective_params") or {}).items()
    }
    if "betas" in chosen:
        try:
            chosen["betas"] = tuple(float(b) for b in chosen["betas"])
        except (TypeError, ValueError) as error:
            raise SpecError(f"betas={chosen['betas']!r} must be two numbers.") from error
    length = chosen.get("max_epochs", StageOptions.max_epochs)
    _whole("max_epochs", length)
    usual = (published or defaults).get("max_epochs")
    warmup = (published if "warmup" in published else defaults).get("warmup")
    if given.get("warmup") is None and warmup and usual:
        # A shorter training than the recipe's warms up for the same share of it.
        chosen["warmup"] = warmup * min(1.0, length / usual)
    elif "warmup" not in chosen and chosen.get("lr_schedule", "cosine") == "cosine":
        chosen["warmup"] = WARM_UP * length
    options = StageOptions(**chosen)
    if options.min_lr > options.lr:
        if given.get("min_lr") is not None:
            raise SpecError(
                f"min_lr={options.min_lr!r} is more than lr={options.lr!r} in stage "
                f"{stage.name!r}: the rate ends there, so it must not be greater."
            )
        # The recipe's end belongs to its own rate: a smaller one must not climb to it.
        options = replace(options, min_lr=options.lr)
    return options


def of_stage(name: str, value: Any, stage: str, names: Sequence[str]) -> Any:
    """Return a parameter's value for one stage.

    Parameters
    ----------
    name : str
        Name of the parameter.
    value : object
        Its value: for all stages, or a mapping from names of stages. In
        ``objective_params``, entries under other names count for every stage.
    stage : str
        The stage.
    names : sequence of str
        Names of all stages.
    """
    if not isinstance(value, Mapping):
        return value
    if name == "objective_params":
        common = {k: v for k, v in value.items() if k not in names}
        return common | dict(value.get(stage) or {})
    unknown = [key for key in value if key not in names]
    if unknown:
        raise SpecError(f"{name}={dict(value)!r} names no stage with {unknown}: {list(names)}.")
    return value.get(stage)


def share_epochs(stages: Sequence[PretrainingStage], total: Any) -> dict[str, int] | None:
    """Divide a number of passes among stages by their shares; at least one each.

    Returns
    -------
    dict of str to int | None
        None where ``total`` is no plain number (each stage has its own).
    """
    if total is None or isinstance(total, Mapping):
        return None
    _whole("max_epochs", total)
    if total < len(stages):
        raise SpecError(
            f"max_epochs={total} is less than one for each of the stages "
            f"{[stage.name for stage in stages]}: raise it, or choose stages=."
        )
    whole = sum(stage.share for stage in stages)
    wished = [max(1.0, total * stage.share / whole) for stage in stages]
    epochs = [int(w) for w in wished]
    while sum(epochs) != int(total):
        more = 1 if sum(epochs) < total else -1
        gaps = [(more * (w - e), -k) for k, (w, e) in enumerate(zip(wished, epochs, strict=True))
                if e + more >= 1]  # fmt: skip
        epochs[-max(gaps)[1]] += more
    return {stage.name: count for stage, count in zip(stages, epochs, strict=True)}
