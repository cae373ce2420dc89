"""The stages of a pretraining, one after another."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from eegfound.base import CheckpointError, SignalWarning, SpecError
from eegfound.estimators._averaging import Averaging
from eegfound.estimators._batches import Job
from eegfound.estimators._observers import watchers
from eegfound.estimators._resume import described, training_digest
from eegfound.estimators._schedule import LearningRate, optimizer_options
from eegfound.models import FoundationModel, PretrainingStage, load_object
from eegfound.pretraining.batches import Part, Purpose, Windows, seed_torch, seeds
from eegfound.pretraining.carried import Carried, carry
from eegfound.pretraining.net import PretrainingNet
from eegfound.pretraining.options import StageOptions, stages_of
from eegfound.pretraining.progress import BestWeights, Metrics, MetricsLog
from eegfound.pretraining.source import WindowSource
from eegfound.pretraining.state import StateFolder, TrainingState

#: Windows of the batch that an objective is prepared with.
MOST_PREPARED = 256


@dataclass(frozen=True)
class Setup:
    """What a pretraining is given.

    Attributes
    ----------
    model : FoundationModel
        The model.
    size : str
        Its size.
    config : mapping
        Options of the network beyond the size's.
    options : mapping of str to StageOptions
        Of the stages that are trained, by name.
    params : mapping of str to mapping
        Options of the objective of every stage of the model.
    source : WindowSource
        Windows.
    train, held_out : ndarray of int
        Windows that are trained on, and those that are only measured.
    micro_batch_size : int
        Windows of a forward pass.
    random_state : int
        Seed of everything.
    start : mapping of str to mapping
        State of stages that were trained before, by name.
    encoder : mapping of str to Tensor | None
        Weights the encoder of the first stage begins with.
    fixed_rate : bool
        Train at ``lr`` throughout: nobody knows how long the training will be.
    carried : mapping of str to object
        What :func:`carry` kept of each stage (``partial_fit``).
    """

    model: FoundationModel
    size: str
    config: Mapping[str, Any]
    options: Mapping[str, StageOptions]
    params: Mapping[str, Mapping[str, Any]]
    source: WindowSource
    train: np.ndarray
    held_out: np.ndarray
    micro_batch_size: int
    random_state: int
    start: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    encoder: Mapping[str, Any] | None = None
    fixed_rate: bool = False
    carried: Mapping[str, Any] = field(default_factory=dict)

    def windows(self, index: np.ndarray, stage: str) -> Windows:
        """Return some windows, in the stage's batches."""
        batch_size = self.options[stage].train_batch_size
        return Windows(self.source, index, batch_size, min(self.micro_batch_size, batch_size))


@dataclass
class Trained:
    """What a pretraining leaves.

    Attributes
    ----------
    objectives : dict of str to Objective
        Of every stage that was trained or taken up, on the CPU.
    rows : list of dict
        See :class:`eegfound.pretraining.progress.Metrics`.
    best : dict of str to dict
        Best pass of each stage.
    carried : dict of str to object
        What going on needs.
    """

    objectives: dict[str, Any]
    rows: list[dict[str, Any]]
    best: dict[str, dict[str, Any]]
    carried: dict[str, Any]


def build_objective(
    model: FoundationModel,
    stage: PretrainingStage,
    *,
    size: str,
    config: Mapping[str, Any],
    previous: Mapping[str, Any],
    params: Mapping[str, Any],
    seed: int,
) -> Any:
    """Build the objective of a stage with fresh weights.

    Raises
    ------
    SpecError
        If it does not know an option.
    """
    from eegfound.nn import Objective
    from eegfound.nn.fast_linear import quicken

    factory = load_object(stage.objective)
    given = {**model.sizes[size], **config, **params}
    if model.stages:
        given["previous"] = dict(previous)
    seed_torch(seed)
    try:
        objective = factory(**given)
    except TypeError as error:
        raise SpecError(
            f"Stage {stage.name!r} of {model.name} cannot be built with "
            f"objective_params={dict(params)} and model_params={dict(config)}: {error}"
        ) from error
    if not isinstance(objective, Objective):
        raise SpecError(f"{stage.objective} returned no eegfound.nn.Objective.")
    return quicken(objective.float())


