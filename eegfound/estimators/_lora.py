"""``tuning="lora"``: low-rank matrices beside a frozen encoder's weights, and a head."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.estimators._handle import EncoderHandle
from eegfound.estimators._heads import Head
from eegfound.estimators._low_rank import Factors, add_low_rank, check_peft, choose, merge
from eegfound.estimators._modules import TunedEncoder
from eegfound.estimators._nets import Net, WeightedData
from eegfound.estimators._strategies import FullTuning
from eegfound.models.network import EncoderNetwork


class LoRAEncoder(TunedEncoder):
    """A frozen encoder with low-rank matrices beside some weights, and a head.

    The encoder is in evaluation mode throughout. After :meth:`settle` the
    matrices are part of the weights: prediction costs what it costs without
    them and does not need ``peft``. A pickle holds the matrices, the head and a
    reference to the encoder.

    Parameters
    ----------
    handle, head, plan, layer, chunked, reading
        As in :class:`TunedEncoder`.
    targets : mapping of str to bool
        See :func:`eegfound.estimators._low_rank.add_low_rank`.
    rank : int
        Of the added matrices.
    alpha : float
        They are multiplied by ``alpha / rank``.
    dropout : float
        On the input of the added matrices while training.

    Attributes
    ----------
    factors : dict of str to (Tensor, Tensor)
        ``A`` (rank, n_in) and ``B`` (n_out, rank) by the name of the weight.
    """

    factors: Factors

    def __init__(
        self, handle: EncoderHandle, *args: Any, targets: Mapping[str, bool], rank: int,
        alpha: float, dropout: float = 0.0, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.targets, self.rank, self.alpha, self.dropout = dict(targets), rank, alpha, dropout
        super().__init__(handle, *args, **kwargs)
        self.handle = handle

    def _copy(self, handle: EncoderHandle) -> EncoderNetwork:
        network = handle.trainable_copy()
        self.factors, self._dropouts = add_low_rank(
            network, self.targets, rank=self.rank, alpha=self.alpha, dropout=self.dropout
        )
        return network.eval()

    def train(self, mode: bool = True) -> LoRAEncoder:
        """Set the mode of head and LoRA's own dropout; the encoder stays in evaluation."""
        self.training = mode
        self.head.train(mode)
        self.network.eval()
        for dropout in self._dropouts:
            dropout.train(mode)
        return self

    def unreached(self, signal: Tensor) -> list[str]:
        """Return the weights whose matrices do not act on the features of a signal."""
        last = {name: B for name, (_, B) in self.factors.items()}
        devices = [signal.device] if signal.is_cuda else []
        with torch.enable_grad(), torch.random.fork_rng(devices):
            total = self.features(signal).sum()
            if not total.requires_grad:
                return list(last)
            found = torch.autograd.grad(total, list(last.values()), allow_unused=True)
        return [name for name, gradient in zip(last, found) if gradient is None]

    def leave_out(self, names: list[str]) -> None:
        """Train no matrices for these weights."""
        for name in names:
            for parameter in self.factors.pop(name):
                parameter.requires_grad_(False)

    def settle(self) -> None:
        """Make the trained matrices part of the weights."""
        self.factors = {
            name: (A.detach().cpu().clone(), B.detach().cpu().clone())
            for name, (A, B) in self.factors.items()
        }
        self._dropouts = []
        self.network = self._merged()

    def _merged(self) -> EncoderNetwork:
        network = self.handle.trainable_copy().requires_grad_(False)
        merge(network, self.factors, self.alpha / self.rank)
        return network.to(next(self.head.parameters()).device).eval()

    def __getstate__(self) -> dict[str, Any]:
        factors = {name: (A.detach(), B.detach()) for name, (A, B) in self.factors.items()}
        return self.__dict__ | {
            "_modules": {"head": self.head}, "factors": factors, "_dropouts": []
        }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name == "network" and "network" not in self._modules:  # first use after unpickling
            self.network = self._merged()
        return super().__getattr__(name)


class LoRATuning(FullTuning):
    """Fit low-rank matrices beside the encoder's weights, and the head (``peft``).

    Nothing else is trained. ``lora_alpha`` is twice the rank unless it is
    given, so that the learning rate need not follow the rank.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"lr": 1e-3, "weight_decay": 0.01}
    module = LoRAEncoder

    def check(self) -> None:
        """Refuse a missing ``peft`` and an impossible alpha."""
        super().check()
        check_peft()
        alpha = self.options.lora_alpha
        if alpha is not None and not (isinstance(alpha, Real) and alpha > 0):
            raise SpecError(f"lora_alpha={alpha!r} must be a positive number.")

    def _targets(self) -> dict[str, bool]:
        estimator = self.estimator
        layer = estimator._layer(estimator.encoder_)
        return choose(estimator.encoder_.network, self.options.lora_targets, layer)

    def _module_options(self) -> dict[str, Any]:
        options = self.options
        return {
            "module__targets": self._targets(),
            "module__rank": options.lora_rank,
            "module__alpha": options.lora_alpha or 2 * options.lora_rank,
            "module__dropout": options.lora_dropout,
        }

    def _groups(self) -> list[tuple[str, dict[str, Any]]]:
        """Return a group per weight where layers learn at different rates."""
        decay, network = self.options.layer_decay, self.estimator.encoder_.network
        if decay is None:
            return []
        groups = []
        for name, called in self._targets().items():
            rate = self.options.lr * decay ** (network.n_layers + 1 - network.layer_index(name))
            path, _, last = name.rpartition(".")
            added = f"{path}.lora_?.*" if called else f"{path}.parametrizations.{last}.*.lora_?"
            groups.append((f"network.{added}", {"lr": rate}))
        return groups

    def _run(
        self, net: Net, head: Head, features: np.ndarray, data: WeightedData, split: Any,
        *, merge: bool = True,
    ) -> Net:  # fmt: skip
        """Train, then make the matrices part of the weights."""
        module: LoRAEncoder = net.module_.eval()
        unreached = module.unreached(torch.from_numpy(data.X[:1]).to(net.device))
        if unreached:
            network = self.estimator.encoder_.network
            named = self.options.lora_targets is not None or network.lora_targets()
            if named or len(unreached) == len(module.factors):
                raise SpecError(
                    f"lora_targets: the encoder does not call {unreached[0].rpartition('.')[0]!r} "
                    f"({len(unreached)} such): a matrix added there would change nothing."
                )
            module.leave_out(unreached)
        net = super()._run(net, head, features, data, split, merge=merge)
        module.settle()
        return net
