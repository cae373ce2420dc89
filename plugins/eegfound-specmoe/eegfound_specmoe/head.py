"""The head that the reference fine-tunes."""

from __future__ import annotations

from torch import Tensor, nn


class ClassifierHead(nn.Module):
    """LayerNorm, a hidden layer as wide as the features, and the scores.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features and of the scores.
    dropout : float
        Dropout on the hidden layer while training; the reference has 0.2.
    """

    def __init__(self, n_features: int, n_outputs: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(n_features),
            nn.Linear(n_features, n_features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(n_features, n_outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return scores, ``(n, n_outputs)``."""
        return self.net(features)


def make_head(
    n_features: int, n_outputs: int, *, hidden: int = 0, dropout: float = 0.2
) -> ClassifierHead:
    """Build the head for ``head="specmoe"``.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features and of the scores.
    hidden : int
        Not used: the reference's hidden layer is as wide as its features.
    dropout : float
        See :class:`ClassifierHead`.

    Returns
    -------
    ClassifierHead
        The head.
    """
    return ClassifierHead(n_features, n_outputs, dropout=dropout)
