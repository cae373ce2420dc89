"""An encoder and its head, as one module that is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.estimators._encode import Electrodes, forward_features, pieces_of
from eegfound.estimators._handle import EncoderHandle
from eegfound.estimators._heads import Head
from eegfound.estimators._inputs import InputPlan
from eegfound.models.network import EncoderNetwork


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
    reading : str
        What the head reads (:func:`eegfound.estimators._heads.head_reading`).
    """

    network: EncoderNetwork

    def __init__(
        self, handle: EncoderHandle, head: dict[str, Any], plan: InputPlan, layer: int | None,
        chunked: bool = True, reading: str = "pooled",
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = self._copy(handle)
        self.head = Head(**head)
        self.plan, self.pooling, self.layer, self.chunked = plan, handle.pooling, layer, chunked
        self.reading = reading

    def _copy(self, handle: EncoderHandle) -> EncoderNetwork:
        """Return the network to train."""
        return handle.trainable_copy()

    def features(self, signal: Tensor) -> Tensor:
        """Return the head's input, ``(n_epochs, n_features)``."""
        pieces = pieces_of(signal.shape[-1], self.plan) if self.chunked else [(0, 0, 0)]
        present = ~torch.isnan(signal.flatten(2)[..., 0])
        if (present == present[0]).all():
            part = signal if present[0].all() else signal[:, present[0]]
            return self._encode(part, present[0].cpu().numpy(), pieces)
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
            n_slots=len(self.plan.picks), reading=self.reading,
        ).flatten(1)  # fmt: skip

    def forward(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores of a signal, ``(n_epochs, n_outputs)``; the loss takes the weight."""
        return self.head(self.features(inputs))


class PartlyTunedEncoder(TunedEncoder):
    """An encoder of which some parameters are trained with the head.

    A module of the network is in training mode (dropout) only where all its
    parameters are trained. A pickle holds the trained tensors and a reference
    to the rest.

    Parameters
    ----------
    handle, head, plan, layer, chunked, reading
        As in :class:`TunedEncoder`.
    trained : iterable of str
        Names of the network's parameters that are trained.
    always_eval : bool
        Whether the network stays in evaluation mode throughout.
    """

    def __init__(
        self, handle: EncoderHandle, *args: Any, trained: Iterable[str],
        always_eval: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.trained, self.always_eval = frozenset(trained), always_eval
        super().__init__(handle, *args, **kwargs)
        self.handle = handle
        self.network.eval()

    def _copy(self, handle: EncoderHandle) -> EncoderNetwork:
        network = handle.trainable_copy()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in self.trained)
        return network

    def train(self, mode: bool = True) -> PartlyTunedEncoder:
        """Set the mode of the head and of what is trained; the rest stays in evaluation."""
        self.training = mode
        self.head.train(mode)
        self.network.eval()
        if mode and not self.always_eval:
            for module in self.network.modules():
                parameters = list(module.parameters())
                if parameters and all(p.requires_grad for p in parameters):
                    module.train()
        return self

    def _changed(self) -> dict[str, Tensor]:
        """Return what training may have changed: trained parameters, and buffers beside them."""
        changed = {k: p for k, p in self.network.named_parameters() if p.requires_grad}
        places = {name.rpartition(".")[0] for name in changed}
        buffers = {k: b for k, b in self.network.named_buffers() if k.rpartition(".")[0] in places}
        return {k: t.detach() for k, t in {**changed, **buffers}.items()}

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_modules": {"head": self.head}}
        state["_tensors"] = self._changed()
        return state

    def __getattr__(self, name: str) -> Any:
        if name == "network" and "_tensors" in self.__dict__:  # first use after unpickling
            tensors = self.__dict__.pop("_tensors")
            network = self._copy(self.handle)
            own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
            with torch.no_grad():
                for key, tensor in tensors.items():
                    own[key].copy_(tensor)
            self.network = network.eval()
        return super().__getattr__(name)
