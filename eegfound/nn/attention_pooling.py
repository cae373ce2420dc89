"""A head that learns which tokens to look at."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from eegfound.nn.standardize import Standardize


def recorded_slices(features: Tensor, n_slices: int) -> tuple[Tensor, Tensor]:
    """Cut features into slices and tell which were recorded.

    Parameters
    ----------
    features : Tensor, shape (n_epochs, n_slices * width)
        NaN in the slices that were not recorded.
    n_slices : int
        Equal parts.

    Returns
    -------
    slices : Tensor, shape (n_epochs, n_slices, width)
        With zeros where not recorded.
    recorded : Tensor of bool, shape (n_epochs, n_slices)
        Mask of the others.
    """
    slices = features.unflatten(1, (n_slices, -1))
    recorded = ~torch.isnan(slices[..., 0])
    if not recorded.all():
        slices = torch.where(recorded[..., None], slices, 0.0)
    return slices, recorded


class AttentionPooling(nn.Module):
    """A weighted mean over tokens, the weights being a softmax of learned scores.

    Each of ``n_heads`` queries scores all tokens, ``q · x / sqrt(width)``, and
    reads an equal part of the width with the weights that follow (attention
    pooling as in Ilse, Tomczak and Welling, ICML 2018, with the scaled product
    of Vaswani et al., NeurIPS 2017; REVE reads its tokens this way). Queries
    start at zero: the first output is the plain mean.

    Parameters
    ----------
    width : int
        Length of a token.
    n_heads : int
        Queries; must divide ``width``.
    """

    def __init__(self, width: int, n_heads: int = 1) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Parameter(torch.zeros(n_heads, width))

    def weights(self, tokens: Tensor, recorded: Tensor) -> Tensor:
        """Return the weight of each token, ``(n_epochs, n_heads, n_tokens)``; each row sums to 1.

        Parameters
        ----------
        tokens : Tensor, shape (n_epochs, n_tokens, width)
            Finite everywhere.
        recorded : Tensor of bool, shape (n_epochs, n_tokens)
            Others get weight 0.
        """
        scores = (tokens @ self.query.T).transpose(1, 2) / math.sqrt(tokens.shape[-1])
        # Not minus infinity: an epoch without any token then reads zeros, not NaN.
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~recorded[:, None], lowest).softmax(dim=-1)

    def forward(self, tokens: Tensor, recorded: Tensor) -> Tensor:
        """Return the pooled tokens, ``(n_epochs, width)``; see :meth:`weights`."""
        weights = self.weights(tokens, recorded).unsqueeze(2)
        parts = tokens.chunk(self.n_heads, dim=-1)
        pooled = [(weights[:, k] @ part).squeeze(1) for k, part in enumerate(parts)]
        return torch.cat(pooled, dim=-1)


class AttentionHead(nn.Module):
    """Attention pooling over all tokens, then a linear map or a small MLP.

    Until its queries have learned something it is the linear head on the mean
    token. It has ``n_heads * width`` parameters more than that head.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of all tokens together, and of the scores.
    hidden : int | None
        Width of a hidden layer after pooling; None is a linear map.
    dropout : float
        On the pooled token (and on the hidden layer).
    n_slices : int
        Tokens; those that are NaN get no weight.
    n_heads : int
        Queries wanted; the largest divisor of the width up to that is taken.
    """

    reading: ClassVar[str] = "tokens"

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int | None = None, dropout: float = 0.0,
        n_slices: int = 1, n_heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_slices = n_slices
        width = n_features // n_slices
        heads = next(k for k in range(min(n_heads, width), 0, -1) if width % k == 0)
        self.pooling = AttentionPooling(width, heads)
        self.standardize = Standardize(width)
        self.dropout = nn.Dropout(dropout)
        if hidden is None:
            self.classify: nn.Module = nn.Linear(width, n_outputs)
            nn.init.zeros_(self.classify.weight)  # as the linear head
            nn.init.zeros_(self.classify.bias)
        else:
            self.classify = nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout),
                nn.Linear(hidden, n_outputs),
            )  # fmt: skip

    def summary(self, features: Tensor) -> Tensor:
        """Return the pooled and scaled token of standardized tokens, ``(n_epochs, width)``."""
        return self.standardize(self.pooling(*recorded_slices(features, self.n_slices)))

    def mean_token(self, features: Tensor) -> Tensor:
        """Return the mean of the recorded tokens, ``(n_epochs, width)``, before any scaling."""
        tokens, recorded = recorded_slices(features, self.n_slices)
        return tokens.sum(dim=1) / recorded.sum(dim=1).clamp_min(1)[:, None].to(tokens.dtype)

    @torch.no_grad()
    def settle(self, means: Tensor, weight: Tensor, tokens: Standardize, *, floor: float) -> None:
        """Scale what the linear map reads: a mean over tokens varies less than a token.

        Together with the scaling of the tokens this is the scaling that the
        linear head would give the mean token.

        Parameters
        ----------
        means : Tensor, shape (n_epochs, width)
            From :meth:`mean_token`.
        weight : Tensor, shape (n_epochs,)
            Weight of each epoch.
        tokens : Standardize
            The scaling of the tokens, one for all.
        floor : float
            See :meth:`Standardize.set_from`.
        """
        width = means.shape[1]
        mean, scale = tokens.mean[:width], tokens.scale[:width]
        self.standardize.set_from(means, weight, floor=floor)
        self.standardize.mean.sub_(mean).div_(scale)
        self.standardize.scale.div_(scale)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores, ``(n_epochs, n_outputs)``."""
        return self.classify(self.dropout(self.summary(features)))
