"""The predictor: features of all slices from those of the visible ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.nn.slices.blocks import EPS, STD, TimeEmbed, initialize, stack


class SlicePredictor(nn.Module):
    """Predicts the momentum encoder's summary tokens of every slice.

    Parameters
    ----------
    width, n_summary, heads : int
        As in the encoder.
    depth : int
        Blocks.
    drop_rate, attn_drop_rate, drop_path_rate : float
        Dropout in training.
    init_std : float
        Spread of initial weights.
    """

    def __init__(
        self, *, width: int, n_summary: int, depth: int, heads: int, drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0, init_std: float = STD,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_summary = n_summary
        self.mask_token = nn.Parameter(torch.zeros(1, 1, n_summary, width))
        self.predictor_embed = nn.Linear(width, width)
        self.time_embed = TimeEmbed(width // heads)
        self.predictor_blocks = stack(
            depth, width, heads, drop=drop_rate, attn_drop=attn_drop_rate,
            drop_path=drop_path_rate,
        )  # fmt: skip
        self.predictor_norm = nn.LayerNorm(width, eps=EPS)
        self.predictor_proj = nn.Linear(width, width)
        initialize(self, self.predictor_blocks, init_std)

    def forward(self, z: Tensor, slices: Tensor, n_slices: int) -> tuple[Tensor, Tensor]:
        """Predict all slices from the visible ones.

        Parameters
        ----------
        z : Tensor, shape (n, n_visible, n_summary, width)
            The encoder's summary tokens.
        slices : Tensor of int64, shape (n_visible,)
            Which slices they are.
        n_slices : int
            Slices of the window.

        Returns
        -------
        predicted : Tensor, shape (n, n_slices, n_summary, width)
            Predictions, of the visible slices too.
        combined : Tensor, shape (n, n_slices, n_summary, width)
            ``z`` at the visible slices and the prediction at the others.
        """
        seen = self.predictor_embed(z)
        grid = self.mask_token.to(seen.dtype).repeat(len(z), n_slices, 1, 1)
        grid = grid.index_copy(1, slices, seen)
        times = torch.arange(n_slices, device=z.device).repeat_interleave(self.n_summary)
        angles = self.time_embed(times)
        x = grid.flatten(1, 2)
        for block in self.predictor_blocks:
            x = block(x, angles)
        predicted = self.predictor_proj(self.predictor_norm(x)).view_as(grid)
        # Mixed precision gives the two different types.
        return predicted, predicted.index_copy(1, slices, z.to(predicted.dtype))
