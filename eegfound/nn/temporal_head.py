"""A head that convolves over time."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class TemporalHead(nn.Module):
    """A convolution over moments, then a linear map on all of them.

    It stands where EEGPT (Wang et al., NeurIPS 2024) and DARE-EEG (Shao et
    al., arXiv 2605.18298) put a linear map that sees one moment at a time
    before the last one (:class:`~eegfound.nn.TwoLinear`). That the map sees
    the neighbouring moments too, is followed by GELU and is not bounded is
    ours. Parameters, for width ``W``, ``M`` moments, ``H`` hidden features,
    kernel ``k`` and ``K`` scores: ``(W * k + 1) * H + (M * H + 1) * K``.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features of all moments together, and of the scores.
    hidden : int
        Features per moment after the convolution.
    dropout : float
        On the features and on the hidden features.
    n_slices : int
        Moments.
    kernel : int
        Moments that the convolution sees, odd; at most ``2 * n_slices - 1``,
        what reaches from one end to the other. Beyond the ends stand zeros,
        the mean of standardized features.
    """

    reading: ClassVar[str] = "moments"

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 16, dropout: float = 0.0,
        n_slices: int = 1, kernel: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_slices = n_slices
        kernel = min(kernel, 2 * n_slices - 1)
        self.convolve = nn.Conv1d(n_features // n_slices, hidden, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden * n_slices, n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores, ``(n_epochs, n_outputs)``."""
        moments = self.dropout(features).unflatten(1, (self.n_slices, -1)).transpose(1, 2)
        hidden = self.dropout(F.gelu(self.convolve(moments)))
        return self.classify(hidden.flatten(1))
