"""From one-second patches to token vectors: NeuroLM's temporal convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Filters, steps in time that the first convolution leaves of a patch, groups of the norms.
_FILTERS, _STEPS, _GROUPS = 16, 25, 4


class TemporalConv(nn.Module):
    """Three convolutions along time with GroupNorm and GELU, and a linear layer.

    The patches of an epoch are the rows of an image, so GroupNorm takes its
    statistics over *all* patches of the epoch.

    Parameters
    ----------
    width : int
        Length of a token vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _FILTERS, (1, 15), stride=(1, 8), padding=(0, 7))
        self.norm1 = nn.GroupNorm(_GROUPS, _FILTERS)
        self.conv2 = nn.Conv2d(_FILTERS, _FILTERS, (1, 3), padding=(0, 1))
        self.norm2 = nn.GroupNorm(_GROUPS, _FILTERS)
        self.conv3 = nn.Conv2d(_FILTERS, _FILTERS, (1, 3), padding=(0, 1))
        self.norm3 = nn.GroupNorm(_GROUPS, _FILTERS)
        self.l = nn.Sequential(nn.Linear(_FILTERS * _STEPS, width), nn.GELU())

    def forward(self, patches: Tensor, n_padding: int = 0) -> Tensor:
        """Return token vectors.

        Parameters
        ----------
        patches : Tensor, shape (n, n_tokens, 200)
            Patches of each epoch.
        n_padding : int
            Patches of zeros that GroupNorm sees besides, as it does where the
            authors' loader fills a sequence up to 1024 tokens.

        Returns
        -------
        Tensor, shape (n, n_tokens, width)
            Without those of the padding.
        """
        n_tokens = patches.shape[1]
        x = F.pad(patches, (0, 0, 0, 1)) if n_padding else patches
        x = x[:, None]
        for conv, norm in (
            (self.conv1, self.norm1),
            (self.conv2, self.norm2),
            (self.conv3, self.norm3),
        ):
            x = conv(x)
            x = F.gelu(_padded_norm(x, norm, n_padding) if n_padding else norm(x))
        columns = x[:, :, :n_tokens].permute(0, 2, 3, 1).flatten(2)  # (time, filter)
        return self.l(columns)


def _padded_norm(x: Tensor, norm: nn.GroupNorm, n_padding: int) -> Tensor:
    """Apply GroupNorm as if the last row of the image stood there ``n_padding`` times.

    All patches of zeros have the same activations, so one row stands for them.
    """
    n, filters, rows, steps = x.shape
    weight = torch.ones(rows, device=x.device, dtype=x.dtype)
    weight[-1] = n_padding
    grouped = x.view(n, norm.num_groups, filters // norm.num_groups, rows, steps)
    weight = (weight / (weight.sum() * steps * grouped.shape[2]))[:, None]
    mean = (grouped * weight).sum(dim=(2, 3, 4), keepdim=True)
    centred = grouped - mean
    spread = (centred.square() * weight).sum(dim=(2, 3, 4), keepdim=True)
    out = (centred * torch.rsqrt(spread + norm.eps)).view_as(x)
    return out * norm.weight[:, None, None] + norm.bias[:, None, None]
