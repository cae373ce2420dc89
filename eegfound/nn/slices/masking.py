"""Which slices and channels pretraining hides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.nn import cut_patches


class SliceMasks(NamedTuple):
    """Masks of one batch, all in indices ``slice * n_channels + channel``.

    Attributes
    ----------
    visible : Tensor of int64, shape (n_visible_slices, n_visible_channels)
        What the encoder sees, one row per visible slice, in order of time.
    hidden : Tensor of int64, shape (n_hidden,)
        What is rebuilt: all of the hidden slices, and some hidden channels of
        the visible ones.
    """

    visible: Tensor
    hidden: Tensor


def visible_per_slice(n_channels: int) -> int:
    """Return how many channels stay visible: 12 of 58, and that share of others."""
    return max(1, round(n_channels * 12 / 58))


def one_slice_each(signal: Tensor, patch: int) -> Tensor:
    """Return windows of one slice each, as many as there are whole slices.

    Parameters
    ----------
    signal : Tensor, shape (n, n_channels, n_times)
        Longer windows.
    patch : int
        Samples of a slice.

    Returns
    -------
    Tensor, shape (n * n_slices, n_channels, patch)
        In order of windows, then of time.
    """
    cut = cut_patches(signal, patch, patch)
    return cut.transpose(1, 2).flatten(0, 1)


def draw_masks(
    n_slices: int, n_channels: int, *, n_visible: int | None = None, hide_slice: float = 0.5,
    rebuild: float = 0.2, n_rebuilt: int | None = None, generator: torch.Generator | None = None,
) -> SliceMasks:  # fmt: skip
    """Draw the masks of a batch.

    Parameters
    ----------
    n_slices, n_channels : int
        Size of the window.
    n_visible : int | None
        Channels that stay visible in a visible slice, drawn anew for each;
        None is :func:`visible_per_slice`.
    hide_slice : float
        Probability that a slice is hidden altogether.
    rebuild : float
        Probability that a hidden channel of a visible slice is rebuilt.
    n_rebuilt : int | None
        Draw so many of the patches that would be rebuilt, where there are more;
        None takes all. In dense caps they are many, so that most of the
        reconstructor's work is done on queries that tell each other nothing.
    generator : torch.Generator | None
        CPU generator.

    Returns
    -------
    SliceMasks
        Drawn again until a slice is visible and a hidden channel of a visible
        slice is to be rebuilt.

    Raises
    ------
    SpecError
        If no such masks exist.
    """
    n_visible = visible_per_slice(n_channels) if n_visible is None else n_visible
    if not 0 < n_visible < n_channels:
        raise SpecError(
            f"n_visible={n_visible} of {n_channels} channels: some must be visible and some "
            "hidden, so masking needs at least two channels."
        )
    if n_rebuilt is not None and n_rebuilt < 1:
        raise SpecError(f"n_rebuilt={n_rebuilt!r} must be None or at least 1.")
    if n_slices < 1 or not (0 <= hide_slice < 1 and 0 < rebuild <= 1):
        raise SpecError(
            f"n_slices={n_slices}, hide_slice={hide_slice}, rebuild={rebuild}: at least one slice, "
            "0 <= hide_slice < 1 and 0 < rebuild <= 1 are needed."
        )
    first = (torch.arange(n_slices) * n_channels)[:, None]
    while True:
        order = torch.rand(n_slices, n_channels, generator=generator).argsort(dim=1) + first
        seen = torch.rand(n_slices, generator=generator) >= hide_slice
        spare = order[seen, n_visible:].flatten()
        chosen = spare[torch.rand(len(spare), generator=generator) < rebuild]
        if len(chosen):  # and so a slice is visible
            hidden = torch.cat([order[~seen].flatten(), chosen])
            if n_rebuilt is not None and n_rebuilt < len(hidden):
                hidden = hidden[torch.randperm(len(hidden), generator=generator)[:n_rebuilt]]
            return SliceMasks(order[seen, :n_visible], hidden)
