"""The skorch nets inside Classifier and Regressor, and what feeds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import skorch
import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset

from eegfound.estimators._augment import drop_channels, mix_pairs


class WeightedData(Dataset):
    """Inputs, targets and weights of training, as arrays.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, ...)
        Features, or the network's signal with NaN where not recorded.
    y : ndarray, shape (n_epochs,) or (n_epochs, n_outputs)
        Class indices or standardized targets.
    weight : ndarray, shape (n_epochs,)
        Weight of each epoch in the loss.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        self.X, self.y, self.weight = X, y, weight

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: Any) -> tuple[dict[str, Any], Any]:
        return {"inputs": self.X[index], "weight": self.weight[index]}, self.y[index]

    def subset(self, index: np.ndarray) -> WeightedData:
        """Return some of the epochs."""
        return WeightedData(self.X[index], self.y[index], self.weight[index])


class Batches:
    """Iterate over a :class:`WeightedData` in slices of arrays.

    No worker processes and no collating epoch by epoch: the arrays are in
    memory already. The last batch is kept however small.

    Parameters
    ----------
    dataset : WeightedData
        The data.
    batch_size : int
        Epochs per batch; -1 takes all at once.
    shuffle : bool
        Draw a new order in each pass from torch's generator.
    """

    def __init__(self, dataset: WeightedData, batch_size: int = -1, shuffle: bool = False) -> None:
        self.dataset = dataset
        self.batch_size = len(dataset) if batch_size == -1 else batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        count = len(self.dataset)
        order = torch.randperm(count).numpy() if self.shuffle else None
        for first in range(0, count, self.batch_size):
            stop = min(first + self.batch_size, count)
            index: Any = slice(first, stop) if order is None else order[first:stop]
            X, y = self.dataset[index]
            yield {name: torch.from_numpy(v) for name, v in X.items()}, torch.from_numpy(y)


class WeightedLoss:
    """Mixin of skorch nets whose loss is a weighted mean over epochs.

    A batch may go through the module in several passes whose gradients add up
    to those of the whole batch. Frozen parameters are kept from the optimizer.

    Parameters
    ----------
    *args, **kwargs
        Of the skorch net.
    penalty : float
        Adds ``penalty / 2 * sum(w ** 2)`` over the module's matrices, for
        optimizers without weight decay.
    mixup : float
        See :func:`eegfound.estimators._augment.mix_pairs`; 0 mixes nothing.
    channel_dropout : float
        See :func:`eegfound.estimators._augment.drop_channels`.
    dropped_value : float
        What a left-out channel holds.
    """

    #: Windows per pass; None takes the whole batch.
    windows_per_pass_: int | None = None
    #: Numbers that are trained.
    n_trained_: int = 0
    #: The head in float64 and what it was made of; no part of a pickle.
    double_head_: tuple[Any, Any] | None = None

    def __init__(
        self, *args: Any, penalty: float = 0.0, mixup: float = 0.0, channel_dropout: float = 0.0,
        dropped_value: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **kwargs)
        self.penalty = penalty
        self.mixup = mixup
        self.channel_dropout = channel_dropout
        self.dropped_value = dropped_value

    def __getstate__(self) -> dict[str, Any]:
        net: Any = super()
        return {**net.__getstate__(), "double_head_": None}

    def get_all_learnable_params(self) -> Iterator[tuple[str, Any]]:
        """Yield name and parameter of what is trained."""
        net: Any = super()
        for name, parameter in net.get_all_learnable_params():
            if parameter.requires_grad:
                yield name, parameter

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        """Train the epochs that are left, ``max_epochs`` less those in the history."""
        net: Any = super()
        left = max(0, self.max_epochs - len(self.history)) if epochs is None else epochs  # type: ignore[attr-defined]
        try:
            return net.fit_loop(X, y, epochs=left, **kwargs)
        except KeyboardInterrupt as stop:
            # skorch takes every KeyboardInterrupt for its early stopping.
            if not _raised_by_callback(stop):
                self.interrupted_ = True
            raise

    def train_step_single(self, batch: Any, **kwargs: Any) -> dict[str, Any]:
        """Compute a batch's loss and gradients, in one pass or several."""
        net: Any = self
        net._set_training(True)
        inputs, target = batch
        inputs, targets = self._augment(inputs, target)
        total, count = inputs["weight"].sum(), len(inputs["weight"])
        step = self.windows_per_pass_ or count
        losses, scores = [], []
        for first in range(0, count, step):
            part = {name: value[first : first + step] for name, value in inputs.items()}
            y_pred = net.infer(part, **kwargs)
            loss = torch.stack(
                [
                    share * self._mean(y_pred, aim[first : first + step], part["weight"], total)
                    for aim, share in targets
                ]
            ).sum()
            if self.penalty:
                squares = [p.pow(2).sum() for p in net.module_.parameters() if p.ndim > 1]
                loss = loss + 0.5 * self.penalty * torch.stack(squares).sum()
            loss.backward()
            losses.append(loss.detach())
            scores.append(y_pred.detach())
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(scores)}

    def _augment(self, inputs: dict[str, Tensor], target: Tensor) -> tuple[Any, Any]:
        """Return changed inputs, and targets with their shares."""
        if not self.channel_dropout and not self.mixup:
            return inputs, [(target, 1.0)]
        signal, targets = inputs["inputs"], [(target, 1.0)]
        if self.channel_dropout:
            signal = drop_channels(signal, self.channel_dropout, fill=self.dropped_value)
        if self.mixup:
            signal, partner, share = mix_pairs(signal, self.mixup)
            targets = [(target, share), (target[partner], 1 - share)]
        return {**inputs, "inputs": signal}, targets

    def _mean(self, y_pred: Tensor, y_true: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        """Return the weighted sum of the epochs' losses over ``total``."""
        net: Any = self
        y = y_true.to(y_pred.device)
        each = net.criterion_(y_pred, y if y.dtype == torch.int64 else y.to(y_pred.dtype))
        each = each.reshape(len(each), -1).mean(dim=1)
        return (each * weight.to(y_pred)).sum() / total.to(y_pred)

    def infer(self, x: Any, **kwargs: Any) -> Tensor:
        """Return the module's scores; while evaluating, a few windows at a time."""
        net: Any = super()
        step, module = self.windows_per_pass_, self.module_  # type: ignore[attr-defined]
        count = len(x["weight"]) if isinstance(x, dict) else len(x)
        if module.training or step is None or count <= step or not isinstance(x, dict):
            return net.infer(x, **kwargs)
        parts = [
            {name: value[first : first + step] for name, value in x.items()}
            for first in range(0, count, step)
        ]
        return torch.cat([net.infer(part, **kwargs) for part in parts])

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the weighted loss of a batch."""
        return self._mean(y_pred, y_true, X["weight"], X["weight"].sum())


def _raised_by_callback(stop: BaseException) -> bool:
    """Return whether a callback raised it (early stopping), rather than somebody at the keys."""
    trace = stop.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and isinstance(trace.tb_frame.f_locals.get("self"), Callback)


class ClassifierNet(WeightedLoss, skorch.NeuralNetClassifier):
    """skorch's classifier with weighted epochs."""


class RegressorNet(WeightedLoss, skorch.NeuralNetRegressor):
    """skorch's regressor with weighted epochs."""


Net = ClassifierNet | RegressorNet
