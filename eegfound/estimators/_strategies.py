"""What of a network is trained, and how: one class per value of ``tuning=``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from skorch.helper import predefined_split
from torch import nn

from eegfound.base import SpecError
from eegfound.estimators._averaging import Averaging
from eegfound.estimators._callbacks import copies_of
from eegfound.estimators._encode import check_features
from eegfound.estimators._groups import weight_groups
from eegfound.estimators._handle import resolve_device
from eegfound.estimators._head_start import start_probe, start_ridge
from eegfound.estimators._heads import Head, head_reading
from eegfound.estimators._lazy_features import LazyFeatures
from eegfound.estimators._memory import MemoryBound
from eegfound.estimators._modules import PartlyTunedEncoder, TunedEncoder
from eegfound.estimators._nets import Batches, ClassifierNet, Net, WeightedData
from eegfound.estimators._observers import watchers
from eegfound.estimators._options import TrainingOptions
from eegfound.estimators._resume import TrainingState, described, training_digest
from eegfound.estimators._schedule import LearningRate, optimizer_options
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.estimators._training_set import TrainingSet, distinct


class Strategy:
    """A way of training; subclasses say what is trained.

    Parameters
    ----------
    estimator : TunableEstimator
        Whose data count; it has read its input and loaded its encoder
        when :meth:`train` is called.
    options : TrainingOptions
        What was asked for, defaults filled in.
    """

    #: What options mean that neither user nor recipe gave.
    defaults: ClassVar[Mapping[str, Any]] = {}
    #: Least spread of a standardized feature, as a share of its size. Where an
    #: encoder moves, a feature that hardly varies between epochs must not be
    #: magnified: one step of training would be thousands of spreads.
    scale_floor: float = 0.0

    def __init__(self, estimator: Any, options: TrainingOptions) -> None:
        self.estimator = estimator
        self.options = options

    @property
    def reading(self) -> str:
        """What the head reads of the encoder's tokens."""
        return head_reading(self.options.head)

    @property
    def streams(self) -> bool:
        """Whether the features before training are needed a few at a time only."""
        return False

    def check(self) -> None:
        """Raise a SpecError if this model or these parameters cannot be trained so."""

    def train(self, data: TrainingSet) -> Net:
        """Return the trained net."""
        raise TypeError(f"{type(self).__name__} must implement train(data).")

    def _head_options(self, features: np.ndarray, n_outputs: int) -> dict[str, Any]:
        return {
            "n_features": int(np.prod(features.shape[1:])),
            "n_slices": features.shape[1] if features.ndim == 3 else 1,
            "n_outputs": n_outputs,
            "kind": self.options.head,
            "hidden": self.options.head_hidden,
            "dropout": self.options.head_dropout,
        }

    def _encode(self, data: TrainingSet, network: Any = None, reading: str = "") -> Any:
        """Return the features of all epochs before any training.

        Slices of all epochs, which only serve to scale the head, are computed
        when they are looked at.
        """
        reading = reading or self.reading
        X, presence, features = data.X, data.presence, None
        if self.streams and reading != "pooled":
            features = LazyFeatures(self.estimator, X, presence, reading)
        else:
            features = self.estimator._features(X, presence, network=network, reading=reading)
            check_features(features, presence, reading)
        self.estimator.n_features_out_ = int(np.prod(features.shape[1:]))
        return features

    def _net(self, module: Any, data: WeightedData, split: Any, **options: Any) -> Net:
        """Describe the skorch net; nothing is built yet."""
        estimator = self.estimator
        callbacks: list[Any] = [
            *self._step_callbacks(split is not None), *copies_of(estimator.callbacks)
        ]  # fmt: skip
        if split is not None:
            callbacks.append(
                (
                    "validation_early_stopping",
                    EarlyStopping(
                        "valid_loss", patience=estimator.patience, load_best=True,
                        sink=print if estimator.verbose else _silent,
                    ),
                )
            )  # fmt: skip
        callbacks.extend(watchers())
        if estimator.resume_dir is not None:
            callbacks.append(("training_state", TrainingState(estimator.resume_dir, "")))
        net_class = estimator._net_class
        classes = net_class is ClassifierNet
        return net_class(
            module,
            criterion=nn.CrossEntropyLoss if classes else nn.MSELoss,
            criterion__reduction="none",
            **({"criterion__label_smoothing": self.options.label_smoothing} if classes else {}),
            max_epochs=self.options.max_epochs,
            iterator_train=Batches,
            iterator_valid=Batches,
            train_split=None if split is None else predefined_split(data.subset(split[1])),
            callbacks=callbacks,
            verbose=estimator.verbose,
            **options,
        )

    def _step_callbacks(self, validates: bool) -> list[tuple[str, Callback]]:
        """Return the callbacks of nets that are trained in steps."""
        return []

    def _run(
        self, net: Net, head: Head, features: Any, data: WeightedData, split: Any,
        *, merge: bool = True,
    ) -> Net:  # fmt: skip
        """Set the head's scaling from the training part, then train."""
        if split is not None:
            data, features = data.subset(split[0]), features[split[0]]
        if merge:
            index, weight = distinct(data)
            data, features = WeightedData(data.X[index], data.y[index], weight), features[index]
        kind = head.standardize.mean
        weights = torch.from_numpy(data.weight).to(kind.device)
        if isinstance(features, LazyFeatures):
            head.set_from_blocks(features.blocks(weights), floor=self.scale_floor)
        else:
            features = features.reshape(len(features), -1)
            head.set_from(torch.from_numpy(features).to(kind), weights, floor=self.scale_floor)
            self._start(head, features, data)
        state = dict(net.callbacks_).get("training_state")
        if state is not None:
            state.digest = self._digest(data, net)
            state.take_up(net)
        net.n_trained_ = sum(p.numel() for _, p in net.get_all_learnable_params())
        net.partial_fit(data, y=None)
        if getattr(net, "interrupted_", False):
            raise KeyboardInterrupt("The training was interrupted.")
        # Validation data, the optimizer's memory and whoever watched have done
        # their work; a pickle must carry none of them.
        net.train_split = None
        for own in (net.callbacks, net.callbacks_):
            own[:] = [c for c in own if all(part not in watchers() for part in _parts(c))]
        net.optimizer_.state.clear()
        return net

    def _start(self, head: Head, features: np.ndarray, data: WeightedData) -> None:
        """Set the weights the head begins with."""
        classes = self.estimator._net_class is ClassifierNet
        if self.options.head_start == "ridge":
            start_ridge(head, features, data.y, data.weight, classes=classes)
        elif self.options.head_start == "probe":
            criterion: Any = nn.MSELoss(reduction="none")
            if classes:
                criterion = nn.CrossEntropyLoss(
                    reduction="none", label_smoothing=self.options.label_smoothing
                )
            start_probe(head, features, data.y, data.weight, criterion=criterion, penalty=0.01)

    def _digest(self, data: WeightedData, net: Net) -> str:
        estimator, handle = self.estimator, self.estimator.encoder_
        held_out = net.train_split
        parts = [data.X, data.y, data.weight]
        if held_out is not None:
            held = held_out(None)[1]
            parts += [held.X, held.y, held.weight]
        return training_digest(
            parts, type(self).__name__, self.options, estimator.fingerprint_, estimator.plan_,
            handle.pooling, estimator._layer(handle), handle.model, handle.size,
            sorted(handle.config.items()), estimator.dtype, estimator.patience, net.device,
            torch.random.initial_seed(), [described(c) for c in estimator.callbacks or []],
        )  # fmt: skip


