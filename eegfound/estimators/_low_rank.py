"""Low-rank matrices beside the weights of a frozen network.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022: a
weight ``W`` acts as ``W + alpha / rank * B @ A``, of which ``A`` and ``B`` are
trained and ``B`` begins at zero.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork
from eegfound.nn.fast_linear import PLAIN

#: ``A`` (rank, n_in) and ``B`` (n_out, rank) by the full name of their weight.
Factors = dict[str, tuple[Tensor, Tensor]]

_LINEAR = (*PLAIN, NonDynamicallyQuantizableLinear)
#: Modules of torch that read the weights of their linear layers themselves.
_READERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
_TABLES = (nn.Linear, nn.Embedding, nn.EmbeddingBag)


def check_peft() -> None:
    """Raise a SpecError that says how to get ``peft`` where it is missing."""
    if find_spec("peft") is None:
        raise SpecError(
            "tuning='lora' needs peft, which is not installed: pip install \"eegfound[lora]\"."
        )


def candidates(network: nn.Module) -> dict[str, tuple[str, bool]]:
    """Return what low-rank matrices can be added to.

    Parameters
    ----------
    network : Module
        The encoder.

    Returns
    -------
    dict of str to (str, bool)
        By the name of a linear layer, or of a matrix ``*weight`` that a module
        applies itself: full name of the weight, and whether a layer is called
        (and not its weight read).
    """
    readers = tuple(
        f"{path}." for path, module in network.named_modules() if isinstance(module, _READERS)
    )
    found: dict[str, tuple[str, bool]] = {}
    for path, module in network.named_modules():
        if type(module) in _LINEAR:
            found[path] = (f"{path}.weight", not path.startswith(readers))
        elif not isinstance(module, _TABLES):
            for last, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 2 and last.endswith("weight"):
                    name = f"{path}.{last}" if path else last
                    found[name] = (name, False)
    return found


def choose(
    network: EncoderNetwork, patterns: str | Sequence[str] | None, layer: int | None = None
) -> dict[str, bool]:
    """Return the weights that low-rank matrices are added to.

    Parameters
    ----------
    network : EncoderNetwork
        The encoder.
    patterns : str | sequence of str | None
        ``fnmatch`` patterns of names in :func:`candidates`; each must match.
        None: what the network names
        (:meth:`~eegfound.models.network.EncoderNetwork.lora_targets`) or, where
        it names nothing, all candidates in its layers.
    layer : int | None
        Layer that is read; weights behind it are left out.

    Returns
    -------
    dict of str to bool
        By the full name of a weight: whether its layer is called.

    Raises
    ------
    SpecError
        If a pattern matches nothing, or nothing is left.
    """
    known = candidates(network)
    wanted = [patterns] if isinstance(patterns, str) else patterns
    if wanted is None:
        wanted = network.lora_targets()
        names = [name for name in known if any(fnmatch.fnmatchcase(name, p) for p in wanted)]
        if not wanted:
            inside = range(1, network.n_layers + 1)
            names = [name for name in known if network.layer_index(known[name][0]) in inside]
    else:
        if not all(isinstance(pattern, str) for pattern in wanted) or not len(wanted):
            raise SpecError(f"lora_targets={patterns!r} must be a name or a list of names.")
        for pattern in wanted:
            if not fnmatch.filter(known, pattern):
                raise SpecError(
                    f"lora_targets: {pattern!r} matches no linear layer of this encoder; it has "
                    f"{_summary(known)}."
                )
        names = [name for name in known if any(fnmatch.fnmatchcase(name, p) for p in wanted)]
    if layer is not None:
        names = [name for name in names if network.layer_index(known[name][0]) <= layer]
    if not names:
        raise SpecError(
            "tuning='lora' finds no linear layer to adapt"
            + (f" up to layer={layer}" if layer is not None else "")
            + f": set lora_targets; this encoder has {_summary(known) or 'none'}."
        )
    return dict(known[name] for name in names)


def _summary(names: Mapping[str, Any]) -> str:
    """Return names with their numbers as ``*``, each once."""
    return ", ".join(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names))


class LowRank(nn.Module):
    """The same sum for a matrix that is read and not called, as a parametrization.

    Parameters
    ----------
    weight : Tensor, shape (n_out, n_in)
        The matrix.
    rank : int
        Of what is added.
    scale : float
        Factor on it.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lora_A = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.lora_B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as peft begins

    def forward(self, weight: Tensor) -> Tensor:
        """Return ``W + scale * B @ A``."""
        return weight + self.scale * (self.lora_B @ self.lora_A)


def add_low_rank(
    network: nn.Module, targets: Mapping[str, bool], *, rank: int, alpha: float, dropout: float
) -> tuple[Factors, list[nn.Module]]:
    """Freeze a network and add trainable low-rank matrices to some weights.

    Parameters
    ----------
    network : Module
        Changed in place.
    targets : mapping of str to bool
        From :func:`choose`. Called layers become ``peft``'s; matrices that are
        read get a parametrization.
    rank : int
        Of the added matrices.
    alpha : float
        They are multiplied by ``alpha / rank``.
    dropout : float
        On the input of added matrices, for layers that are called.

    Returns
    -------
    factors : dict of str to (Parameter, Parameter)
        ``A`` and ``B`` of each weight.
    dropouts : list of Module
        To be put into training mode.
    """
    factors: Factors = {}
    for name in [name for name, called in targets.items() if not called]:
        path, _, last = name.rpartition(".")
        owner = network.get_submodule(path)
        added = LowRank(getattr(owner, last), rank, alpha / rank)
        parametrize.register_parametrization(owner, last, added)
        factors[name] = (added.lora_A, added.lora_B)
    paths = [name.removesuffix(".weight") for name, called in targets.items() if called]
    dropouts: list[nn.Module] = []
    if paths:
        from peft import LoraConfig, inject_adapter_in_model

        exactly = "|".join(re.escape(path) for path in paths)
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=f"(?:{exactly})"  # type: ignore[arg-type]
        )  # fmt: skip
        inject_adapter_in_model(config, network)
        for path in paths:
            layer: Any = network.get_submodule(path)
            factors[f"{path}.weight"] = (
                layer.lora_A["default"].weight, layer.lora_B["default"].weight
            )  # fmt: skip
            dropouts.append(layer.lora_dropout)
    network.requires_grad_(False)  # peft has left on what is called lora_ by chance
    for pair in factors.values():
        for parameter in pair:
            parameter.requires_grad_(True)
    return {name: factors[name] for name in targets}, dropouts


@torch.no_grad()
def merge(network: nn.Module, factors: Factors, scale: float) -> None:
    """Add the products of low-rank matrices to a network's weights, in place.

    Sums are taken in float64 and rounded once: the result does not depend on
    how many threads multiply, and zeros leave every bit as it is.
    """
    for name, (A, B) in factors.items():
        weight = network.get_parameter(name)
        weight.copy_(weight.double() + scale * (B.double() @ A.double()).to(weight.device))
