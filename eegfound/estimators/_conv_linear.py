"""Conv-linear probing: an adapter before a frozen encoder, a small head after it.

Wang et al., "EEGPT", NeurIPS 2024 (adaptive spatial filter and linear probe);
Shao et al., "DARE-EEG", arXiv 2605.18298 (conv-linear-probing). The encoder is
neither copied nor changed; gradients pass through it to the adapter. Whatever
electrodes and rate a recording has, the encoder gets those it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.estimators._adapter import (
    check_adapter_options,
    target_electrodes,
)
from eegfound.estimators._encode import Electrodes, pieces_of
from eegfound.estimators._handle import EncoderHandle
from eegfound.estimators._heads import Head, head_reading
from eegfound.estimators._inputs import InputPlan
from eegfound.estimators._nets import Net, WeightedData
from eegfound.estimators._pooling import by_moment, concatenate, pool
from eegfound.estimators._strategies import StepTuning
from eegfound.estimators._threads import n_workers, torch_threads
from eegfound.estimators._training_set import TrainingSet
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound.nn import SpatialAdapter


class AdaptedNetwork(EncoderNetwork):
    """A frozen encoder behind a trainable adapter; takes any electrodes.

    The encoder is no part of the module: neither optimizer nor pickle see it.

    Parameters
    ----------
    handle : EncoderHandle
        The encoder.
    plan : InputPlan
        How the user's channels are read.
    target : Electrodes
        What the adapter writes to.
    options : dict
        Of :class:`SpatialAdapter`.
    layer : int | None
        Layer to read.
    pooled : bool
        Whether to pool the window as a Transformer does, instead of reading
        it moment by moment.
    """

    #: Channels that were not recorded are zero to the adapter, not left out.
    fills_missing = True

    def __init__(
        self, handle: EncoderHandle, plan: InputPlan, target: Electrodes, options: dict[str, Any],
        layer: int | None = None, pooled: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.handle, self.target, self.layer, self.pooled = handle, target, layer, pooled
        self.input_plan = plan
        self.adapter = SpatialAdapter(len(plan.picks), len(target.slots), **options)
        self.width, self.n_layers = handle.network.width, handle.network.n_layers

    def adapt(self, signal: Tensor) -> Tensor:
        """Return the model's electrodes, in whole patches.

        Parameters
        ----------
        signal : Tensor, shape (n_epochs, n_channels, n_times)
            The user's channels in the model's unit and rate; NaN where not
            recorded.

        Returns
        -------
        Tensor, shape (n_epochs, n_target, n_times)
            Perhaps shorter.
        """
        spec, length = self.input_plan.spec, signal.shape[-1] - self.adapter.shortens_by
        if length < spec.shortest:
            raise SpecError(
                f"After the adapter's filter, {max(0, length)} samples are left, but the model "
                f"needs {spec.shortest}: use a shorter temporal_kernel or temporal_padding='same' "
                "in adapter_options, or longer windows."
            )
        filled = torch.where(torch.isnan(signal), 0.0, signal)
        if self.training or filled.device.type != "cpu":
            adapted = self.adapter(filled)
        else:  # one by one: an epoch's numbers do not depend on its place in a batch
            adapted = torch.cat([self.adapter(epoch[None]) for epoch in filled])
        whole = (spec.n_patches(length) - 1) * spec.stride + spec.patch_samples
        return adapted[..., : max(whole, spec.shortest)]

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Adapt and encode a batch; ``layer`` was given to the constructor."""
        return self._encode(self.adapt(batch.signal))

    def _encode(self, adapted: Tensor) -> Tokens:
        network = self.handle.placed(str(adapted.device), adapted.dtype)
        rows = torch.tensor(self.target.rows, dtype=torch.int64, device=adapted.device)
        positions = self.target.positions
        places = None if positions is None else torch.as_tensor(positions, device=adapted.device)
        tokens = [
            (
                network(
                    SignalBatch(adapted[..., start:stop], rows, self.target.names, places),
                    layer=self.layer,
                ),
                first,
            )
            for start, stop, first in pieces_of(adapted.shape[-1], self.input_plan)
        ]
        return concatenate(tokens)

    def moments(self, tokens: Tokens) -> Tensor:
        """Return features, ``(n_epochs, n_moments, n_features)``."""
        found = None if self.pooled else by_moment(tokens)
        if found is not None:
            return found
        network = self.handle.placed(str(tokens.values.device), tokens.values.dtype)
        slots = torch.tensor(self.target.slots, dtype=torch.int64, device=tokens.values.device)
        return pool(
            network, tokens, self.handle.pooling, layer=self.layer, slots=slots, n_slots=len(slots)
        )[:, None]

    def pool(self, tokens: Tokens, pooling: str) -> Tensor:
        """Return the features of all moments in a row."""
        return self.moments(tokens).flatten(1)

    def features(self, signal: Tensor) -> Tensor:
        """Return the features of a signal, ``(n_epochs, n_moments * n_features)``."""
        return self.moments(self._encode(self.adapt(signal))).flatten(1).float()

    @torch.no_grad()
    def settle(self, signal: np.ndarray, batch_size: int) -> None:
        """Give batch normalizations the statistics of a (filled) signal before training."""
        norms = [m for m in self.adapter.modules() if isinstance(m, nn.BatchNorm1d)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # a plain average over batches
            norm.train()
        device = next(self.parameters()).device
        for first in range(0, len(signal), batch_size):
            part = torch.from_numpy(signal[first : first + batch_size]).to(device)
            self.adapter(part)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
            norm.eval()

    def n_moments(self, n_times: int) -> tuple[int, int]:
        """Return number of moments and of features of windows of ``n_times`` samples."""
        with torch.inference_mode():
            signal = torch.zeros(1, len(self.input_plan.picks), n_times)
            return tuple(self.moments(self._encode(self.adapt(signal))).shape[1:])  # type: ignore[return-value]

    def layer_index(self, name: str) -> int:
        """Return 0: all that is trained stands before the encoder."""
        return 0


class AdaptedEncoder(nn.Module):
    """An :class:`AdaptedNetwork` and its head, trained together.

    Parameters
    ----------
    network : dict
        Arguments of :class:`AdaptedNetwork`.
    head : dict
        Arguments of :class:`Head` other than ``n_features`` and ``n_slices``.
    n_times : int
        Length of the windows at the model's rate.
    """

    def __init__(self, network: dict[str, Any], head: dict[str, Any], n_times: int) -> None:
        super().__init__()
        self.network = AdaptedNetwork(**network)
        n_moments, n_features = self.network.eval().n_moments(n_times)
        self.head = Head(n_moments * n_features, n_slices=n_moments, **head)

    def forward(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores of a signal, ``(n_epochs, n_outputs)``; the loss takes the weight."""
        return self.head(self.network.features(inputs))


class ConvLinearTuning(StepTuning):
    """Fit an adapter before the frozen encoder and two linear layers after it."""

    defaults: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "weight_decay": 0.01, "head": "two_linear"}

    @property
    def reading(self) -> str:
        """The adapted network arranges its tokens itself."""
        return "pooled"

    def check(self) -> None:
        """Refuse models whose features no gradient can pass."""
        estimator = self.estimator
        model = estimator._model()
        if model.front_end is not None:
            raise SpecError(
                f"tuning='conv_linear' trains an adapter through the network, but {model.name} "
                "has a front end that no gradient passes: use tuning='head', 'readout' or 'full' "
                f"after MontageMapper(info=info, target={model.name!r})."
            )
        if self.options.head_start != "zero":
            raise SpecError(
                "head_start has no meaning with tuning='conv_linear': before training the adapter "
                "mixes the electrodes at random. Use head_start='zero'."
            )
        if head_reading(self.options.head) in ("tokens", "channels"):
            raise SpecError(
                f"head={self.options.head!r} reads tokens or electrodes, but tuning='conv_linear' "
                "reads a window moment by moment: use head='two_linear', 'conv_linear', 'linear' "
                "or 'mlp'."
            )
        check_adapter_options(self.options.adapter_options)
        target_electrodes(model, self.options.adapter_channels)

    def train(self, data: TrainingSet) -> Net:
        """Fit adapter and head."""
        estimator = self.estimator
        signal = np.nan_to_num(estimator.plan_.apply(data.X, data.presence), copy=False)
        fed = WeightedData(signal, data.y, data.weight)
        head = self._head_options(np.empty((0, 0)), data.n_outputs)
        del head["n_features"], head["n_slices"]
        net = self._net(
            AdaptedEncoder,
            fed,
            data.split,
            module__network={
                "handle": estimator.encoder_,
                "plan": estimator.plan_,
                "target": target_electrodes(estimator._model(), self.options.adapter_channels),
                "options": check_adapter_options(self.options.adapter_options),
                "layer": estimator._layer(estimator.encoder_),
                "pooled": estimator._effective("pooling") is not None,
            },
            module__head=head,
            module__n_times=signal.shape[-1],
            optimizer__param_groups=[("*.bias", {"weight_decay": 0.0})],
            **self._step_options(),
        )
        with torch_threads(n_workers(estimator.n_threads)):
            module = net.initialize().module_.eval()
            seen = signal if data.split is None else signal[data.split[0]]
            module.network.settle(seen, self.options.train_batch_size)
            features = self._encode(
                replace(data, presence=np.ones_like(data.presence)), module.network
            )
            return self._run(net, module.head, features, fed, data.split)
