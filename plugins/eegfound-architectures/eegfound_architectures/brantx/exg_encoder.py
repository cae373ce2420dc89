"""The encoder of the other physiological signals: convolutions, then a transformer.

Our design; the paper says "CNN and Transformer" and no sizes that could be read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.base import SpecError

#: Samples per step of the convolutional stem.
STEP = 40
#: Rows of the tables of patches and of channels.
MAX_PATCHES, MAX_CHANNELS = 64, 16
_STEM = ((7, 5), (5, 4), (3, 2))  # kernel and stride; the strides multiply to STEP


class ExgEncoder(nn.Module):
    """One token per channel and patch of EOG, ECG or EMG.

    Parameters
    ----------
    steps : int
        Steps of 40 samples that make a patch.
    width, depth, heads : int
        Length of a token, transformer layers, heads.
    """

    def __init__(self, *, steps: int = 5, width: int = 256, depth: int = 4, heads: int = 8) -> None:
        super().__init__()
        if width % (4 * heads):
            raise SpecError(f"exg_width={width} must be a multiple of 4 * exg_heads={4 * heads}.")
        self.patch, self.width = STEP * steps, width
        widths = (1, width // 4, width // 2, width)
        layers: list[nn.Module] = []
        for i, (kernel, stride) in enumerate(_STEM):
            layers += [
                nn.Conv1d(widths[i], widths[i + 1], kernel, stride, padding=kernel // 2),
                nn.GELU(),
            ]
        self.stem = nn.Sequential(*layers)
        self.merge = nn.Conv1d(width, width, steps, steps)
        self.positions = nn.Parameter(torch.empty(MAX_PATCHES, width))
        self.channels = nn.Parameter(torch.empty(MAX_CHANNELS, width))
        for table in (self.positions, self.channels):
            nn.init.normal_(table, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.transformer = nn.TransformerEncoder(
            layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Encode windows.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_patches * patch)
            Standardized samples. A channel is known by its place: a left and a
            right electrode must not be mixed up.

        Returns
        -------
        Tensor, shape (n, n_patches, width)
            One vector per patch, the mean over its channels.

        Raises
        ------
        SpecError
            With more than 64 patches or 16 channels.
        """
        n, n_channels, n_times = signal.shape
        n_patches = n_times // self.patch
        if n_patches > MAX_PATCHES or n_channels > MAX_CHANNELS:
            raise SpecError(
                f"{n_channels} channels of {n_patches} patches do not fit: align at most "
                f"{MAX_CHANNELS} channels and {MAX_PATCHES} patches; pass shorter windows or a "
                "longer patch_seconds."
            )
        flat = signal[..., : n_patches * self.patch].reshape(n * n_channels, 1, -1)
        x = self.merge(self.stem(flat)).transpose(1, 2)
        x = x.view(n, n_channels, n_patches, self.width)
        x = x + self.positions[:n_patches] + self.channels[:n_channels, None]
        return self.transformer(x.flatten(1, 2)).view_as(x).mean(dim=1)
