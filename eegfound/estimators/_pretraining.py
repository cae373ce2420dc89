"""What a Pretrainer does when it is asked to fit, step by step."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import CheckpointError, SpecError
from eegfound.estimators._handle import resolve_device
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.estimators._trained import BY_STAGE, settings_of, trained_state
from eegfound.models import FoundationModel
from eegfound.models.files import fingerprint, read_metadata, read_tensors
from eegfound.models.loading import load_encoder
from eegfound.models.randomness import seeded_torch
from eegfound.pretraining.batches import Windows
from eegfound.pretraining.contamination import UNTOLD, merged_record
from eegfound.pretraining.given import hand_front_end, source_of, teach_front_end
from eegfound.pretraining.held_out import hold_out_of, recorded_held_out
from eegfound.pretraining.keeping import (
    OBJECTIVES,
    split_stages,
)
from eegfound.pretraining.measures import measured
from eegfound.pretraining.options import (
    StageOptions,
    choose_stages,
    of_stage,
    resolve_stage,
    share_epochs,
    stages_of,
)
from eegfound.pretraining.processes import accelerated
from eegfound.pretraining.progress import Metrics
from eegfound.pretraining.trainer import Setup, Trainer

#: Windows of a forward pass, where nobody said.
MICRO_BATCH = 32


def train(estimator: Any, X: Any, groups: Any, *, again: bool) -> None:
    """Train an estimator, and set what ``fit`` leaves.

    Parameters
    ----------
    estimator : FoundationPretrainer
        Trained in place.
    X, groups
        See its ``fit``.
    again : bool
        One pass more (``partial_fit``) instead of all of it.
    """
    fresh = not (again and hasattr(estimator, "objectives_"))
    check(estimator)
    seed = _seed(estimator.random_state) if fresh else int(estimator.seed_)
    source = source_of(estimator, X, groups, reset=fresh)
    index, held_out = hold_out_of(
        source,
        fraction=estimator.validation_fraction,
        seed=seed,
        needed=bool(estimator.early_stopping),
        record={} if fresh else estimator.record_,
    )
    start = _start(estimator, seed) if fresh else _go_on(estimator)
    if fresh:
        teach_front_end(estimator, source, index)
    hand_front_end(estimator, source)
    options = stage_options(estimator, again=again, last=not fresh)
    setup = Setup(
        model=estimator._model(), size=start.size, config=start.config, options=options,
        params=_objective_params(estimator, start), source=source, train=index, held_out=held_out,
        micro_batch_size=micro_batch_size(estimator), random_state=seed, start=start.stages,
        encoder=start.encoder, fixed_rate=again, carried={} if fresh else estimator._carried,
    )  # fmt: skip
    device: Any = resolve_device(estimator.device)
    with (
        accelerated(estimator.accelerator, device=device, dtype=estimator.dtype) as accelerator,
        torch_threads(n_workers(estimator.n_threads)),
        seeded_torch(seed),
    ):
        if accelerator.num_processes > 1 or estimator.accelerator is not None:
            device = accelerator.device
        metrics = Metrics(
            estimator.metrics_file,
            writes=accelerator.is_main_process,
            rows=() if fresh else estimator.history_,
        )
        trained = Trainer(setup, estimator, accelerator, device, metrics).run()
    estimator.objectives_ = trained.objectives
    estimator.objective_ = trained.objectives[list(options)[-1]]
    estimator.encoder_ = estimator.objective_.kept
    estimator.history_, estimator.best_ = trained.rows, trained.best
    estimator._carried, estimator._params = trained.carried, dict(setup.params)
    estimator.n_steps_ = sum(part["steps"] for part in trained.carried.values())
    estimator.size_, estimator.config_, estimator.seed_ = start.size, dict(start.config), seed
    estimator._told = settings_of(estimator)
    before = {} if fresh else getattr(estimator, "_used", {})
    estimator._used = {**before, **{name: asdict(used) for name, used in options.items()}}
    estimator.record_ = merged_record(start.record, _record(source, held_out))
    estimator.fingerprint_ = fingerprint(trained_state(estimator))


def evaluate(estimator: Any, X: Any, stage: str | None) -> dict[str, float]:
    """Measure one of a fitted estimator's objectives on windows.

    Parameters
    ----------
    estimator : FoundationPretrainer
        Fitted.
    X : as in its ``fit``
        Windows.
    stage : str | None
        Name of a stage; None is the last one.

    Returns
    -------
    dict of str to float
        Means over windows.
    """
    estimator = copy.copy(estimator)  # reading arrays may plan them: not in the fitted one
    source = source_of(estimator, X, None, reset=False)
    hand_front_end(estimator, source)
    everything = np.arange(len(source))
    names = [each.name for each in stages_of(estimator._model())]
    trained = estimator.objectives_
    if stage is None:
        stage = next(name for name, own in trained.items() if own is estimator.objective_)
    if stage not in trained:
        raise SpecError(f"stage={stage!r} was not trained: {list(trained)}.")
    device, micro = resolve_device(estimator.device), micro_batch_size(estimator)
    objective = trained[stage]
    if device != "cpu":
        objective = copy.deepcopy(objective).to(device)
    with torch_threads(n_workers(estimator.n_threads)), seeded_torch(estimator.seed_):
        return measured(
            objective, Windows(source, everything, 8 * micro, micro), device=device,
            random_state=estimator.seed_, stage=names.index(stage), n_workers=estimator.n_workers,
        )  # fmt: skip


def check(estimator: Any) -> None:
    """Refuse parameters that say nothing sensible."""
    for name, least in (("patience", 1), ("n_workers", 0)):
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise SpecError(f"{name}={value!r} must be a whole number from {least}.")
    for name in ("objective_params", "model_params"):
        value = getattr(estimator, name)
        if value is not None and not isinstance(value, Mapping):
            raise SpecError(f"{name}={value!r} must be a dict of options, or None.")
    micro_batch_size(estimator)


def micro_batch_size(estimator: Any) -> int:
    """Return the most windows of a forward pass."""
    value = estimator.micro_batch_size
    if value is None:
        return MICRO_BATCH
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise SpecError(f"micro_batch_size={value!r} must be a positive integer or None.")
    return int(value)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    if random_state is None:
        return 0
    if not isinstance(random_state, Integral) or random_state < 0:
        raise SpecError(f"random_state={random_state!r} must be a whole number from 0, or None.")
    return int(random_state)


def stage_options(estimator: Any, *, again: bool, last: bool) -> dict[str, StageOptions]:
    """Return the options of the stages that are trained, by name, in order.

    Parameters
    ----------
    estimator : FoundationPretrainer
        Whose parameters count.
    again : bool
        One pass of each.
    last : bool
        Only the last stage.
    """
    model = estimator._model()
    stages = choose_stages(model, estimator.stages)
    stages = stages[-1:] if last else stages
    names = [stage.name for stage in stages_of(model)]
    given = {name: getattr(estimator, name) for name in BY_STAGE}
    shared = share_epochs(stages, len(stages) if again else estimator.max_epochs)
    return {
        stage.name: resolve_stage(
            model,
            stage,
            given | ({"max_epochs": shared[stage.name]} if shared else {}),
            estimator.recipe,
            names,
        )
        for stage in stages
    }


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes
    ----------
    size : str
        Size of the network.
    config : dict
        Options of the network beyond the size's.
    stages : dict of str to dict
        States of stages that were trained before.
    encoder : dict | None
        Weights of the encoder.
    params : dict of str to dict
        Options of the objectives that were trained before.
    """

    size: str
    config: dict[str, Any]
    stages: dict[str, dict[str, Any]]
    encoder: dict[str, Any] | None = None
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


