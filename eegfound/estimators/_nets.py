"""The skorch nets inside Classifier and Regressor, and what feeds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import skorch
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from eegfound.estimators._encode import Electrodes, forward_features, pieces_of
from eegfound.estimators._handle import EncoderHandle
from eegfound.estimators._heads import Head
from eegfound.estimators._inputs import InputPlan
from eegfound.models.network import EncoderNetwork


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


class TunedEncoder(nn.Module):
    """An encoder and its head, trained together.

    Epochs of one batch may come from different caps: the signal is NaN where
    nothing was recorded, and each presence pattern is encoded on its own.

    Parameters
    ----------
    handle : EncoderHandle
        The pretrained encoder, of which a copy is trained.
    head : dict
        Arguments of :class:`Head`.
    plan : InputPlan
        Which electrodes the channels are.
    layer : int | None
        Layer to read.
    chunked : bool
        False when the signal is a front end's features.
    """

    def __init__(
        self, handle: EncoderHandle, head: dict[str, Any], plan: InputPlan, layer: int | None,
        chunked: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network: EncoderNetwork = handle.trainable_copy()
        self.head = Head(**head)
        self.plan, self.pooling, self.layer, self.chunked = plan, handle.pooling, layer, chunked

    def features(self, signal: Tensor) -> Tensor:
        """Return pooled features, ``(n_epochs, n_features)``."""
        pieces = pieces_of(signal.shape[-1], self.plan) if self.chunked else [(0, 0, 0)]
        present = ~torch.isnan(signal.flatten(2)[..., 0])
        if present.all():
            return self._encode(signal, present[0].cpu().numpy(), pieces)
        patterns, which = torch.unique(present, dim=0, return_inverse=True)
        parts, places = [], []
        for k, pattern in enumerate(patterns):
            members = torch.nonzero(which == k).squeeze(1)
            parts.append(self._encode(signal[members][:, pattern], pattern.cpu().numpy(), pieces))
            places.append(members)
        return torch.cat(parts)[torch.argsort(torch.cat(places))]

    def _encode(self, signal: Tensor, present: np.ndarray, pieces: Any) -> Tensor:
        return forward_features(
            self.network, signal, Electrodes.of(self.plan, present),
            pieces=pieces, pooling=self.pooling, layer=self.layer,
            n_slots=len(self.plan.picks),
        )  # fmt: skip

    def forward(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores of a signal, ``(n_epochs, n_outputs)``; the loss takes the weight."""
        return self.head(self.features(inputs))


class ReadoutEncoder(TunedEncoder):
    """A frozen encoder whose own read-out is trained with the head.

    Parameters as in :class:`TunedEncoder`. The encoder is always in evaluation
    mode. A pickle holds the trained tensors and a reference to the rest.
    """

    def __init__(self, handle: EncoderHandle, *args: Any, **kwargs: Any) -> None:
        super().__init__(handle, *args, **kwargs)
        self.handle = handle
        self._freeze()

    def _freeze(self) -> None:
        trained = self.network.readout_parameters()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in trained)
        self.network.eval()

    def train(self, mode: bool = True) -> ReadoutEncoder:
        """Set the head's mode; the encoder stays in evaluation."""
        super().train(mode)
        self.network.eval()
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_modules": {"head": self.head}}
        state["_trained"] = {k: p for k, p in self.network.named_parameters() if p.requires_grad}
        return state

    def __getattr__(self, name: str) -> Any:
        if name == "network" and "_trained" in self.__dict__:  # first use after unpickling
            trained = self.__dict__.pop("_trained")
            self.network = self.handle.trainable_copy()
            for key, parameter in trained.items():
                place, _, last = key.rpartition(".")
                setattr(self.network.get_submodule(place), last, parameter)
            self._freeze()
        return super().__getattr__(name)


class WeightedLoss:
    """Mixin of skorch nets whose loss is a weighted mean over epochs.

    ``penalty`` adds ``penalty / 2 * sum(w ** 2)`` over the head's matrices,
    for optimizers without weight decay. Frozen parameters are kept from the
    optimizer.
    """

    def __init__(self, *args: Any, penalty: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.penalty = penalty

    def get_all_learnable_params(self) -> Iterator[tuple[str, Any]]:
        """Yield name and parameter of what is trained."""
        net: Any = super()
        for name, parameter in net.get_all_learnable_params():
            if parameter.requires_grad:
                yield name, parameter

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the weighted loss of a batch."""
        net: Any = self
        y, weight = y_true.to(y_pred.device), X["weight"].to(y_pred)
        each = net.criterion_(y_pred, y if y.dtype == torch.int64 else y.to(y_pred.dtype))
        loss = (each.reshape(len(each), -1).mean(dim=1) * weight).sum() / weight.sum()
        if training and self.penalty:
            squares = [p.pow(2).sum() for p in net.module_.parameters() if p.ndim > 1]
            loss = loss + 0.5 * self.penalty * torch.stack(squares).sum()
        return loss


class ClassifierNet(WeightedLoss, skorch.NeuralNetClassifier):
    """skorch's classifier with weighted epochs."""


class RegressorNet(WeightedLoss, skorch.NeuralNetRegressor):
    """skorch's regressor with weighted epochs."""


Net = ClassifierNet | RegressorNet
