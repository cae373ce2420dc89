"""The heads of the authors' scripts, named as in their files.

As heads of the suite (``head="dare_v2"``, …) they take the features of all
slices in a row. Rows of every layer have norm 1 at most, those of the last 0.25
(1 in the small one).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn import MaxNormLinear


class SliceMLP(nn.Module):
    """``MLPClassifierV2``: an MLP on each slice, then one linear map (``dare_v2``).

    Parameters
    ----------
    n_features, n_outputs : int
        Features of all slices together, and scores.
    hidden : int
        Width of the first layer (128 in the authors' scripts).
    dropout : float
        After the first layer; after the second it is 0.2 less.
    n_slices : int
        Slices.
    bottleneck : int
        Numbers per slice.
    """

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 128, dropout: float = 0.5,
        n_slices: int = 1, bottleneck: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_slices = n_slices
        self.mlp = nn.Sequential(
            MaxNormLinear(n_features // n_slices, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            MaxNormLinear(hidden, bottleneck),
            nn.LayerNorm(bottleneck),
            nn.GELU(),
            nn.Dropout(max(0.0, dropout - 0.2)),
        )
        self.layer2 = MaxNormLinear(bottleneck * n_slices, n_outputs, max_norm=0.25)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores of features ``(n, n_features)`` or tokens ``(n, n_slices, ...)``."""
        slices = features.flatten(1).unflatten(1, (self.n_slices, -1))
        out: Tensor = self.layer2(self.mlp(slices).flatten(1))
        return out


class _AttentionPool(nn.Module):
    """A softmax over all tokens of one score each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.attention(tokens).softmax(dim=1) * tokens).sum(dim=1)


class FlatMLP(nn.Module):
    """``MLPClassifier``: three layers on all tokens (``dare_mlp``).

    Parameters
    ----------
    n_features, n_outputs : int
        Features after pooling, and scores.
    hidden : int
        Width of the first layer (the second has half of it).
    dropout : float
        After both.
    pooling : {"flatten", "attention", "max"}
        What is done with tokens ``(n, n_slices, n_summary, width)``: all in a
        row (which the authors call ``"mean"`` and ``"cls"``), a weighted mean
        over all of them, or the largest over slices. The authors' ``"max"``
        cannot run, since its first layer has the size of ``"flatten"``; here it
        has its own.
    """

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 256, dropout: float = 0.5,
        pooling: str = "flatten",
    ) -> None:  # fmt: skip
        super().__init__()
        if pooling not in ("flatten", "attention", "max"):
            raise SpecError(f"pooling={pooling!r} is not one of ('flatten', 'attention', 'max').")
        self.pooling, half = pooling, hidden // 2
        if pooling == "attention":
            self.attention_pool = _AttentionPool(n_features)
        self.mlp = nn.Sequential(
            MaxNormLinear(n_features, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            MaxNormLinear(hidden, half),
            nn.LayerNorm(half),
            nn.GELU(),
            nn.Dropout(dropout),
            MaxNormLinear(half, n_outputs, max_norm=0.25),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores, ``(n, n_outputs)``."""
        if self.pooling == "attention":
            tokens = self.attention_pool(tokens.flatten(1, 2))
        elif self.pooling == "max":
            tokens = tokens.amax(dim=1)
        out: Tensor = self.mlp(tokens.flatten(1))
        return out


class SmallHead(nn.Module):
    """``MLPClassifierSmall``: dropout and one bounded linear map (``dare_small``).

    Parameters
    ----------
    n_features, n_outputs : int
        Features of all slices together, and scores.
    hidden : int
        Not used.
    dropout : float
        On the features.
    """

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 0, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Dropout(dropout), MaxNormLinear(n_features, n_outputs))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores, ``(n, n_outputs)``."""
        out: Tensor = self.mlp(torch.flatten(tokens, 1))
        return out
