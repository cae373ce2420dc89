"""Heads: from a feature vector to scores."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models import load_object, registry
from eegfound.nn import TwoLinear


class Standardize(nn.Module):
    """Subtract a fixed mean and divide by a fixed spread, set from training data.

    Parameters
    ----------
    n_features : int
        Length of the feature vector.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def set_from(self, features: Tensor, weight: Tensor, *, floor: float = 0.0) -> None:
        """Take mean and spread of weighted features, ``(n_epochs, n_features)``.

        The spread counts as at least ``floor`` times the feature's root mean
        square.
        """
        share = (weight / weight.sum()).to(features.dtype)[:, None]
        mean = (share * features).sum(dim=0)
        spread = (share * (features - mean) ** 2).sum(dim=0).sqrt()
        # A feature that does not vary says nothing; dividing by its rounding
        # noise would make it shout.
        spread = torch.maximum(spread, floor * (share * features**2).sum(dim=0).sqrt())
        flat = spread <= 1e-6 * (mean.abs() + 1e-6)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(flat, torch.ones_like(spread), spread))

    def forward(self, features: Tensor) -> Tensor:
        """Return standardized features."""
        return (features - self.mean) / self.scale


class Head(nn.Module):
    """Standardized features into a small network.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features and of the scores.
    kind : str
        ``"linear"``, ``"mlp"``, ``"two_linear"`` or the name of a plugin's head.
    hidden : int | None
        Width of the hidden layer; None is the head's own default.
    dropout : float | None
        Dropout while training; None is the head's own default.
    double : bool
        Whether to compute in float64.
    n_slices : int
        Equal parts of the features, one per moment, for heads that take
        ``n_slices``.
    """

    def __init__(
        self, n_features: int, n_outputs: int, kind: str = "linear", hidden: int | None = None,
        dropout: float | None = None, double: bool = False, n_slices: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.standardize = Standardize(n_features)
        factory = make_head(kind)
        options = _fitting(factory, hidden=(hidden, 64), dropout=(dropout, 0.0))
        if "n_slices" in signature(factory).parameters:
            options["n_slices"] = n_slices
        self.body = factory(n_features, n_outputs, **options)
        self.to(torch.float64 if double else torch.float32)

    def forward(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores of features, ``(n_epochs, n_outputs)``; the loss takes the weight."""
        return self.body(self.standardize(inputs))


def _fitting(factory: Callable[..., nn.Module], **options: tuple[Any, Any]) -> dict[str, Any]:
    """Return the options that were given; of the others, those without a default."""
    known = signature(factory).parameters
    return {
        name: fallback if value is None else value
        for name, (value, fallback) in options.items()
        if value is not None or name not in known or known[name].default is Parameter.empty
    }


def _linear(
    n_features: int, n_outputs: int, *, hidden: int = 64, dropout: float = 0.0
) -> nn.Module:
    layer = nn.Linear(n_features, n_outputs)
    nn.init.zeros_(layer.weight)  # a convex problem needs no luck
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Dropout(dropout), layer) if dropout else layer


def _mlp(n_features: int, n_outputs: int, *, hidden: int = 64, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(n_features, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, n_outputs),
    )


_BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "linear": _linear,
    "mlp": _mlp,
    "two_linear": TwoLinear,
}


def make_head(kind: str) -> Callable[..., nn.Module]:
    """Return the factory of a head, ours or a plugin's.

    Raises
    ------
    SpecError
        If nobody offers it.
    """
    if kind in _BUILT_IN:
        return _BUILT_IN[kind]
    offered: dict[str, Any] = registry.contributions("eegfound_heads")
    if kind in offered:
        return load_object(offered[kind])
    raise SpecError(f"head={kind!r} is not one of {sorted({*_BUILT_IN, *offered})}.")