class HeadTuning(Strategy):
    """Fit the head on features that were computed once.

    The encoder is in eval mode, so its features are constants. Full batches in
    float64 make the fit a function of the weighted data alone: repeating an
    epoch and doubling its weight are the same.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"lr": 1.0, "weight_decay": 0.01}

    def check(self) -> None:
        """Refuse the head whose weights are moved between steps."""
        if self.options.head == "two_linear":
            raise SpecError(
                "head='two_linear' bounds its weights between steps, which tuning='head' (L-BFGS) "
                "does not make: use head='mlp', or tuning='conv_linear', 'readout' or 'full'."
            )

    def train(self, data: TrainingSet) -> Net:
        """Fit the head."""
        features = self._encode(data)
        options = self._head_options(features, data.n_outputs) | {"double": True}
        flat = features.reshape(len(features), -1).astype(np.float64)
        fed = WeightedData(flat, data.y, data.weight)
        net = self._net(
            Head,
            fed,
            data.split,
            lr=self.options.lr,
            batch_size=-1,
            device="cpu",
            optimizer=torch.optim.LBFGS,
            optimizer__max_iter=5,
            optimizer__line_search_fn="strong_wolfe",
            optimizer__tolerance_grad=1e-10,
            optimizer__tolerance_change=1e-14,
            penalty=self.options.weight_decay,
            **{f"module__{key}": value for key, value in options.items()},
        )
        with torch_threads(1):
            head = net.initialize().module_
            return self._run(net, head, features, fed, data.split, merge=False)


class StepTuning(Strategy):
    """Training in steps on batches of windows; subclasses say of what."""

    def check(self) -> None:
        """Refuse a closed start of a head whose weights are bounded."""
        if self.options.head_start != "zero" and self.options.head == "two_linear":
            raise SpecError(
                f"head_start={self.options.head_start!r} knows no bounds, but head='two_linear' "
                "bounds its weights: use another head, or head_start='zero'."
            )

    @property
    def streams(self) -> bool:
        """Whether the features before training only scale the head."""
        return self.options.head_start == "zero"

    def _step_options(self) -> dict[str, Any]:
        """Return the net's options."""
        options, spec = self.options, self.estimator.plan_.spec
        return {
            "lr": options.lr,
            "batch_size": options.train_batch_size,
            "device": resolve_device(self.estimator.device),
            "iterator_train__shuffle": True,
            "mixup": options.mixup,
            "channel_dropout": options.channel_dropout,
            "dropped_value": float("nan") if spec.accepts_missing else 0.0,
            **optimizer_options(options),
        }

    def _step_callbacks(self, validates: bool) -> list[tuple[str, Callback]]:
        options = self.options
        callbacks: list[tuple[str, Callback]] = [
            ("memory_bound", MemoryBound(options.activation_memory_mb))
        ]
        if options.gradient_clip is not None:
            callbacks.append(("gradient_clip", GradientNormClipping(options.gradient_clip)))
        if options.ema_decay is not None:
            callbacks.append(("averaging", Averaging(options.ema_decay)))
        if options.lr_schedule != "constant" or options.warmup:
            monitor = "valid_loss" if validates else "train_loss"
            callbacks.append(("learning_rate", LearningRate(options, monitor)))
        return callbacks


