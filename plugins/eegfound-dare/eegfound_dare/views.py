"""The second view of mask alignment."""

from __future__ import annotations

import torch
from torch import Tensor

from eegfound.base import SpecError

SECOND_VIEWS = ("same_slice", "reference")


def shared_count(n_visible: int, generator: torch.Generator | None = None) -> int:
    """Draw how many of a slice's visible channels both views share.

    Parameters
    ----------
    n_visible : int
        Visible channels per slice.
    generator : torch.Generator | None
        CPU generator.

    Returns
    -------
    int
        For an intersection over union of 0.2 to 0.8, with a little noise.
    """
    overlap, noise = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    overlap = 0.2 + 0.6 * overlap
    share = 2 * overlap / (1 + overlap) + 0.1 * noise - 0.05
    return min(max(round(min(max(share, 0.0), 0.95) * n_visible), 0), n_visible)


def draw_second_view(
    visible: Tensor, n_channels: int, *, kind: str = "same_slice",
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Draw a second view of the visible slices.

    Parameters
    ----------
    visible : Tensor of int64, shape (n_slices, n_visible)
        The first view, in indices ``slice * n_channels + channel``.
    n_channels : int
        Channels of the window.
    kind : {"same_slice", "reference"}
        ``"same_slice"``: new channels are drawn from the slice itself.
        ``"reference"``: as the authors' code does, from the slice whose number
        is the *row* of the mask, so that rows mix slices and may hold a
        channel twice.
    generator : torch.Generator | None
        CPU generator.

    Returns
    -------
    Tensor of int64, shape (n_slices, n_visible)
        As many channels of as many slices, with as many shared as the other
        channels allow.
    """
    if kind not in SECOND_VIEWS:
        raise SpecError(f"second_view={kind!r} is not one of {SECOND_VIEWS}.")
    n_visible = visible.shape[1]
    shared = shared_count(n_visible, generator)
    rows = []
    for row, first in enumerate(visible.cpu()):
        number = row if kind == "reference" else int(first[0]) // n_channels
        others = torch.arange(number * n_channels, (number + 1) * n_channels)
        others = others[~torch.isin(others, first)]
        new = min(n_visible - shared, len(others))
        kept = torch.randperm(n_visible, generator=generator)[: n_visible - new]
        drawn = torch.randperm(len(others), generator=generator)[:new]
        rows.append(torch.cat([first[kept], others[drawn]]))
    return torch.stack(rows).to(visible.device)
