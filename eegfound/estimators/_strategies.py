"""What of a network is trained, and how: one class per value of ``tuning=``."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split
from torch import nn

from eegfound.base import SpecError
from eegfound.estimators._handle import resolve_device
from eegfound.estimators._heads import Head
from eegfound.estimators._nets import (
    Batches,
    ClassifierNet,
    Net,
    ReadoutEncoder,
    TunedEncoder,
    WeightedData,
)
from eegfound.estimators._threads import n_workers, torch_threads


@dataclass(frozen=True)
class TrainingSet:
    """What ``fit`` was given, checked.

    Attributes
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times)
        The user's windows.
    presence : ndarray of bool, shape (n_epochs, n_used)
        Which used channels are recorded.
    y : ndarray, shape (n_epochs,) or (n_epochs, n_outputs)
        Class indices or standardized targets.
    weight : ndarray, shape (n_epochs,)
        Weight of each epoch.
    split : tuple of ndarray | None
        Indices for training and for early stopping.
    n_outputs : int
        Scores per epoch.
    """

    X: np.ndarray
    presence: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    split: tuple[np.ndarray, np.ndarray] | None
    n_outputs: int


def distinct(data: WeightedData) -> tuple[np.ndarray, np.ndarray]:
    """Merge epochs that are the same, in an order that does not depend on theirs.

    Training in steps then knows the weighted set of epochs only: repeating an
    epoch and doubling its weight are the same.

    Returns
    -------
    index : ndarray of int
        One of each.
    weight : ndarray
        Their weights, summed.
    """
    digests = [hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16) for x in data.X]
    keys = [(d.digest(), *np.atleast_1d(y).tolist()) for d, y in zip(digests, data.y)]
    first: dict[Any, int] = {}
    total: dict[Any, float] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
        total[key] = total.get(key, 0.0) + float(data.weight[place])
    order = sorted(first)
    return np.array([first[key] for key in order]), np.array([total[key] for key in order])


class Strategy:
    """A way of training; subclasses say what is trained.

    Parameters
    ----------
    estimator : TunableEstimator
        Whose parameters count; it has read its input and loaded its encoder
        when :meth:`train` is called.
    """

    #: What ``lr=None``, ``weight_decay=None`` and ``head=None`` mean.
    lr: float
    weight_decay: float
    head: str = "linear"
    #: Least spread of a standardized feature, as a share of its size. Where an
    #: encoder moves, a feature that hardly varies between epochs must not be
    #: magnified: one step of training would be thousands of spreads.
    scale_floor: float = 0.0

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def check(self) -> None:
        """Raise a SpecError if this model or these parameters cannot be trained so."""

    def train(self, data: TrainingSet) -> Net:
        """Return the trained net."""
        raise TypeError(f"{type(self).__name__} must implement train(data).")

    def _lr(self) -> float:
        return self.lr if self.estimator.lr is None else self.estimator.lr

    def _decay(self) -> float:
        given = self.estimator.weight_decay
        return self.weight_decay if given is None else given

    def _head_options(self, n_features: int, n_outputs: int) -> dict[str, Any]:
        return {
            "n_features": n_features,
            "n_outputs": n_outputs,
            "kind": self.estimator.head or self.head,
            "hidden": self.estimator.head_hidden,
            "dropout": self.estimator.head_dropout,
        }

    def _encode(self, data: TrainingSet, network: Any = None) -> np.ndarray:
        """Return the features of all epochs before any training."""
        features = self.estimator._features(data.X, data.presence, network=network)
        if not np.isfinite(features).all():
            raise SpecError(
                "The embeddings hold NaN or infinity (pooling='channels' gives NaN where an "
                "electrode is missing): use pooling='mean' or interpolate first."
            )
        self.estimator.n_features_out_ = features.shape[1]
        return features

    def _net(self, module: Any, data: WeightedData, split: Any, **options: Any) -> Net:
        """Describe the skorch net; nothing is built yet."""
        estimator = self.estimator
        callbacks = copy.deepcopy(list(estimator.callbacks or []))
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
        net_class = estimator._net_class
        criterion = nn.CrossEntropyLoss if net_class is ClassifierNet else nn.MSELoss
        return net_class(
            module,
            criterion=criterion,
            criterion__reduction="none",
            max_epochs=estimator.max_epochs,
            iterator_train=Batches,
            iterator_valid=Batches,
            train_split=None if split is None else predefined_split(data.subset(split[1])),
            callbacks=callbacks,
            verbose=estimator.verbose,
            **options,
        )

    def _step_options(self) -> dict[str, Any]:
        """Return the options of nets that are trained in steps with AdamW."""
        return {
            "lr": self._lr(),
            "batch_size": self.estimator.train_batch_size,
            "device": resolve_device(self.estimator.device),
            "optimizer": torch.optim.AdamW,
            "optimizer__weight_decay": self._decay(),
            "iterator_train__shuffle": True,
        }

    def _run(
        self, net: Net, head: Head, features: np.ndarray, data: WeightedData, split: Any,
        *, merge: bool = True,
    ) -> Net:  # fmt: skip
        """Set the head's scaling from the training part, then train."""
        if split is not None:
            data, features = data.subset(split[0]), features[split[0]]
        if merge:
            index, weight = distinct(data)
            data, features = WeightedData(data.X[index], data.y[index], weight), features[index]
        kind = head.standardize.mean
        head.standardize.set_from(
            torch.from_numpy(features).to(kind),
            torch.from_numpy(data.weight).to(kind.device),
            floor=self.scale_floor,
        )
        net.partial_fit(data, y=None)
        # Validation data and the optimizer's memory have done their work; a
        # pickle must carry neither.
        net.train_split = None
        net.optimizer_.state.clear()
        return net


