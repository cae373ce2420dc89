"""What pretraining predicts: normed features and normed patches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def feature_targets(features: Tensor) -> Tensor:
    """Norm each summary token of the momentum encoder (no gain, epsilon 1e-5).

    Parameters
    ----------
    features : Tensor, shape (..., width)
        Summary tokens.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    return F.layer_norm(features, features.shape[-1:])


def patch_targets(patches: Tensor, mask: Tensor, *, norm: bool = True) -> Tensor:
    """Select the patches to rebuild and norm each over its samples.

    Parameters
    ----------
    patches : Tensor, shape (n, n_slices, n_channels, patch)
        All patches of a window.
    mask : Tensor of int64, shape (n_hidden,)
        Indices ``slice * n_channels + channel``.
    norm : bool
        Whether to norm (mean 0, variance 1, epsilon 1e-5).

    Returns
    -------
    Tensor, shape (n, n_hidden, patch)
        Targets.
    """
    chosen = patches.flatten(1, 2)[:, mask]
    return F.layer_norm(chosen, chosen.shape[-1:]) if norm else chosen
