"""The linear probe that EEGPT and DARE-EEG put on a frozen encoder."""

from __future__ import annotations

from torch import Tensor, nn

from eegfound.nn.max_norm import MaxNormLinear


class TwoLinear(nn.Module):
    """Two linear layers of bounded norm, the first one shared by all moments.

    The linear probe of EEGPT (Wang et al., NeurIPS 2024) and DARE-EEG (Shao
    et al., arXiv 2605.18298): dropout, ``hidden`` numbers per moment (row norm
    at most 1), then scores from all of them (row norm at most 0.25).

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features of all moments together, and of the scores.
    hidden : int
        Numbers per moment.
    dropout : float
        On the features.
    n_slices : int
        Moments.
    """

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 16, dropout: float = 0.5,
        n_slices: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_slices = n_slices
        self.dropout = nn.Dropout(dropout)
        self.linear_probe1 = MaxNormLinear(n_features // n_slices, hidden, max_norm=1.0)
        self.linear_probe2 = MaxNormLinear(hidden * n_slices, n_outputs, max_norm=0.25)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores, ``(n_epochs, n_outputs)``."""
        moments = features.unflatten(1, (self.n_slices, -1))
        return self.linear_probe2(self.linear_probe1(self.dropout(moments)).flatten(1))
