"""From patches of signal to token vectors: LaBraM's temporal convolutions."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn.fast_linear import linear
from eegfound_labram.derived import Deriving
from eegfound_labram.vocabulary import PATCH

#: Steps in time that the first convolution leaves of a patch.
STEPS = 25
_GROUPS = 4


class TemporalConv(Deriving):
    """Three convolutions along time, each with GroupNorm and GELU.

    The patches of an epoch are the rows of an image one filter high, so a
    convolution of a row is a linear map of the patch. For inference the three
    kernels are spread out into dense matrices: a patch has only 200 samples,
    and one large product is much faster than many tiny ones. GroupNorm takes
    its statistics over a quarter of the filters, *all* patches of the epoch
    and time; they are gathered from sums per column.

    Parameters
    ----------
    out_chans : int
        Filters, a multiple of 4.
    """

    def __init__(self, out_chans: int) -> None:
        super().__init__()
        self.out_chans = out_chans
        self.conv1 = nn.Conv2d(1, out_chans, (1, 15), stride=(1, 8), padding=(0, 7))
        self.norm1 = nn.GroupNorm(_GROUPS, out_chans)
        self.conv2 = nn.Conv2d(out_chans, out_chans, (1, 3), padding=(0, 1))
        self.norm2 = nn.GroupNorm(_GROUPS, out_chans)
        self.conv3 = nn.Conv2d(out_chans, out_chans, (1, 3), padding=(0, 1))
        self.norm3 = nn.GroupNorm(_GROUPS, out_chans)

    def forward(self, patches: Tensor) -> Tensor:
        """Return token vectors.

        Parameters
        ----------
        patches : Tensor, shape (n, n_patches, 200)
            Patches of each epoch, channel by channel.

        Returns
        -------
        Tensor, shape (n, n_patches, 25 * out_chans)
            Time-major: index ``t * out_chans + filter``.
        """
        if torch.is_grad_enabled() and self.conv1.weight.requires_grad:
            return self._convolved(patches)
        x = patches
        for conv, norm in (
            (self.conv1, self.norm1),
            (self.conv2, self.norm2),
            (self.conv3, self.norm3),
        ):
            assert conv.bias is not None
            matrix, bias = self.derive(conv, (conv.weight, conv.bias), partial(self._dense, conv))
            x = F.gelu(self._normalized(linear(x, matrix, bias), norm))
        return x

    def _convolved(self, patches: Tensor) -> Tensor:
        """Do the same as convolutions: the dense matrices would be made in every step."""
        x = patches[:, None]
        for conv, norm in (
            (self.conv1, self.norm1),
            (self.conv2, self.norm2),
            (self.conv3, self.norm3),
        ):
            x = F.gelu(norm(conv(x)))
        return x.permute(0, 2, 3, 1).flatten(2)

    def _dense(self, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Return the matrix and bias that do to a patch what ``conv`` does."""
        n_in = PATCH if conv is self.conv1 else STEPS * self.out_chans
        eye = torch.eye(n_in, device=conv.weight.device, dtype=conv.weight.dtype)
        if conv is self.conv1:
            image = eye.view(n_in, 1, 1, PATCH)
        else:  # time-major columns back to (filter, time)
            image = eye.view(n_in, 1, STEPS, self.out_chans).permute(0, 3, 1, 2)
        spread = F.conv2d(image, conv.weight, None, conv.stride, conv.padding)
        matrix = spread.squeeze(2).permute(2, 1, 0).reshape(STEPS * self.out_chans, n_in)
        assert conv.bias is not None
        return matrix, conv.bias.repeat(STEPS)

    def _normalized(self, x: Tensor, norm: nn.GroupNorm) -> Tensor:
        n, n_patches, _ = x.shape
        per_group = self.out_chans // _GROUPS
        count = n_patches * STEPS * per_group

        # bfloat16 keeps 8 bits: sums are taken in float32, and the few numbers
        # per column in float64, where rounding would shift whole filters.
        exact = torch.float32 if x.device.type == "mps" else torch.float64

        def over_group(columns: Tensor) -> Tensor:
            shaped = columns.to(exact).view(n, STEPS, _GROUPS, per_group)
            return shaped.sum(dim=(1, 3), keepdim=True) / count

        def to_columns(groups: Tensor) -> Tensor:
            return groups.expand(n, STEPS, _GROUPS, per_group).reshape(n, 1, -1)

        weight, bias = self.derive(norm, (norm.weight, norm.bias), partial(_affine, norm, exact))
        wide = x.float()
        centred = wide - to_columns(over_group(wide.sum(dim=1)).float())
        spread = over_group(centred.square().sum(dim=1))
        gain = (to_columns(torch.rsqrt(spread + norm.eps)) * weight).float()
        return torch.addcmul(bias, centred, gain).to(x.dtype)


def _affine(norm: nn.GroupNorm, exact: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight (in ``exact``) and bias (in float32) for every column."""
    return norm.weight.to(exact).repeat(STEPS), norm.bias.float().repeat(STEPS)
