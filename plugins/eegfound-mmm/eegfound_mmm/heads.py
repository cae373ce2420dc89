"""The two-layer heads: as the authors' code has it, and as one would write it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError

Activation = Callable[[Tensor], Tensor]


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that takes its running statistics for a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        """Return normalized features, ``(n, n_features)``."""
        if self.training and len(x) == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class TwoLayerHead(nn.Module):
    """Batch norm, linear, activation, twice.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the embedding and of the scores.
    hidden : int
        Width of the hidden layer.
    dropout : float
        Dropout on the hidden layer while training (the authors have none).
    activation : callable
        After the first linear layer.
    last : callable | None
        After the second; None returns its output.
    """

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 64, dropout: float = 0.0,
        activation: Activation = F.gelu, last: Activation | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.activation, self.last = activation, last
        self.fc_norm1 = BatchNorm(n_features)
        self.fc_out1 = nn.Linear(n_features, hidden)
        self.fc_norm2 = BatchNorm(hidden)
        self.fc_out2 = nn.Linear(hidden, n_outputs)
        self.drop = nn.Dropout(dropout)

    def steps(self, features: Tensor) -> dict[str, Tensor]:
        """Return what each layer gives, by the layer's name, and ``scores``."""
        out = {"fc_norm1": self.fc_norm1(features)}
        out["fc_out1"] = self.fc_out1(out["fc_norm1"])
        out["fc_norm2"] = self.fc_norm2(self.drop(self.activation(out["fc_out1"])))
        out["fc_out2"] = self.fc_out2(out["fc_norm2"])
        out["scores"] = out["fc_out2"] if self.last is None else self.last(out["fc_out2"])
        return out

    def forward(self, features: Tensor) -> Tensor:
        """Return scores, ``(n, n_outputs)``."""
        return self.steps(features)["scores"]


def make_mlp(
    n_features: int, n_outputs: int, *, hidden: int = 64, dropout: float = 0.0
) -> TwoLayerHead:
    """Return the head ``"mmm-mlp"``: GELU inside, plain scores out."""
    return TwoLayerHead(n_features, n_outputs, hidden=hidden, dropout=dropout)


def make_reference(
    n_features: int, n_outputs: int, *, hidden: int = 64, dropout: float = 0.0,
    activation: Activation | None = None,
) -> TwoLayerHead:  # fmt: skip
    """Return the head ``"mmm-reference"``: softmax inside *and* outside.

    The authors take the cross-entropy of the softmax's output, which is a
    second softmax: the loss cannot fall below ``ln(1 + (K - 1) / e)`` for K
    classes.

    Raises
    ------
    SpecError
        For a single output: the softmax of one number says nothing.
    """
    if n_outputs < 2:
        raise SpecError(
            "head='mmm-reference' scores classes and cannot give a single number: use "
            "head='mmm-mlp' (or 'linear') for regression."
        )
    activation = activation or partial(torch.softmax, dim=-1)
    return TwoLayerHead(
        n_features, n_outputs, hidden=hidden, dropout=dropout, activation=activation,
        last=activation,
    )  # fmt: skip


def make_reference_sigmoid(
    n_features: int, n_outputs: int, *, hidden: int = 64, dropout: float = 0.0
) -> TwoLayerHead:
    """Return ``"mmm-reference-sigmoid"``: the same with sigmoids (their task "classification")."""
    return make_reference(
        n_features, n_outputs, hidden=hidden, dropout=dropout, activation=torch.sigmoid
    )
