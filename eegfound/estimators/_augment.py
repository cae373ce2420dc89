"""Changes to training windows: mixed pairs, electrodes left out."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_channels(signal: Tensor, probability: float, *, fill: float) -> Tensor:
    """Leave out electrodes, the same ones in the whole batch.

    One set per batch keeps its epochs in one pass through the network, and a
    model that takes any electrodes is cheaper with fewer. Each epoch keeps at
    least one electrode.

    Parameters
    ----------
    signal : Tensor, shape (n_epochs, n_channels, ...)
        NaN where not recorded.
    probability : float
        Of each electrode to be left out.
    fill : float
        NaN for models that take any electrodes, 0 for others.

    Returns
    -------
    Tensor
        A changed copy, or ``signal`` itself.
    """
    out = torch.rand(signal.shape[1]) < probability
    if not out.any():
        return signal
    recorded = ~torch.isnan(signal.flatten(2)[..., 0]).cpu()
    left = recorded & ~out
    bare = ~left.any(dim=1)
    if bare.any():  # somebody would be left with nothing: all keep one of theirs
        keep = recorded[bare].float().sum(dim=0) * torch.rand(signal.shape[1])
        out[int(keep.argmax())] = False
        if not (recorded & ~out).any(dim=1).all():
            return signal
    changed = signal.clone()
    changed[:, out.to(signal.device)] = fill
    return changed


def mix_pairs(signal: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix each window with another of the batch that has the same electrodes.

    Parameters
    ----------
    signal : Tensor, shape (n_epochs, n_channels, ...)
        NaN where not recorded.
    alpha : float
        Both parameters of the Beta distribution of the share.

    Returns
    -------
    mixed : Tensor
        ``share * signal + (1 - share) * signal[partner]``.
    partner : Tensor of int64, shape (n_epochs,)
        The other window of each.
    share : float
        One draw per batch.

    References
    ----------
    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    recorded = ~torch.isnan(signal.flatten(2)[..., 0])
    partner = torch.arange(len(signal), device=signal.device)
    for pattern in torch.unique(recorded, dim=0):
        members = torch.nonzero((recorded == pattern).all(dim=1)).squeeze(1)
        partner[members] = members[torch.randperm(len(members)).to(members.device)]
    return share * signal + (1 - share) * signal[partner], partner, share
