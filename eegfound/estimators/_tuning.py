"""Fitting a head on a frozen encoder, or the whole network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split
from torch import nn

from eegfound.base import SpecError
from eegfound.estimators._base import FoundationEstimator
from eegfound.estimators._handle import resolve_device
from eegfound.estimators._heads import Head, Standardize
from eegfound.estimators._nets import (
    Batches,
    ClassifierNet,
    Net,
    TunedEncoder,
    WeightedData,
)
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.estimators._validation import validation_split
from eegfound.models.randomness import seeded_torch

TUNINGS = ("head", "full")


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


class TunableEstimator(FoundationEstimator):
    """Training shared by Classifier and Regressor; not for direct use."""

    _net_class: type[Net]

    def _check_tuning(self) -> None:
        if self.tuning not in TUNINGS:
            raise SpecError(f"tuning={self.tuning!r} is not one of {TUNINGS}.")
        if not isinstance(self.max_epochs, int | np.integer) or self.max_epochs < 1:
            raise SpecError(f"max_epochs={self.max_epochs!r} must be a positive integer.")
        if not isinstance(self.train_batch_size, int | np.integer) or self.train_batch_size < 1:
            raise SpecError(
                f"train_batch_size={self.train_batch_size!r} must be a positive integer."
            )
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise SpecError(f"layer_decay={self.layer_decay!r} must lie in (0, 1].")

    def _seed(self) -> int:
        state = self.random_state
        if state is None:
            return int(np.random.default_rng().integers(2**31 - 1))
        if isinstance(state, np.random.RandomState):
            return int(state.randint(2**31 - 1))
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**31 - 1))
        return int(state)

    @staticmethod
    def _weights(sample_weight: Any, X: np.ndarray, class_weight: np.ndarray | None) -> np.ndarray:
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if class_weight is not None:
            weight = weight * class_weight
        if not weight.sum() > 0:
            raise SpecError("sample_weight is zero for every epoch: nothing to learn from.")
        return weight

    def _train(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, groups: Any, n_outputs: int
    ) -> None:
        """Fit ``net_`` on windows, targets and weights."""
        self._check_tuning()
        presence = self.plan_.check(X)
        if groups is not None and len(groups) != len(X):
            raise SpecError(f"groups has {len(groups)} entries for {len(X)} epochs.")
        if not weight.all():  # an epoch without weight is an epoch that is not there
            kept = np.flatnonzero(weight)
            X, presence, y, weight = X[kept], presence[kept], y[kept], weight[kept]
            groups = None if groups is None else np.asarray(groups)[kept]
        seed = self._seed()
        split = None
        if self.early_stopping:
            split = validation_split(
                y if y.ndim == 1 else y[:, 0], groups, fraction=self.validation_fraction,
                seed=seed, stratify=y.dtype == np.int64,
            )  # fmt: skip
        self._load_encoder()
        # What is held out for early stopping shapes nothing that is fitted.
        part = slice(None) if split is None else split[0]
        recordings = None if groups is None else np.asarray(groups)[part]
        self._fit_front_end(X[part], presence[part], recordings, weight[part])
        features = self._features(X, presence)
        if not np.isfinite(features).all():
            raise SpecError(
                "The embeddings hold NaN or infinity (pooling='channels' gives NaN where an "
                "electrode is missing): use pooling='mean' or interpolate first."
            )
        self.n_features_out_ = features.shape[1]
        # No random number of the training reaches the user's own generators,
        # nor another thread's training.
        with seeded_torch(seed):
            if self.tuning == "head":
                self._train_head(features, y, weight, split, n_outputs)
            else:
                self._train_full(X, presence, features, y, weight, split, n_outputs)
        losses = self.net_.history[:, "train_loss"]
        if not np.isfinite(losses).all():
            raise FloatingPointError(
                f"Training diverged: the loss is {losses[-1]} after {len(losses)} epoch(s). Use a "
                f"smaller lr (now {self.net_.lr:g})."
            )

    def _head_options(self, n_features: int, n_outputs: int) -> dict[str, Any]:
        return {
            "n_features": n_features,
            "n_outputs": n_outputs,
            "kind": self.head,
            "hidden": self.head_hidden,
            "dropout": self.head_dropout,
        }

    def _train_head(
        self, features: np.ndarray, y: Any, weight: Any, split: Any, n_outputs: int
    ) -> None:
        """Fit the head on features that were computed once.

        The encoder is in eval mode, so its features are constants. Full
        batches in float64 make the fit a function of the weighted data alone:
        repeating an epoch and doubling its weight are the same.
        """
        options = self._head_options(features.shape[1], n_outputs) | {"double": True}
        data = WeightedData(features.astype(np.float64), y, weight)
        net = self._net(
            Head,
            {f"module__{key}": value for key, value in options.items()},
            data,
            split,
            lr=1.0 if self.lr is None else self.lr,
            batch_size=-1,
            device="cpu",
            optimizer=torch.optim.LBFGS,
            optimizer__max_iter=5,
            optimizer__line_search_fn="strong_wolfe",
            optimizer__tolerance_grad=1e-10,
            optimizer__tolerance_change=1e-14,
            penalty=0.01 if self.weight_decay is None else self.weight_decay,
        )
        with torch_threads(1):
            standardize = net.initialize().module_.standardize
            self.net_ = self._run(net, standardize, features, data, split)

    def _train_full(
        self, X: Any, presence: Any, features: np.ndarray, y: Any, weight: Any, split: Any,
        n_outputs: int,
    ) -> None:  # fmt: skip
        """Fit a copy of the encoder together with the head."""
        signal = self.plan_.apply(X, presence)
        if self.front_end_ is not None:
            signal = np.ascontiguousarray(self.front_end_.transform(signal), dtype=np.float32)
        data = WeightedData(signal, y, weight)
        lr = 5e-4 if self.lr is None else self.lr
        net = self._net(
            TunedEncoder,
            {
                "module__handle": self.encoder_,
                "module__head": self._head_options(features.shape[1], n_outputs),
                "module__plan": self.plan_,
                "module__layer": self._layer(self.encoder_),
                "module__chunked": self.front_end_ is None,
            },
            data,
            split,
            lr=lr,
            batch_size=self.train_batch_size,
            device=resolve_device(self.device),
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=0.05 if self.weight_decay is None else self.weight_decay,
            optimizer__param_groups=weight_groups(self.encoder_.network, self.layer_decay, lr),
            iterator_train__shuffle=True,
        )
        with torch_threads(n_workers(self.n_threads)):
            standardize = net.initialize().module_.head.standardize
            self.net_ = self._run(net, standardize, features, data, split)

    def _net(
        self,
        module: Any,
        module_options: dict[str, Any],
        data: WeightedData,
        split: Any,
        **options: Any,
    ) -> Net:
        """Describe the skorch net; nothing is built yet."""
        callbacks = copy.deepcopy(list(self.callbacks or []))
        if split is not None:
            callbacks.append(
                (
                    "validation_early_stopping",
                    EarlyStopping(
                        "valid_loss", patience=self.patience, load_best=True,
                        sink=print if self.verbose else _silent,
                    ),
                )
            )  # fmt: skip
        criterion = nn.CrossEntropyLoss if self._net_class is ClassifierNet else nn.MSELoss
        return self._net_class(
            module,
            criterion=criterion,
            criterion__reduction="none",
            max_epochs=self.max_epochs,
            iterator_train=Batches,
            iterator_valid=Batches,
            train_split=None if split is None else predefined_split(data.subset(split[1])),
            callbacks=callbacks,
            verbose=self.verbose,
            **module_options,
            **options,
        )

    def _run(
        self, net: Net, standardize: Standardize, features: np.ndarray, data: WeightedData,
        split: Any,
    ) -> Net:  # fmt: skip
        """Set the head's scaling from the training part, then train."""
        seen = slice(None) if split is None else split[0]
        kind = standardize.mean
        standardize.set_from(
            torch.from_numpy(features[seen]).to(kind),
            torch.from_numpy(data.weight[seen]).to(kind.device),
        )
        net.partial_fit(data if split is None else data.subset(split[0]), y=None)
        # Validation data and the optimizer's memory have done their work; a
        # pickle must carry neither.
        net.train_split = None
        net.optimizer_.state.clear()
        return net

    def _scores(self, X: Any) -> np.ndarray:
        """Return the head's scores for new windows, in float64."""
        self._check_fitted()
        X = self._read(X, reset=False)
        presence = self.plan_.check(X)
        module = self.net_.module_.eval()
        head = module if isinstance(module, Head) else module.head
        tuned = None if head is module else module.network
        features = self._features(X, presence, network=tuned)
        with torch.inference_mode(), torch_threads(1):
            double = copy.deepcopy(head).double().cpu()
            return double(torch.from_numpy(features).double()).numpy()


def _silent(*_: Any) -> None:
    """Say nothing."""
