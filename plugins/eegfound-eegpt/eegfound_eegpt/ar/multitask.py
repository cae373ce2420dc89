"""One classifier of several tasks that share encoder and electrode graph."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from torch import nn

from eegfound.base import SpecError
from eegfound.estimators._handle import resolve_device
from eegfound.estimators._nets import Batches, ClassifierNet, WeightedData
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.estimators._tuning import TunableEstimator
from eegfound.estimators._validation import validation_split
from eegfound.models.randomness import seeded_torch
from eegfound_eegpt.ar.task_labels import as_task_column
from eegfound_eegpt.ar.task_network import TaskNetwork, TrainingEpochs, parameter_groups
from eegfound_eegpt.ar.task_reading import TrainingTasks, read_array, read_mapping

TUNINGS = ("readout", "full")


class EEGPTMultiTaskClassifier(ClassifierMixin, TunableEstimator):
    """Classify windows of several tasks with one task-shared electrode graph.

    The encoder reads each electrode on its own; the graph joins the electrodes
    that an epoch has, whatever its task; each task has a head of its own. A
    batch mixes epochs of all tasks, and the loss is the mean over epochs.
    Without ``task`` this is an ordinary classifier of one task.

    Parameters
    ----------
    size, pretrained, info, unit, on_unknown, on_short
        As in :class:`eegfound.FoundationTransformer`. ``info`` names the
        channels of all tasks together; a channel that a task does not have is
        NaN in its epochs.
    checkpoint : str | path-like | None
        Path of a weight file (a pretrained encoder). None, the default since no
        weights are published, draws random ones and announces that by a
        :class:`~eegfound.base.RandomWeightsWarning`.
    tuning : {"readout", "full"}
        ``"readout"`` trains special token, graph and heads and leaves the
        encoder frozen (the paper's way); ``"full"`` trains a copy of the
        encoder too, at a tenth of the learning rate.
    head_dropout : float
        Dropout in the heads while training.
    class_weight : dict | "balanced" | None
        Weight of each class in the loss, within its task.
    max_epochs : int
        Passes over the training data; the learning rate follows a cosine.
    lr : float | None
        Learning rate of AdamW. None: 2e-3 for ``"readout"``, 1e-4 for
        ``"full"``.
    weight_decay : float
        Of matrices; tables, vectors and biases have none.
    train_batch_size : int
        Epochs per training step, of any tasks.
    early_stopping : bool
        Hold out part of the *groups* given to ``fit`` and keep the weights of
        the best validation loss.
    validation_fraction : float
        Share of the groups held out.
    patience : int
        Passes without a better validation loss before training stops.
    callbacks : list | None
        skorch callbacks; each fit uses a copy.
    batch_size, device, dtype, n_threads, model_params
        As in :class:`eegfound.FoundationTransformer`.
    verbose : int
        1 prints skorch's table of epochs.
    random_state : int | RandomState | None
        Seed of everything random in ``fit``.

    Attributes
    ----------
    classes_ : ndarray
        Labels of all tasks, sorted.
    tasks_ : list
        Tasks; ``[None]`` where ``fit`` was given none.
    task_classes_ : dict
        Labels of each task, sorted.
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` tells each pass.
    encoder_, plan_, ch_names_, weights_, fingerprint_, load_report_
        As in :class:`eegfound.FoundationTransformer`.

    Notes
    -----
    ``task`` is metadata in scikit-learn's sense and is requested by default:
    with ``sklearn.set_config(enable_metadata_routing=True)``,
    ``cross_val_score(mt, X, y, params={"task": task})``, grid searches and
    pipelines pass it on to ``fit``, ``predict`` and ``score``. scikit-learn's
    named scorers and ``cross_val_predict`` call ``predict`` without metadata:
    leave ``scoring`` out (accuracy over all epochs), or use
    :class:`eegfound_eegpt.ar.task_scorer.TaskScorer`.

    On the CPU training is in float64: where all epochs fit into one batch,
    weighting an epoch and repeating it are the same.

    References
    ----------
    .. [1] Yue et al., arXiv 2410.19779: task-shared electrode graph, joint
       transfer to all tasks.

    Examples
    --------
    >>> import numpy as np
    >>> import eegfound as ef
    >>> from eegfound_eegpt import EEGPTMultiTaskClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = 1e-5 * rng.standard_normal((8, 3, 512))
    >>> X[:4, 2] = np.nan                                       # not recorded in "sleep"
    >>> y = np.array(["N1", "N2", "N1", "N2", "left", "right", "left", "right"])
    >>> task = np.repeat(["sleep", "motor"], 4)
    >>> info = ef.ChannelInfo(["C3", "C4", "Fpz"], sfreq=256)
    >>> mt = EEGPTMultiTaskClassifier(size="tiny", info=info, max_epochs=2)
    >>> set(mt.fit(X, y, task=task).predict(X, task="sleep")) <= {"N1", "N2"}
    True
    """

    default_model = "eegpt-ar"
    # The base class reads them as parameters.
    model: ClassVar[None] = None
    layer: ClassVar[None] = None
    pooling: ClassVar[str] = "graph"
    _net_class = ClassifierNet
    # What metadata routing passes on unless the user says otherwise.
    __metadata_request__fit: ClassVar = {"task": True, "groups": True}
    __metadata_request__predict: ClassVar = {"task": True}
    __metadata_request__predict_proba: ClassVar = {"task": True}
    __metadata_request__score: ClassVar = {"task": True}

    def __init__(
        self,
        *,
        size: str | None = None,
        checkpoint: Any = None,
        pretrained: bool = True,
        info: Any = None,
        unit: str = "V",
        on_unknown: str = "raise",
        on_short: str = "raise",
        tuning: str = "readout",
        head_dropout: float = 0.0,
        class_weight: Any = None,
        max_epochs: int = 50,
        lr: float | None = None,
        weight_decay: float = 0.05,
        train_batch_size: int = 64,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        patience: int = 10,
        callbacks: list[Any] | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        dtype: str = "float32",
        n_threads: int | None = None,
        model_params: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = 0,
    ) -> None:
        self.size = size
        self.checkpoint = checkpoint
        self.pretrained = pretrained
        self.info = info
        self.unit = unit
        self.on_unknown = on_unknown
        self.on_short = on_short
        self.tuning = tuning
        self.head_dropout = head_dropout
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.train_batch_size = train_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.n_threads = n_threads
        self.model_params = model_params
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any = None, task: Any = None, groups: Any = None, sample_weight: Any = None
    ) -> EEGPTMultiTaskClassifier:
        """Train graph and heads on all tasks together.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs | dict
            Windows of EEG in ``unit``; a channel that is NaN throughout an
            epoch was not recorded there. Or task to ``(X, y)`` or
            ``(X, y, info)``, each array with channels, rate and length of its
            own; ``info`` may be a list of channel names.
        y : array-like, shape (n_epochs,) | None
            Labels of any kind; the labels of a task are those its epochs have.
            None where ``X`` is a dict.
        task : array-like, shape (n_epochs,) | str | None
            Task of each epoch.
        groups : array-like, shape (n_epochs,) | dict | None
            Subject of each window; keeps subjects whole when
            ``early_stopping`` holds data out. For a dict ``X`` a dict.
        sample_weight : array-like, shape (n_epochs,) | dict | None
            Weight of each window in the loss. For a dict ``X`` a dict.

        Returns
        -------
        EEGPTMultiTaskClassifier
            The estimator itself.
        """
        self._check_options()
        self.readers_: dict[Hashable, Any] = {}
        if isinstance(X, Mapping) and not issparse(X):  # some sparse arrays are dicts
            if y is not None or task is not None:
                raise SpecError("X is a dict of tasks, which has y and task in it: leave them out.")
            data, self.readers_ = read_mapping(self, X, groups, sample_weight)
        else:
            data = read_array(self, X, y, task, groups, sample_weight)
        self.labels_ = data.labels
        self.classes_ = data.labels.classes
        self.tasks_ = list(data.labels.tasks)
        self.task_classes_ = dict(data.labels.by_task)
        self._load_encoder()
        self.front_end_ = None
        for reader in self.readers_.values():
            reader.encoder_, reader.front_end_ = self.encoder_, None
        self.net_ = self._learn(data)
        return self

    def _check_options(self) -> None:
        if self.tuning not in TUNINGS:
            raise SpecError(f"tuning={self.tuning!r} is not one of {TUNINGS}.")
        for name in ("max_epochs", "train_batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise SpecError(f"{name}={value!r} must be a positive integer.")

    def _learn(self, data: TrainingTasks) -> ClassifierNet:
        """Train a net on the epochs that have a weight."""
        seed = self._seed()
        there = np.flatnonzero(data.weight)
        split = None
        if self.early_stopping:
            split = validation_split(
                data.columns[there], None if data.groups is None else data.groups[there],
                fraction=self.validation_fraction, seed=seed, stratify=True,
            )  # fmt: skip
        # The net is handed numbers of epochs; it looks them up itself.
        numbered = WeightedData(there, data.columns[there], data.weight[there])
        with seeded_torch(seed), torch_threads(n_workers(self.n_threads)):
            net = self._net(data, None if split is None else numbered.subset(split[1]))
            net.initialize().module_.epochs = TrainingEpochs(data.blocks, data.task)
            net.partial_fit(numbered if split is None else numbered.subset(split[0]), y=None)
        # A pickle must carry neither data nor the optimizer's memory.
        net.module_.epochs = net.train_split = None
        net.optimizer_.state.clear()
        losses = net.history[:, "train_loss"]
        if not np.isfinite(losses).all():
            raise FloatingPointError(
                f"Training diverged: the loss is {losses[-1]} after {len(losses)} passes. Use a "
                f"smaller lr (now {net.lr:g})."
            )
        return net

    def _net(self, data: TrainingTasks, validation: WeightedData | None) -> ClassifierNet:
        full = self.tuning == "full"
        lr = (1e-4 if full else 2e-3) if self.lr is None else self.lr
        device = resolve_device(self.device)
        callbacks = copy.deepcopy(list(self.callbacks or []))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        callbacks.append(("cosine", LRScheduler(cosine, T_max=self.max_epochs)))
        if validation is not None:
            stop = EarlyStopping(
                "valid_loss", patience=self.patience, load_best=True,
                sink=print if self.verbose else _silent,
            )  # fmt: skip
            callbacks.append(("validation_early_stopping", stop))
        return ClassifierNet(
            TaskNetwork,
            module__handle=self.encoder_,
            module__n_classes=data.labels.counts,
            module__full=full,
            module__dropout=self.head_dropout,
            # In float64 a fit hardly depends on the order of sums.
            module__double=device == "cpu" and not full,
            criterion=nn.CrossEntropyLoss,
            criterion__reduction="none",
            max_epochs=self.max_epochs,
            lr=lr,
            batch_size=self.train_batch_size,
            device=device,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            optimizer__param_groups=parameter_groups(self.encoder_.network, lr, full=full),
            iterator_train=Batches,
            iterator_train__shuffle=True,
            iterator_valid=Batches,
            train_split=None if validation is None else predefined_split(validation),
            callbacks=callbacks,
            verbose=self.verbose,
        )

    def predict_proba(self, X: Any, task: Any = None) -> np.ndarray:
        """Return class probabilities, ``(n_epochs, len(classes_))``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.
        task : array-like, shape (n_epochs,) | str | None
            Task of each window. Not needed where ``fit`` saw one task.

        Returns
        -------
        ndarray
            One column per label of ``classes_``; zero for labels that the
            epoch's task does not have. Rows sum to 1.
        """
        self._check_fitted()
        tuned, heads = self._trained()
        parts = [
            (members, reader._features(part, reader.plan_.check(part), network=tuned))
            for members, reader, part in self._parts(X, task)
        ]
        n_epochs = sum(len(features) for _, features in parts)
        codes = self.labels_.task_codes(as_task_column(task, n_epochs), n_epochs)
        out = np.zeros((n_epochs, len(self.classes_)))
        for members, features in parts:
            for number in np.unique(codes[members]):
                chosen = codes[members] == number
                with torch.inference_mode(), torch_threads(1):
                    scores = heads[number](torch.from_numpy(features[chosen]).double()).numpy()
                places = self.labels_.places(self.labels_.tasks[number])
                out[members[chosen][:, None], places] = softmax(scores, axis=1)
        return out

    def _trained(self) -> tuple[Any, Any]:
        """Return the tuned encoder for reading, and the heads in float64."""
        module = self.net_.module_.eval()
        heads = copy.deepcopy(module.heads).double().cpu()
        return module.encoder(torch.float32), heads

    def _parts(self, X: Any, task: Any) -> list[tuple[np.ndarray, Any, np.ndarray]]:
        """Return numbers of epochs, who reads them, and the windows as read."""
        if not self.readers_:
            X = self._read(X, reset=False)
            return [(np.arange(len(X)), self, X)]
        column = as_task_column(task, len(X))
        codes = self.labels_.task_codes(column, len(X))
        parts = []
        for number in np.unique(codes):
            reader = self.readers_[self.labels_.tasks[number]]
            members = np.flatnonzero(codes == number)
            some = X if len(members) == len(X) else X[members]
            parts.append((members, reader, reader._read(some, reset=False)))
        return parts

    def predict(self, X: Any, task: Any = None) -> np.ndarray:
        """Return labels as they were given to ``fit``, ``(n_epochs,)``.

        Parameters
        ----------
        X, task
            As in :meth:`predict_proba`; a window gets a label of its own task.
        """
        best = self.predict_proba(X, task).argmax(axis=1)
        return self.classes_[best]

    def score(self, X: Any, y: Any, task: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy over all windows.

        Parameters
        ----------
        X, task
            As in :meth:`predict`.
        y, sample_weight : array-like, shape (n_epochs,)
            Label and weight of each window.
        """
        return float(accuracy_score(y, self.predict(X, task), sample_weight=sample_weight))


def _silent(*_: Any) -> None:
    """Say nothing."""