class Trainer:
    """Trains the stages of a model.

    Parameters
    ----------
    setup : Setup
        What is trained, on what.
    estimator : FoundationPretrainer
        Whose parameters say how: saving, logging, stopping.
    accelerator : Accelerator
        Processes and precision.
    device : torch.device | str
        Where to compute.
    metrics : Metrics
        Receives the rows.
    """

    def __init__(
        self, setup: Setup, estimator: Any, accelerator: Any, device: Any, metrics: Metrics
    ) -> None:
        self.setup, self.estimator, self.accelerator = setup, estimator, accelerator
        self.device, self.metrics = device, metrics
        self.folder: StateFolder | None = None
        self._taken = False
        self.trained = Trained({}, metrics.rows, {}, dict(setup.carried))

    def run(self) -> Trained:
        """Train, and return what came of it."""
        if self.estimator.resume_dir is not None:
            self.folder = StateFolder(self.estimator.resume_dir, self._digest(), self.accelerator)
        again = False
        for number, stage in enumerate(stages_of(self.setup.model)):
            if stage.name in self.setup.options:
                self._stage(number, stage)
                again = True
            elif stage.name in self.setup.start:
                # As it was trained: with copies of what earlier stages were then.
                before = self.trained.objectives
                objective = self._build(number, stage, copy.deepcopy(before) if again else before)
                self._load(stage.name, objective.load_state_dict)
                self.trained.objectives[stage.name] = objective
        for objective in self.trained.objectives.values():
            objective.eval()
        self.trained.rows = self.metrics.rows
        return self.trained

    def _build(self, number: int, stage: PretrainingStage, previous: Mapping[str, Any]) -> Any:
        setup = self.setup
        return build_objective(
            setup.model, stage, size=setup.size, config=setup.config,
            previous=previous, params=setup.params[stage.name],
            seed=seeds(setup.random_state, Purpose.BUILD, number)[0],
        )  # fmt: skip

    def _load(self, name: str, into: Callable[[Mapping[str, Any]], Any]) -> None:
        """Give an objective what it learned in an earlier training."""
        setup = self.setup
        try:
            into(setup.start[name])
        except RuntimeError as error:
            why = " ".join(str(error).split())
            raise CheckpointError(
                f"checkpoint= holds another network for stage {name!r} of {setup.model.name} than "
                f"objective_params={dict(setup.params[name])} and "
                f"model_params={dict(setup.config)} build: leave out what differs from the "
                f"training that wrote it, or train without it. {why[:400]}"
            ) from error

    def _stage(self, number: int, stage: PretrainingStage) -> None:
        setup, name = self.setup, stage.name
        objective = self._build(number, stage, self.trained.objectives)
        finished = None if self.folder is None else self.folder.read(name)
        if finished is not None:
            objective.load_state_dict(finished["objective"])
            self.metrics.restart(finished["seconds"], finished["rows"])
            self._keep(name, objective, finished["best"], finished["carried"])
            return
        if name in setup.start:
            self._load(name, objective.take_up)
        elif setup.encoder is not None:
            self._taken |= give_encoder(objective, setup.encoder)
            if not self._taken and name == list(setup.options)[-1]:
                raise SpecError(
                    f"checkpoint= fits the encoder of none of the stages {list(setup.options)}: "
                    "check size= and model_params=."
                )
        windows = setup.windows(setup.train, name)
        held_out = setup.windows(setup.held_out, name) if len(setup.held_out) else None
        objective.to(self.device)
        if name not in setup.start:
            self._prepare(number, objective, windows)
        net = self._net(number, name, objective, windows)
        try:
            net.train_stage(windows, held_out)
        except KeyboardInterrupt:
            state = dict(getattr(net, "callbacks_", [])).get("training_state")
            if state is not None and net.steady_:
                state.save(net)
            raise
        finally:
            net.let_go()
        self._keep(name, objective, dict(net.callbacks_)["best"].best_, carry(net))
        if self.folder is not None:
            self.folder.write(
                {
                    "objective": objective.state_dict(), "rows": self.metrics.rows,
                    "seconds": self.metrics.seconds, "best": self.trained.best[name],
                    "carried": self.trained.carried[name],
                },
                name,
            )  # fmt: skip
            self.folder.drop_current()

    def _keep(self, name: str, objective: Any, best: Any, carried: Any) -> None:
        # Back to the CPU, where the next stage is built from it.
        self.trained.objectives[name] = objective.cpu()
        self.trained.best[name], self.trained.carried[name] = best, carried

    def _prepare(self, number: int, objective: Any, windows: Windows) -> None:
        """Show the objective a first batch: the windows of one montage, the largest group."""
        seed = seeds(self.setup.random_state, Purpose.ORDER, number, 0)[0]
        jobs = self.setup.source.jobs(windows.batches(seed)[0].tolist())
        largest = max(jobs, key=lambda job: len(job.epochs))
        seed_torch(seeds(self.setup.random_state, Purpose.PREPARE, number)[0], self.device)
        objective.eval()
        few = min(len(largest.epochs), MOST_PREPARED)
        shown = Job(largest.epochs[:few], largest.electrodes, largest.signal[:few])
        objective.prepare(Part(0, shown).batch(self.device))

    def _net(self, number: int, name: str, objective: Any, windows: Windows) -> PretrainingNet:
        setup, estimator, options = self.setup, self.estimator, self.setup.options[name]
        before = setup.carried.get(name) or {"epochs": 0, "steps": 0, "windows": 0}
        n_parts = -(-min(len(windows), windows.batch_size) // windows.micro_batch_size)
        if n_parts < self.accelerator.num_processes:
            warnings.warn(
                f"A batch of stage {name!r} has {n_parts} part(s) for "
                f"{self.accelerator.num_processes} processes: some have nothing to do. Lower "
                "micro_batch_size or raise train_batch_size.",
                SignalWarning,
                stacklevel=2,
            )
        given = estimator.callbacks or []
        if not isinstance(given, list | tuple):
            raise SpecError(f"callbacks={given!r} must be a list of skorch callbacks.")
        stops = bool(estimator.early_stopping)
        callbacks: list[Any] = []
        if options.ema_decay is not None:
            callbacks.append(("averaging", Averaging(options.ema_decay)))
        callbacks.append(("log", MetricsLog(self.metrics, estimator.verbose)))
        if not setup.fixed_rate and (options.lr_schedule != "constant" or options.warmup):
            monitor = "valid_loss" if len(setup.held_out) else "train_loss"
            callbacks.append(("learning_rate", LearningRate(options, monitor)))  # type: ignore[arg-type]
        callbacks.append(("best", BestWeights(stops, estimator.patience)))
        callbacks += [*copy.deepcopy(list(given)), *watchers()]
        if "optimizer" in before:
            callbacks.append(("carried", Carried(before)))
        if self.folder is not None:
            callbacks.append(("training_state", TrainingState(self.folder, save_every(estimator))))
        optimizer: dict[str, Any] = optimizer_options(options)  # type: ignore[arg-type]
        if options.optimizer != "sgd":
            optimizer["optimizer__betas"] = options.betas
            optimizer["optimizer__fused"] = torch.device(self.device).type in ("cpu", "cuda")
        return PretrainingNet(
            objective, accelerator=self.accelerator, stage=name, stage_number=number,
            random_state=setup.random_state, place=self.device, n_workers=estimator.n_workers,
            gradient_clip=options.gradient_clip, first_epoch=before["epochs"],
            first_step=before["steps"], first_window=before["windows"],
            max_epochs=options.max_epochs, lr=options.lr, callbacks=callbacks,
            verbose=0, train_split=None, **optimizer,
        )  # fmt: skip

    def _digest(self) -> str:
        setup, estimator = self.setup, self.estimator
        start = sorted(
            (name, training_digest([t.cpu().numpy() for t in state.values()], *state))
            for name, state in {**setup.start, "": setup.encoder or {}}.items()
        )
        return training_digest(
            [setup.train, setup.held_out], setup.model.name, setup.size,
            sorted(setup.config.items()), list(setup.options.items()),
            sorted((k, sorted(v.items())) for k, v in setup.params.items()),
            setup.source.digest(), setup.micro_batch_size, setup.random_state, start,
            sorted(estimator._params_for(front_end=True).items()), setup.fixed_rate,
            [(k, v["steps"]) for k, v in sorted(setup.carried.items())],
            bool(estimator.early_stopping), estimator.patience, self.accelerator.mixed_precision,
            [described(c) for c in estimator.callbacks or []],
        )  # fmt: skip


def save_every(estimator: Any) -> float:
    """Return ``save_every`` checked: an int counts steps, a float seconds."""
    value = estimator.save_every
    good = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not good or value < 0 or (value == 0 and isinstance(value, int | np.integer)):
        raise SpecError(f"save_every={value!r} must be a number of steps (int) or seconds (float).")
    return int(value) if isinstance(value, int | np.integer) else float(value)


def give_encoder(objective: Any, state: Mapping[str, Any]) -> bool:
    """Let the encoder of an objective, and what is kept of it, begin with given weights.

    Tensors that only the objective's network has (a token for hidden patches) stay fresh.

    Returns
    -------
    bool
        False where the stage trains another network (a tokenizer): it stays as it is.
    """
    networks = {id(n): n for n in (objective.encoder, objective.kept)}.values()
    fitting = []
    for network in networks:
        own = network.state_dict()
        common = [name for name in own if name in state and own[name].shape == state[name].shape]
        if len(common) < 0.5 * len(state):
            return False
        fitting += [(own[name], state[name]) for name in common]
    with torch.no_grad():
        for mine, given in fitting:
            mine.copy_(given)
    return True
