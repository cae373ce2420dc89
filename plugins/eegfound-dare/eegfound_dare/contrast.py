"""Mask alignment: the two views of an epoch are told from those of others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn import info_nce


class MaskContrast(nn.Module):
    """The projection head of mask alignment.

    Parameters
    ----------
    n_features : int
        Features of a slice (``n_summary * width``).
    temperature : float
        Divides cosines.
    """

    temperature: Tensor

    def __init__(self, n_features: int, *, temperature: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        self.projection_head = nn.Sequential(
            nn.Linear(n_features, 512), nn.ReLU(), nn.Linear(512, 256)
        )

    def pool(self, z: Tensor) -> Tensor:
        """Return the mean over slices of ``(n, n_slices, n_summary, width)``, flat."""
        return z.mean(dim=1).flatten(1)

    def project(self, pooled: Tensor) -> Tensor:
        """Return unit vectors, ``(n, 256)``."""
        return F.normalize(self.projection_head(pooled), dim=-1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the contrastive loss of two views' summary tokens."""
        one, other = (self.projection_head(self.pool(z)) for z in (first, second))
        return info_nce(one, other, self.temperature.clamp_min(1e-6))

    def accuracy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return how often an epoch's other view is the most similar one, in both directions."""
        one, other = (self.project(self.pool(z)) for z in (first, second))
        similar = one @ other.T
        own = torch.arange(len(similar), device=similar.device)
        forth, back = ((m.argmax(dim=1) == own).float().mean() for m in (similar, similar.T))
        return 0.5 * (forth + back)
