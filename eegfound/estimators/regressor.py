"""The fine-tunable regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from eegfound.estimators._nets import RegressorNet
from eegfound.estimators._tuning import TunableEstimator


class FoundationRegressor(RegressorMixin, TunableEstimator):
    """Predict numbers from windows of EEG with a foundation model.

    Targets are standardized (weighted mean and spread of the training data)
    before the squared error is taken, and predictions are brought back.

    Parameters
    ----------
    model : str | None
        Name of an installed model (:func:`eegfound.list_models`).
    size, checkpoint, pretrained, info, unit, pooling, layer, on_unknown, on_short
        As in :class:`FoundationTransformer`.
    tuning, recipe, head, head_hidden, head_dropout, head_start, n_unfrozen
        As in :class:`FoundationClassifier`.
    lora_rank, lora_alpha, lora_dropout, lora_targets, second_stage
        As in :class:`FoundationClassifier`.
    adapter_channels, adapter_options, mixup, channel_dropout
        As in :class:`FoundationClassifier`.
    max_epochs, lr, min_lr, weight_decay, layer_decay, optimizer, lr_schedule
        As in :class:`FoundationClassifier`.
    warmup, gradient_clip, ema_decay, train_batch_size, activation_memory_mb
        As in :class:`FoundationClassifier`.
    early_stopping, validation_fraction, patience, callbacks, resume_dir, cache
        As in :class:`FoundationClassifier`.
    batch_size, device, dtype, n_threads, model_params, verbose, random_state
        As in :class:`FoundationClassifier`.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` tells each epoch.
    target_mean_, target_scale_ : ndarray, shape (n_outputs,)
        Standardization of the targets.
    options_, n_trained_parameters_
        As in :class:`FoundationClassifier`.
    encoder_, plan_, ch_names_, weights_, fingerprint_, load_report_
        As in :class:`FoundationTransformer`.

    Examples
    --------
    >>> import eegfound as ef
    >>> ef.FoundationRegressor("labram", head="mlp").head
    'mlp'
    """

    _net_class = RegressorNet

    def __init__(
        self,
        model: str | None = None,
        *,
        size: str | None = None,
        checkpoint: Any = "default",
        pretrained: bool = True,
        info: Any = None,
        unit: str = "V",
        pooling: str | None = None,
        layer: int | None = None,
        on_unknown: str = "raise",
        on_short: str = "raise",
        tuning: str | None = None,
        recipe: str | None = None,
        head: str | None = None,
        head_hidden: int | None = None,
        head_dropout: float | None = None,
        head_start: str | None = None,
        n_unfrozen: int | None = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        lora_dropout: float | None = None,
        lora_targets: Any = None,
        second_stage: str | None = None,
        adapter_channels: Any = None,
        adapter_options: dict[str, Any] | None = None,
        mixup: float | None = None,
        channel_dropout: float | None = None,
        max_epochs: int | None = None,
        lr: float | None = None,
        min_lr: float | None = None,
        weight_decay: float | None = None,
        layer_decay: float | None = None,
        optimizer: str | None = None,
        lr_schedule: str | None = None,
        warmup: float | None = None,
        gradient_clip: float | None = None,
        ema_decay: float | None = None,
        train_batch_size: int | None = None,
        activation_memory_mb: float = 512,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        patience: int = 10,
        callbacks: list[Any] | None = None,
        resume_dir: Any = None,
        cache: Any = None,
        batch_size: int | None = None,
        device: str = "auto",
        dtype: str = "float32",
        n_threads: int | None = None,
        model_params: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = 0,
    ) -> None:
        self.model = model
        self.size = size
        self.checkpoint = checkpoint
        self.pretrained = pretrained
        self.info = info
        self.unit = unit
        self.pooling = pooling
        self.layer = layer
        self.on_unknown = on_unknown
        self.on_short = on_short
        self.tuning = tuning
        self.recipe = recipe
        self.head = head
        self.head_hidden = head_hidden
        self.head_dropout = head_dropout
        self.head_start = head_start
        self.n_unfrozen = n_unfrozen
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.lora_targets = lora_targets
        self.second_stage = second_stage
        self.adapter_channels = adapter_channels
        self.adapter_options = adapter_options
        self.mixup = mixup
        self.channel_dropout = channel_dropout
        self.max_epochs = max_epochs
        self.lr = lr
        self.min_lr = min_lr
        self.weight_decay = weight_decay
        self.layer_decay = layer_decay
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.warmup = warmup
        self.gradient_clip = gradient_clip
        self.ema_decay = ema_decay
        self.train_batch_size = train_batch_size
        self.activation_memory_mb = activation_memory_mb
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.resume_dir = resume_dir
        self.cache = cache
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.n_threads = n_threads
        self.model_params = model_params
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> FoundationRegressor:
        """Train the head, or encoder and head.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows of EEG in ``unit``.
        y : array-like, shape (n_epochs,) or (n_epochs, n_outputs)
            Targets.
        groups : array-like, shape (n_epochs,) | None
            Subject of each window; keeps subjects whole when
            ``early_stopping`` holds data out.
        sample_weight : array-like, shape (n_epochs,) | None
            Weight of each window in the loss.

        Returns
        -------
        FoundationRegressor
            The estimator itself.
        """
        X, y = self._read(X, reset=True, y=y)
        weight = self._weights(sample_weight, X)
        targets = np.asarray(y, dtype=np.float64)
        self._y_is_1d = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self.target_mean_ = np.average(targets, axis=0, weights=weight)
        spread = np.sqrt(np.average((targets - self.target_mean_) ** 2, axis=0, weights=weight))
        self.target_scale_ = np.where(spread > 0, spread, 1.0)
        standard = (targets - self.target_mean_) / self.target_scale_
        self._train(X, standard, weight, groups, standard.shape[1])
        return self

    def _y_options(self, y: Any) -> dict[str, Any]:
        return {} if isinstance(y, str) else {"multi_output": True, "y_numeric": True}

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions in the unit of the targets.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.

        Returns
        -------
        ndarray, shape (n_epochs,) or (n_epochs, n_outputs)
            As ``y`` was given.
        """
        values = self._scores(X) * self.target_scale_ + self.target_mean_
        return values[:, 0] if self._y_is_1d else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = self._poor_score()
        return tags