def trained_front_end(given: Any) -> dict[str, Any]:
    """Return the options of the front end that weights were trained with."""
    metadata = getattr(given, "metadata", {})
    if isinstance(given, str | os.PathLike) and Path(given).is_file():
        metadata = read_metadata(given)
    return dict(metadata.get("front_end", {}))


def _go_on(estimator: Any) -> Start:
    states = {name: o.state_dict() for name, o in estimator.objectives_.items()}
    return Start(
        estimator.size_, estimator.config_, states, params=estimator._params,
        record=estimator.record_,
    )  # fmt: skip


def _start(estimator: Any, seed: int) -> Start:
    model: FoundationModel = estimator._model()
    size, given = estimator.size or model.default_size, estimator.checkpoint
    config = estimator._params_for(front_end=False)
    if size not in model.sizes:
        raise SpecError(f"size={size!r} is not a size of {model.name}: {list(model.sizes)}.")
    if given is None:
        return Start(size, config, {})
    if isinstance(given, str | os.PathLike) and Path(given).is_file():
        metadata = read_metadata(given)
        if metadata.get("content") == OBJECTIVES:
            if metadata["model"] != model.name or estimator.size not in (None, metadata["size"]):
                raise CheckpointError(
                    f"{given} holds objectives of {metadata['model']!r}, size "
                    f"{metadata['size']!r}; asked for: {model.name!r}, size={estimator.size!r}."
                )
            config = {**metadata.get("config", {}), **config}
            states = split_stages(read_tensors(given))
            params = metadata.get("objective_params", {})
            record = metadata.get("record", {})
            return Start(metadata["size"], config, states, params=params, record=record)
    loaded = load_encoder(model, size=estimator.size, checkpoint=given, config=config, seed=seed)
    record = (loaded.report.record if loaded.report else None) or {"datasets": [{"name": UNTOLD}]}
    return Start(
        loaded.size, dict(loaded.config), {}, loaded.network.state_dict(), record=dict(record)
    )


def _objective_params(estimator: Any, start: Start) -> dict[str, dict[str, Any]]:
    """Return the options of every stage's objective: given, else as trained before."""
    model = estimator._model()
    names = [stage.name for stage in stages_of(model)]
    given = {"objective_params": estimator.objective_params}
    return {
        stage.name: {
            **resolve_stage(model, stage, given, estimator.recipe, names).objective_params,
            **start.params.get(stage.name, {}),
            **(of_stage("objective_params", estimator.objective_params, stage.name, names) or {}),
        }
        for stage in stages_of(model)
    }


def _record(source: Any, held_out: np.ndarray) -> dict[str, Any]:
    """Return what went in, and the groups of it that were only measured."""
    record = dict(source.record())
    if len(held_out) and source.groups is not None:
        record["held_out"] = recorded_held_out(source, held_out)
    return record