class FullTuning(StepTuning):
    """Fit a copy of the encoder together with the head."""

    defaults: ClassVar[Mapping[str, Any]] = {"lr": 5e-4, "weight_decay": 0.05}
    scale_floor = 0.3
    module: Any = TunedEncoder

    def train(self, data: TrainingSet) -> Net:
        """Fit encoder and head."""
        estimator = self.estimator
        features = self._encode(data)
        signal = estimator.plan_.apply(data.X, data.presence)
        if estimator.front_end_ is not None:
            signal = np.ascontiguousarray(estimator.front_end_.transform(signal), dtype=np.float32)
        fed = WeightedData(signal, data.y, data.weight)
        net = self._net(
            self.module,
            fed,
            data.split,
            module__handle=estimator.encoder_,
            module__head=self._head_options(features, data.n_outputs),
            module__plan=estimator.plan_,
            module__layer=estimator._layer(estimator.encoder_),
            module__chunked=estimator.front_end_ is None,
            module__reading=self.reading,
            optimizer__param_groups=self._groups(),
            **self._module_options(),
            **self._step_options(),
        )
        with torch_threads(n_workers(estimator.n_threads)):
            head = net.initialize().module_.head
            return self._run(net, head, features, fed, data.split)

    def _trained(self) -> frozenset[str] | None:
        """Return the names of the network's trained parameters; None for all."""
        return None

    def _module_options(self) -> dict[str, Any]:
        """Return further arguments of the module."""
        return {}

    def _groups(self) -> list[tuple[str, dict[str, Any]]]:
        return weight_groups(
            self.estimator.encoder_.network, self.options.layer_decay, self.options.lr,
            self._trained(),
        )  # fmt: skip


class PartialTuning(FullTuning):
    """Fit the last layers of a copy of the encoder together with the head."""

    module = PartlyTunedEncoder

    def _trained(self) -> frozenset[str]:
        handle, n_unfrozen = self.estimator.encoder_, self.options.n_unfrozen
        network, read = handle.network, self.estimator._layer(handle)
        # Behind the layer that is read nothing would be trained.
        last, end = (network.n_layers, network.n_layers + 1) if read is None else (read, read)
        allowed = range(max(last + 1 - n_unfrozen, 1), end + 1)
        names = [name for name, _ in network.named_parameters()]
        chosen = frozenset(name for name in names if network.layer_index(name) in allowed)
        if not chosen:
            raise SpecError(
                f"tuning='partial': {handle.model} has no parameter in its last {n_unfrozen} "
                f"layer(s) up to layer={read}: raise n_unfrozen, or read another layer."
            )
        return chosen

    def _module_options(self) -> dict[str, Any]:
        return {"module__trained": self._trained()}


class ReadoutTuning(FullTuning):
    """Fit the model's own read-out (:meth:`EncoderNetwork.readout_parameters`) and the head."""

    defaults: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "weight_decay": 0.01}
    scale_floor = 0.0  # the encoder does not move
    module = PartlyTunedEncoder

    def _trained(self) -> frozenset[str]:
        handle = self.estimator.encoder_
        named = frozenset(handle.network.readout_parameters())
        unknown = named - {name for name, _ in handle.network.named_parameters()}
        if unknown or not named:
            raise SpecError(
                f"tuning='readout': {handle.model} with pooling={handle.pooling!r} "
                + (
                    f"names read-out parameters it does not have, {sorted(unknown)}."
                    if unknown
                    else "has no read-out of its own to train."
                )
                + " Use tuning='head', 'conv_linear' or 'full', or another pooling."
            )
        return named

    def _module_options(self) -> dict[str, Any]:
        return {"module__trained": self._trained(), "module__always_eval": True}


def _parts(callback: Any) -> tuple[Any, ...]:
    return callback if isinstance(callback, tuple) else (callback,)


def _silent(*_: Any) -> None:
    """Say nothing."""
