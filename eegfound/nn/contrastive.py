"""Contrastive loss between two views."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(first: Tensor, second: Tensor, temperature: float | Tensor = 0.1) -> Tensor:
    """Symmetric InfoNCE: row ``i`` of one view belongs to row ``i`` of the other.

    Parameters
    ----------
    first, second : Tensor, shape (n, n_features)
        Two views of the same ``n`` things; rows are normalized here.
    temperature : float | Tensor
        Divides the cosines.

    Returns
    -------
    Tensor, shape ()
        Mean of the cross-entropies in both directions (van den Oord et al.,
        arXiv 1807.03748; symmetric as in CLIP, arXiv 2103.00020).
    """
    logits = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / temperature
    labels = torch.arange(len(first), device=first.device)
    return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
