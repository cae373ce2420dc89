"""The reconstructor: hidden patches of signal from the features of all slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.nn.slices.blocks import EPS, STD, TimeEmbed, initialize, stack
from eegfound.nn.slices.tables import PATCH, VOCABULARY


class SliceReconstructor(nn.Module):
    """Rebuilds patches, each asked for by a query of its channel and slice.

    Parameters
    ----------
    width, n_summary, heads : int
        As in the encoder.
    depth : int
        Blocks.
    patch : int
        Samples per patch.
    n_names : int
        Rows of the table of channels (a table of its own).
    drop_rate, attn_drop_rate, drop_path_rate : float
        Dropout in training.
    init_std : float
        Spread of initial weights.
    names_std : float | None
        See :class:`eegfound.nn.slices.SliceEncoder`.
    """

    def __init__(
        self, *, width: int, n_summary: int, depth: int, heads: int, patch: int = PATCH,
        n_names: int = len(VOCABULARY), drop_rate: float = 0.0, attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0, init_std: float = STD,
        names_std: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_summary = n_summary
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.reconstructor_embed = nn.Linear(width, width)
        self.time_embed = TimeEmbed(width // heads)
        self.chan_embed = nn.Embedding(n_names, width)
        self.reconstructor_blocks = stack(
            depth, width, heads, drop=drop_rate, attn_drop=attn_drop_rate,
            drop_path=drop_path_rate,
        )  # fmt: skip
        self.reconstructor_norm = nn.LayerNorm(width, eps=EPS)
        self.reconstructor_proj = nn.Linear(width, patch)
        initialize(self, self.reconstructor_blocks, init_std, names_std)

    def forward(
        self, features: Tensor, ids: Tensor | None, mask: Tensor, n_channels: int | None = None
    ) -> Tensor:
        """Rebuild the patches of a mask.

        Parameters
        ----------
        features : Tensor, shape (n, n_slices, n_summary, width)
            Of all slices (what the predictor calls combined).
        ids : Tensor of int64 | None, shape (n_channels,)
            Row of each channel in the table; None takes rows 0, 1, 2, ….
        mask : Tensor of int64, shape (n_hidden,)
            Patches to rebuild, ``slice * n_channels + channel``.
        n_channels : int | None
            Needed where ``ids`` is None.

        Returns
        -------
        Tensor, shape (n, n_hidden, patch)
            Rebuilt patches.
        """
        if ids is None:
            assert n_channels is not None, "n_channels is needed without ids"
            ids = torch.arange(n_channels, device=features.device)
        ids = ids.reshape(-1)
        n, n_slices = features.shape[:2]
        queries = self.mask_token[0] + self.chan_embed(ids[mask % len(ids)])
        x = torch.cat(
            [
                self.reconstructor_embed(features).flatten(1, 2),
                queries.to(features.dtype).expand(n, -1, -1),
            ],
            dim=1,
        )
        times = torch.arange(n_slices, device=x.device).repeat_interleave(self.n_summary)
        angles = self.time_embed(torch.cat([times, mask // len(ids)]))
        *first, final = self.reconstructor_blocks
        for block in first:
            x = block(x, angles)
        x = final(x, angles, n_queries=len(mask))  # the features have done their work
        return self.reconstructor_proj(self.reconstructor_norm(x))
