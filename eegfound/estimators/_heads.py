"""Heads: from a feature vector to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.estimators._pooling import READINGS
from eegfound.models import load_object, registry
from eegfound.nn import (
    AttentionHead,
    AttentionPooling,
    GraphHead,
    Standardize,
    TemporalHead,
    TwoLinear,
)
from eegfound.nn.standardize import in_blocks

#: How features in slices are scaled, by what the head reads. Attention tells
#: tokens apart by what is constant in them; an electrode that was hardly ever
#: recorded must not be magnified.
_SHARING = {"tokens": "all", "channels": "slice"}


class Head(nn.Module):
    """Standardized features into a small network.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features (all slices together) and of the scores.
    kind : str
        A built-in head or the name of a plugin's; see :func:`make_head`.
    hidden : int | None
        Width of the hidden layer; None is the head's own default.
    dropout : float | None
        Dropout while training; None is the head's own default.
    double : bool
        Whether to compute in float64.
    n_slices : int
        Equal parts of the features (moments, tokens, electrodes), for heads
        that take ``n_slices``.
    """

    def __init__(
        self, n_features: int, n_outputs: int, kind: str = "linear", hidden: int | None = None,
        dropout: float | None = None, double: bool = False, n_slices: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_features % n_slices:
            raise SpecError(f"{n_features} features are no {n_slices} slices of the same width.")
        sharing = _SHARING.get(head_reading(kind), "feature")
        self.standardize = Standardize(n_features, n_slices=n_slices, sharing=sharing)
        factory = make_head(kind)
        options = _fitting(factory, hidden=(hidden, 64), dropout=(dropout, 0.0))
        if "n_slices" in signature(factory).parameters:
            options["n_slices"] = n_slices
        self.body = factory(n_features, n_outputs, **options)
        self.to(torch.float64 if double else torch.float32)

    def set_from(self, features: Tensor, weight: Tensor, *, floor: float = 0.0) -> None:
        """Set the scaling from training features; see :meth:`Standardize.set_from`."""
        if isinstance(self.body, AttentionHead):
            return self.set_from_blocks(in_blocks(features, weight), floor=floor)
        self.standardize.set_from(features, weight, floor=floor)

    def set_from_blocks(
        self, blocks: Iterable[tuple[Tensor, Tensor]], *, floor: float = 0.0
    ) -> None:
        """Set the scaling from features that come in blocks, each seen once.

        Parameters
        ----------
        blocks : iterable of (Tensor, Tensor)
            Features, flat or in slices, and weights of some epochs each.
        floor : float
            See :meth:`Standardize.set_from`.
        """
        body = self.body
        if not isinstance(body, AttentionHead):
            return self.standardize.set_from_blocks(blocks, floor=floor)
        means, weights = [], []

        def watched() -> Iterator[tuple[Tensor, Tensor]]:
            for features, weight in blocks:
                means.append(body.mean_token(features.flatten(1)).to(self.standardize.mean))
                weights.append(weight)
                yield features, weight

        self.standardize.set_from_blocks(watched(), floor=floor)
        body.settle(torch.cat(means), torch.cat(weights), self.standardize, floor=floor)

    def forward(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores of features, ``(n_epochs, n_outputs)``; the loss takes the weight."""
        return self.body(self.standardize(inputs))

    @torch.no_grad()
    def linear_part(self, features: Tensor) -> tuple[nn.Linear, Tensor]:
        """Return the head's only linear layer and what it reads, for a closed-form start.

        Parameters
        ----------
        features : Tensor, shape (n_epochs, n_features)
            The scaling must be set.

        Returns
        -------
        layer : Linear
            Part of the head.
        inputs : Tensor, shape (n_epochs, layer.in_features)
            Standardized features or, with attention, the standardized mean token.

        Raises
        ------
        SpecError
            If the head is more than one linear map of what it reads.
        """
        learned = [m for m in self.body.modules() if any(True for _ in m.parameters(recurse=False))]
        layers = [m for m in learned if not isinstance(m, AttentionPooling)]
        layer = layers[0] if layers else None
        if len(layers) != 1 or not isinstance(layer, nn.Linear):
            raise SpecError(
                "head_start='ridge' is the closed form of a linear map: use head='linear', or "
                "head='attention' without head_hidden, or head_start='probe'."
            )
        inputs = self.standardize(features)
        if isinstance(self.body, AttentionHead):
            inputs = self.body.summary(inputs)
        return layer, inputs


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
    "attention": AttentionHead,
    "conv_linear": TemporalHead,
    "graph": GraphHead,
}


def make_head(kind: str) -> Callable[..., nn.Module]:
    """Return the factory of a head, ours or a plugin's.

    Parameters
    ----------
    kind : str
        ``"linear"`` (a linear map), ``"mlp"`` (one hidden layer),
        ``"attention"`` (:class:`~eegfound.nn.AttentionHead`), ``"conv_linear"``
        (:class:`~eegfound.nn.TemporalHead`), ``"graph"``
        (:class:`~eegfound.nn.GraphHead`), ``"two_linear"``
        (:class:`~eegfound.nn.TwoLinear`), or what the hook ``eegfound_heads``
        offers.

    Returns
    -------
    callable
        ``factory(n_features, n_outputs, *, hidden, dropout, n_slices)``;
        ``n_slices`` may lack. Its attribute ``reading`` says what it wants of
        an epoch; see :func:`head_reading`.

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


def head_reading(kind: str) -> str:
    """Return what a head reads of an epoch.

    Parameters
    ----------
    kind : str
        See :func:`make_head`.

    Returns
    -------
    {"pooled", "tokens", "channels", "moments"}
        The factory's attribute ``reading``; ``"pooled"`` where it has none.
        Any other is explained in :func:`eegfound.estimators._pooling.read_tokens`;
        the head then gets ``n_slices`` slices side by side.

    Raises
    ------
    SpecError
        If nobody offers the head or its reading is not known.
    """
    reading = getattr(make_head(kind), "reading", "pooled")
    if reading not in READINGS:
        raise SpecError(f"head={kind!r} asks for reading={reading!r}, which is not in {READINGS}.")
    return reading