class HeadTuning(Strategy):
    """Fit the head on features that were computed once.

    The encoder is in eval mode, so its features are constants. Full batches in
    float64 make the fit a function of the weighted data alone: repeating an
    epoch and doubling its weight are the same.
    """

    lr, weight_decay = 1.0, 0.01

    def check(self) -> None:
        """Refuse the head whose weights are moved between steps."""
        if self.estimator.head == "two_linear":
            raise SpecError(
                "head='two_linear' bounds its weights between steps, which tuning='head' (L-BFGS) "
                "does not make: use head='mlp', or tuning='conv_linear', 'readout' or 'full'."
            )

    def train(self, data: TrainingSet) -> Net:
        """Fit the head."""
        features = self._encode(data)
        options = self._head_options(features.shape[1], data.n_outputs) | {"double": True}
        fed = WeightedData(features.astype(np.float64), data.y, data.weight)
        net = self._net(
            Head,
            fed,
            data.split,
            lr=self._lr(),
            batch_size=-1,
            device="cpu",
            optimizer=torch.optim.LBFGS,
            optimizer__max_iter=5,
            optimizer__line_search_fn="strong_wolfe",
            optimizer__tolerance_grad=1e-10,
            optimizer__tolerance_change=1e-14,
            penalty=self._decay(),
            **{f"module__{key}": value for key, value in options.items()},
        )
        with torch_threads(1):
            head = net.initialize().module_
            return self._run(net, head, features, fed, data.split, merge=False)


class FullTuning(Strategy):
    """Fit a copy of the encoder together with the head."""

    lr, weight_decay = 5e-4, 0.05
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
            module__head=self._head_options(features.shape[1], data.n_outputs),
            module__plan=estimator.plan_,
            module__layer=estimator._layer(estimator.encoder_),
            module__chunked=estimator.front_end_ is None,
            optimizer__param_groups=weight_groups(
                estimator.encoder_.network, estimator.layer_decay, self._lr()
            ),
            **self._step_options(),
        )
        with torch_threads(n_workers(estimator.n_threads)):
            head = net.initialize().module_.head
            return self._run(net, head, features, fed, data.split)


class ReadoutTuning(FullTuning):
    """Fit the model's own read-out (:meth:`EncoderNetwork.readout_parameters`) and the head."""

    lr, weight_decay = 1e-3, 0.01
    scale_floor = 0.0  # the encoder does not move
    module = ReadoutEncoder

    def train(self, data: TrainingSet) -> Net:
        """Fit read-out and head; the encoder's pretrained part stays frozen."""
        handle = self.estimator.encoder_
        named = handle.network.readout_parameters()
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
        return super().train(data)


def weight_groups(network: Any, decay: float | None, lr: float) -> list[tuple[str, dict[str, Any]]]:
    """Return skorch parameter groups with layer-wise learning rates.

    Parameters
    ----------
    network : EncoderNetwork
        Tells the depth of each parameter and which are not decayed.
    decay : float | None
        Factor per layer: a parameter at depth ``d`` of ``n_layers + 1`` learns
        with ``lr * decay ** (n_layers + 1 - d)``.
    lr : float
        Learning rate of the head.

    Returns
    -------
    list of (str, dict)
        For ``optimizer__param_groups``.
    """
    top = network.n_layers + 1
    exempt = network.no_weight_decay()
    groups = []
    for name, parameter in network.named_parameters():
        options: dict[str, Any] = {}
        if decay is not None:
            options["lr"] = lr * decay ** (top - network.layer_index(name))
        if parameter.ndim <= 1 or name in exempt:
            options["weight_decay"] = 0.0
        groups.append((f"network.{name}", options))
    return groups


def _silent(*_: Any) -> None:
    """Say nothing."""
