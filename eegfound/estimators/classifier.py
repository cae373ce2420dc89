"""The fine-tunable classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from eegfound.estimators._class_weight import weights_of_classes
from eegfound.estimators._nets import ClassifierNet
from eegfound.estimators._tuning import TunableEstimator


class FoundationClassifier(ClassifierMixin, TunableEstimator):
    """Classify windows of EEG with a foundation model and a trained head.

    Parameters
    ----------
    model : str | None
        Name of an installed model (:func:`eegfound.list_models`).
    size, checkpoint, pretrained, info, unit, pooling, layer, on_unknown, on_short
        As in :class:`FoundationTransformer`.
    tuning : str | None
        What is trained. ``"head"``: the encoder stays frozen (in eval mode),
        every window is encoded once and the head is fitted on the embeddings.
        ``"partial"``: the last ``n_unfrozen`` layers of a copy of the encoder
        with the head. ``"full"``: the whole copy. ``"lora"``: low-rank changes
        of the encoder's linear layers (needs ``peft``). ``"readout"``: the
        model's own read-out (a gate, a graph, a token), the rest stays frozen.
        ``"conv_linear"``: a spatial filter maps whatever electrodes there are
        to electrodes of the model; it is trained with the head, through the
        frozen encoder, and ``on_unknown`` has no meaning. ``"two_stage"``: a
        probe of the frozen features, then ``second_stage``. None: the
        recipe's, else ``"head"``.
    recipe : str | None
        Name of a recipe of the model (``"paper"``; see its model card). It
        gives every parameter below that is left at None, ``pooling``, and
        ``model_params`` that are not given. With ``tuning="head"`` its ``lr``
        and ``weight_decay`` for training in steps do not count.
    head : str | None
        ``"linear"``, ``"mlp"``, ``"attention"`` (attentive pooling of tokens),
        ``"conv_linear"`` (convolution over moments), ``"graph"`` (over
        electrodes), ``"two_linear"`` (two layers of bounded norm, the first
        applied to each moment), or the name of a plugin's head. None:
        ``"two_linear"`` for ``tuning="conv_linear"``, else ``"linear"``.
    head_hidden : int | None
        Width of the hidden layer. None: 64 for ``"mlp"``, 16 for
        ``"two_linear"``; see :mod:`eegfound.nn` for the others.
    head_dropout : float | None
        Dropout in the head while training; with ``tuning="head"`` the exact
        fit becomes a noisy one. None: 0.5 for ``"two_linear"``, else 0.
    head_start : {"zero", "ridge", "probe"} | None
        Where the head begins when the encoder is trained with it: as it is
        initialized, at the closed form of a ridge regression (linear head), or
        at a head fitted to the frozen features (logistic regression for a
        linear head). None: ``"zero"``, for ``"two_stage"`` ``"probe"``.
    n_unfrozen : int | None
        Layers that ``"partial"`` trains, counted from the output or from
        ``layer``. None is 2.
    lora_rank : int | None
        Rank of the changes of ``"lora"``. None is 8.
    lora_alpha : float | None
        They are scaled by ``lora_alpha / lora_rank``. None: twice the rank.
    lora_dropout : float | None
        Dropout before them while training. None is 0.
    lora_targets : list of str | None
        Names or patterns of the linear layers. None: what the model says.
    second_stage : {"full", "partial", "lora"} | None
        What ``"two_stage"`` trains after the head. None is ``"full"``.
    adapter_channels : "all" | int | list of str | None
        Electrodes of the model that the spatial filter of ``"conv_linear"``
        writes to. None: the whole layout of a model that needs it, else the
        electrodes of the 10-20 system that the model knows. ``"all"``: its
        whole vocabulary. A number: the first electrodes of its vocabulary, or
        so many nameless ones for a model without one.
    adapter_options : dict | None
        Of that filter: ``n_layers`` (1), ``bias`` (True), ``max_norm`` (1),
        ``batch_norm`` and ``gelu`` (False) after each layer,
        ``temporal_kernel`` (None: no filter in time; else its length in
        samples at the model's rate) with ``temporal_padding`` (``"same"`` or
        ``"valid"``), ``dropout`` (0) of whole channels.
    class_weight : dict | "balanced" | None
        Weight of each class in the loss. ``"balanced"`` gives the classes the
        same total of ``sample_weight``.
    label_smoothing : float | None
        Share of each label that is spread over all classes. None is 0.
    mixup : float | None
        Windows of a batch are mixed in pairs, with shares drawn from
        ``Beta(mixup, mixup)``. None or 0: not. Needs training in steps.
    channel_dropout : float | None
        Probability with which an electrode is left out of a batch. None is 0.
        Needs training in steps.
    max_epochs : int | None
        Passes over the training data. None is 30.
    lr : float | None
        Learning rate. None: 1 for ``"head"`` (L-BFGS with line search);
        otherwise 5e-4 for ``"full"`` and ``"partial"``, 1e-3 for the others.
    min_lr : float | None
        Rate that ``"cosine"`` and ``"plateau"`` end at. None is 0.
    weight_decay : float | None
        None: 0.01 (for ``"head"`` an L2 penalty on the head's matrices), 0.05
        for ``"full"`` and ``"partial"``.
    layer_decay : float | None
        Factor on the learning rate per layer below the head, where layers are
        trained. None is 1.
    optimizer : {"adamw", "adam", "amsgrad", "sgd"} | None
        For training in steps. None is ``"adamw"``.
    lr_schedule : {"constant", "cosine", "onecycle", "onecycle_half", "plateau"} | None
        How the learning rate changes over the steps (``"plateau"``: halved
        after ten epochs without a better loss). None is ``"constant"``.
    warmup : float | None
        Epochs in which the rate grows from 0; ``"plateau"`` has none. None is
        0, for one-cycle schedules three tenths of the training.
    gradient_clip : float | None
        Largest norm of a step's gradient. None does not clip.
    ema_decay : float | None
        Validate and keep an exponential moving average of the trained weights
        with this decay per step. None keeps the last weights.
    train_batch_size : int | None
        Windows per training step (``"head"`` sees all at once). None is 32.
    activation_memory_mb : float
        Bound on what a training step keeps for its backward pass, in MB: a
        batch goes through the network in as many passes as it takes, with the
        gradient of the whole batch. The optimizer and the data come on top.
    early_stopping : bool
        Hold out part of the *groups* given to ``fit`` and keep the weights of
        the best validation loss.
    validation_fraction : float
        Share of the groups held out.
    patience : int
        Epochs without a better validation loss before training stops.
    callbacks : list | None
        skorch callbacks; each fit uses a copy. The estimator's own names are
        taken: ``training_state``, ``validation_early_stopping``, ``memory_bound``,
        ``gradient_clip``, ``averaging``, ``learning_rate``.
    resume_dir : path-like | None
        Folder in which the state of a training is kept after every epoch. The
        same fit (data, options, ``callbacks``, seed) called again goes on
        where it was killed, to the same losses and weights; a finished one is
        read back. With ``random_state=None`` no fit is the same.
    cache : bool | path-like | None
        Keep embeddings of the frozen encoder, as in
        :class:`FoundationTransformer`.
    batch_size, device, dtype, n_threads, model_params
        As in :class:`FoundationTransformer`; ``batch_size`` is for encoding.
    verbose : int
        1 prints skorch's table of epochs.
    random_state : int | RandomState | None
        Seed of everything random in ``fit``.

    Attributes
    ----------
    classes_ : ndarray
        Labels, as given.
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` tells each epoch.
    options_ : TrainingOptions
        What counted, after recipe and defaults.
    n_trained_parameters_ : int
        Numbers that were trained.
    encoder_, plan_, ch_names_, weights_, fingerprint_, load_report_
        As in :class:`FoundationTransformer`.

    Notes
    -----
    The same seed gives the same result. Where a network is trained in steps,
    the last digits may depend on the number of threads; ``n_threads=1`` fixes
    them as well. Repeating an epoch and doubling its weight are the same.

    With ``tuning="conv_linear"`` a window is read moment by moment (the mean
    over the channels' tokens of each patch, or all summary tokens of a slice)
    unless ``pooling`` is given; channels of NaN are zero to the filter.
    With ``early_stopping`` and ``ema_decay`` the averaged weights are judged.
    ``mixup``, ``channel_dropout``, ``optimizer``, ``lr_schedule``, ``warmup``,
    ``gradient_clip`` and ``ema_decay`` have no meaning for ``tuning="head"``,
    whose fit is exact; so a search may set them for every tuning.
    Features are standardized by their mean and spread over the training data
    before training, as for every head here; the papers do not do that.

    References
    ----------
    Conv-linear probing: Wang et al., "EEGPT", NeurIPS 2024; Shao et al.,
    "DARE-EEG", arXiv 2605.18298.

    Examples
    --------
    >>> import eegfound as ef
    >>> clf = ef.FoundationClassifier("labram", tuning="head", class_weight="balanced")
    >>> clf.tuning
    'head'
    """

    _net_class = ClassifierNet

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
        class_weight: Any = None,
        label_smoothing: float | None = None,
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
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
    ) -> FoundationClassifier:
        """Train the head, or encoder and head.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows of EEG in ``unit``.
        y : array-like, shape (n_epochs,)
            Labels of any kind.
        groups : array-like, shape (n_epochs,) | None
            Subject of each window; keeps subjects whole when
            ``early_stopping`` holds data out.
        sample_weight : array-like, shape (n_epochs,) | None
            Weight of each window in the loss.

        Returns
        -------
        FoundationClassifier
            The estimator itself.
        """
        X, y = self._read(X, reset=True, y=y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        weight = self._weights(
            sample_weight, X, lambda weight: weights_of_classes(self.class_weight, y, weight)
        )
        self._train(X, codes.astype(np.int64), weight, groups, len(self.classes_))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores before the softmax.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.

        Returns
        -------
        ndarray, shape (n_epochs,) or (n_epochs, n_classes)
            For two classes the log-odds of the second.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, ``(n_epochs, n_classes)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.
        """
        return softmax(self._scores(X), axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return labels as they were given to ``fit``, ``(n_epochs,)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.
        """
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = self._poor_score()
        return tags
