"""Self-supervised pretraining of any model as ``fit``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from sklearn.utils.validation import check_is_fitted

from eegfound.base import SpecError
from eegfound.estimators._reading import WindowEstimator
from eegfound.models import get_model, load_object
from eegfound.models.files import save_weights
from eegfound.models.trained import TrainedWeights


class FoundationPretrainer(WindowEstimator):
    """Train a model on unlabelled EEG by its own objective.

    Masks, tokenizers, momentum encoders and their stages are the model's own (see its
    model card). What comes out is used like published weights: ``checkpoint=path`` of a
    Transformer, Classifier or Regressor.

    Parameters
    ----------
    model : str | None
        Name of an installed model (:func:`eegfound.list_models`).
    size : str | None
        Named size of the network; None takes the checkpoint's or the model's default.
    checkpoint : str | path-like | TrainedWeights | None
        What to begin with: None for a random start; weights of the encoder as a
        Transformer takes them; or a file of :meth:`save` with ``what="objective"``, whose
        stages are taken up (those that are not trained again serve the later ones).
    info : ChannelInfo | mne.Info | None
        Channel names and sampling rate of arrays.
    unit : str
        Unit of arrays; Epochs are always in volts.
    on_unknown : {"raise", "drop"}
        What to do with channels of an array that the model does not know; those of a
        corpus are left out.
    on_short : {"raise", "pad"}
        What to do with windows shorter than the model's shortest.
    stages : list of str | None
        Stages to train, of those the model declares; None trains all, in order.
    recipe : str | None
        ``"paper"``: the published settings. None: settings for short runs on little data.
    max_epochs : int | dict | None
        Passes over the data in all stages together, divided as the model says; or passes
        of each stage by name.
    train_batch_size : int | dict | None
        Windows per optimizer step.
    micro_batch_size : int | None
        Most windows of a forward pass; gradients of a batch add up over several. Bounds
        the memory, and is what is divided among processes. Losses that compare windows
        with each other see those of one pass only. None: 32.
    optimizer : {"adamw", "adam", "amsgrad", "sgd"} | dict | None
        Optimizer.
    betas : tuple of float | dict | None
        Of Adam.
    lr, min_lr : float | dict | None
        Learning rate, and where the cosine ends.
    lr_schedule : {"cosine", "constant", "onecycle", "onecycle_half", "plateau"} | dict | None
        Course of the rate.
    warmup : float | dict | None
        Epochs of linear growth.
    weight_decay : float | dict | None
        Of matrices; vectors, and what the objective exempts, are not decayed.
    gradient_clip : float | dict | None
        Largest norm of a step's gradient.
    ema_decay : float | dict | None
        Decay of a moving average of the weights, which is then what is kept.
    objective_params : dict | None
        Options of the objective; those under the name of a stage are that stage's alone.
    window_seconds : float | None
        Length of the windows that are cut from a corpus; None takes the model's.
    validation_fraction : float | list | None
        Share of groups that is not trained on but measured after each pass; or the
        groups themselves, by name. None or 0: none.
    early_stopping : bool
        Stop after ``patience`` passes without a better held-out loss, and keep the best.
    patience : int
        Passes.
    accelerator : accelerate.Accelerator | None
        Of your own; None makes one. Under ``accelerate launch`` the batches are shared.
    dtype : {"float32", "bfloat16", "float16", "auto"}
        Mixed precision of the passes; weights stay float32. ``"auto"`` is bfloat16 on a
        GPU that has it.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, …
    n_threads : int | None
        Threads used on the CPU.
    n_workers : int
        Worker processes that read and prepare windows ahead.
    resume_dir : path-like | None
        Folder of states: a training that was killed goes on from the last one when
        ``fit`` is called again with the same data and parameters.
    save_every : int | float
        How often: steps (int) or seconds (float); after each pass in any case.
    metrics_file : path-like | None
        JSON lines with the rows of ``history_``, written as they come.
    callbacks : list | None
        skorch callbacks, given to the net of every stage.
    model_params : dict | None
        Options of the model's own network and front end.
    verbose : int
        Above 0: a line per pass.
    random_state : int | RandomState | None
        Seed of weights, order, masks and dropout. None is 0.

    Attributes
    ----------
    objective_ : Objective
        Of the last stage, trained; ``objectives_`` has those of all stages by name.
    encoder_ : EncoderNetwork
        The network that :meth:`save` writes.
    history_ : list of dict
        ``stage, epoch, step, n_windows, split, lr, seconds`` and what was measured; at most
        about 2000 rows of training per stage (means over some steps where there are more).
    best_ : dict of str to dict
        ``loss`` and ``epoch`` of the best pass on held-out windows, by stage.
    n_steps_ : int
        Optimizer steps in all.
    record_ : dict
        What went in: data sets, subjects, hours (the contamination record).
    fingerprint_ : str
        Digest of the encoder's tensors.

    Raises
    ------
    SpecError
        If data or parameters do not fit the model.
    TrainingError
        If the loss is no number any more.

    Notes
    -----
    On one CPU the result follows from data, parameters and ``random_state`` to the bit,
    interrupted or not. With several processes losses agree up to rounding. Each process
    holds the whole model.

    Examples
    --------
    >>> import numpy as np
    >>> import eegfound as ef
    >>> from eegfound.testing.toy import toy_model
    >>> info = ef.ChannelInfo(["C3", "Cz", "C4"], sfreq=250)
    >>> X = 1e-5 * np.random.default_rng(0).standard_normal((8, 3, 500))
    >>> toy = toy_model("example", objective="eegfound.testing.toy_pretraining:build_masked")
    >>> with ef.models.registry.registered(toy):
    ...     pre = ef.make_pretrainer("example", info=info, max_epochs=2)
    ...     pre = pre.fit(X, groups=[1, 1, 1, 1, 2, 2, 2, 2])
    ...     encoder = ef.make_transformer("example", checkpoint=pre.to_checkpoint(), info=info)
    ...     encoder.fit_transform(X).shape
    (8, 16)
    """

    __metadata_request__partial_fit: ClassVar = {"groups": True}
    #: What is known of arrays (``name``, ``licence``, ``citation``), set by whoever loads a
    #: data set by its name: goes into ``record_``.
    _terms: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        model: str | None = None,
        *,
        size: str | None = None,
        checkpoint: Any = None,
        info: Any = None,
        unit: str = "V",
        on_unknown: str = "raise",
        on_short: str = "raise",
        stages: Any = None,
        recipe: str | None = None,
        max_epochs: Any = None,
        train_batch_size: Any = None,
        micro_batch_size: int | None = None,
        optimizer: Any = None,
        betas: Any = None,
        lr: Any = None,
        min_lr: Any = None,
        lr_schedule: Any = None,
        warmup: Any = None,
        weight_decay: Any = None,
        gradient_clip: Any = None,
        ema_decay: Any = None,
        objective_params: dict[str, Any] | None = None,
        window_seconds: float | None = None,
        validation_fraction: Any = 0.1,
        early_stopping: bool = False,
        patience: int = 10,
        accelerator: Any = None,
        dtype: str = "float32",
        device: str = "auto",
        n_threads: int | None = None,
        n_workers: int = 0,
        resume_dir: Any = None,
        save_every: float = 300.0,
        metrics_file: Any = None,
        callbacks: Any = None,
        model_params: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = 0,
    ) -> None:
        self.model = model
        self.size = size
        self.checkpoint = checkpoint
        self.info = info
        self.unit = unit
        self.on_unknown = on_unknown
        self.on_short = on_short
        self.stages = stages
        self.recipe = recipe
        self.max_epochs = max_epochs
        self.train_batch_size = train_batch_size
        self.micro_batch_size = micro_batch_size
        self.optimizer = optimizer
        self.betas = betas
        self.lr = lr
        self.min_lr = min_lr
        self.lr_schedule = lr_schedule
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.ema_decay = ema_decay
        self.objective_params = objective_params
        self.window_seconds = window_seconds
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience
        self.accelerator = accelerator
        self.dtype = dtype
        self.device = device
        self.n_threads = n_threads
        self.n_workers = n_workers
        self.resume_dir = resume_dir
        self.save_every = save_every
        self.metrics_file = metrics_file
        self.callbacks = callbacks
        self.model_params = model_params
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> FoundationPretrainer:
        """Train all stages from the start.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs | Corpus | path | source
            Windows of EEG in ``unit`` (a channel that is NaN was not recorded), a prepared
            corpus or its folder, or any
            :class:`~eegfound.pretraining.source.WindowSource`.
        y : None
            Ignored.
        groups : array-like, shape (n_epochs,) | None
            Subject of each window, for the hold-out. None takes those of a corpus.

        Returns
        -------
        FoundationPretrainer
            The estimator itself.
        """
        from eegfound.estimators._pretraining import train

        train(self, X, groups, again=False)
        return self

    def partial_fit(self, X: Any, y: Any = None, groups: Any = None) -> FoundationPretrainer:
        """Train one more pass, at the learning rate ``lr`` throughout.

        The first call trains one pass of every stage; later ones go on with the last
        stage: weights, the optimizer's memory and averages.

        Parameters
        ----------
        X, y, groups
            See :meth:`fit`.

        Returns
        -------
        FoundationPretrainer
            The estimator itself.
        """
        from eegfound.estimators._pretraining import train

        train(self, X, groups, again=True)
        return self

    def evaluate(self, X: Any, y: Any = None, *, stage: str | None = None) -> dict[str, float]:
        """Measure the objective on windows: losses, and what learning nothing reaches.

        Parameters
        ----------
        X : as in :meth:`fit`
            Windows that were not trained on.
        y : None
            Ignored.
        stage : str | None
            Name of the stage whose objective is asked; None takes the last one.

        Returns
        -------
        dict of str to float
            Means over windows: ``total``, the model's own measures, and ``…_trivial``.
        """
        from eegfound.estimators._pretraining import evaluate

        self._check_fitted()
        return evaluate(self, X, stage)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the objective's loss on windows: greater is better.

        Parameters
        ----------
        X, y
            See :meth:`evaluate`.

        Returns
        -------
        float
            Minus ``total``.
        """
        return -self.evaluate(X)["total"]

    def to_checkpoint(self) -> TrainedWeights:
        """Return the trained encoder for ``checkpoint=`` of another estimator."""
        from eegfound.estimators._trained import metadata_of, trained_state

        self._check_fitted()
        return TrainedWeights(trained_state(self), metadata_of(self))

    def save(self, path: Any, *, what: str = "encoder") -> Path:
        """Write what was trained as safetensors.

        Parameters
        ----------
        path : path-like
            Must end in ``.safetensors``.
        what : {"encoder", "objective"}
            The encoder alone, for ``make_transformer(name, checkpoint=path)``; or the
            objectives of all stages (tokenizers, decoders, momentum encoders), for
            ``checkpoint=`` of a Pretrainer.

        Returns
        -------
        Path
            The file.
        """
        from eegfound.estimators._trained import metadata_of
        from eegfound.pretraining.keeping import OBJECTIVES, objectives_state

        self._check_fitted()
        if what == "encoder":
            return self.to_checkpoint().save(path)
        if what != "objective":
            raise SpecError(f"what={what!r} is not one of ('encoder', 'objective').")
        return save_weights(
            path, objectives_state(self.objectives_), metadata_of(self, content=OBJECTIVES)
        )

    def _params_for(self, *, front_end: bool) -> dict[str, Any]:
        from eegfound.estimators._pretraining import trained_front_end

        own = super()._params_for(front_end=front_end)
        return {**trained_front_end(self.checkpoint), **own} if front_end else own

    def _check_fitted(self) -> None:
        check_is_fitted(self, "objectives_")


def make_pretrainer(name: str, **params: Any) -> FoundationPretrainer:
    """Return the pretraining of a model as an estimator.

    Parameters
    ----------
    name : str
        Name or alias of an installed model.
    **params : Any
        Parameters of :class:`FoundationPretrainer`.

    Returns
    -------
    FoundationPretrainer
        The plugin's named class, unfitted.
    """
    model = get_model(name)
    if model.pretrainer is None:
        return FoundationPretrainer(model.name, **params)
    return load_object(model.pretrainer)(**params)
