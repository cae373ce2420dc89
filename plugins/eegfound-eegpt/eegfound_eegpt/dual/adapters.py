"""The authors' trainable classifiers: TUH adapters and class-token read-outs.

Names of parameters are those of the authors' task modules.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from eegfound.nn import MaxNormConv1d, MaxNormLinear
from eegfound.nn.max_norm import bounded_rows
from eegfound.nn.slices import SliceEncoder
from eegfound_eegpt.dual.heads import interpolate, rows_of
from eegfound_eegpt.dual.readout import PredictorReadout, ReconstructorReadout
from eegfound_eegpt.dual.recipes import TEN_TWENTY, TUH_ELECTRODES, AdapterRecipe


class _BoundedConv2d(nn.Conv2d):
    """A 1x1 convolution whose rows have norm 1 at most (stored so while training)."""

    def forward(self, x: Tensor) -> Tensor:
        weight = bounded_rows(self.weight, 1.0)
        if self.training:
            with torch.no_grad():
                self.weight.copy_(weight)
            weight = self.weight
        return self._conv_forward(x, weight, self.bias)


class AdapterClassifier(nn.Module):
    """Convolutional adapter, encoder and one linear map over all tokens (TUAB, TUEV).

    Parameters
    ----------
    encoder : SliceEncoder
        Trained along: the authors freeze nothing here.
    recipe : AdapterRecipe
        See :data:`eegfound_eegpt.dual.recipes.ADAPTERS`.
    n_channels : int
        Channels of the input.
    electrodes : tuple of str
        Electrodes that the encoder is told.

    Notes
    -----
    ``fc_norm`` stands in the authors' files and is not used.
    """

    def __init__(
        self, encoder: SliceEncoder, recipe: AdapterRecipe, *, n_channels: int = 23,
        electrodes: tuple[str, ...] = TUH_ELECTRODES,
    ) -> None:  # fmt: skip
        super().__init__()
        self.electrodes, n = electrodes, len(electrodes)
        after = [nn.GELU()] if recipe.activation else []
        self.chan_conv = nn.Sequential(
            _BoundedConv2d(n_channels, n, 1),
            nn.BatchNorm2d(n),
            nn.GELU(),
            nn.Conv2d(
                n, n, (1, recipe.kernel), groups=n,
                padding="same" if recipe.padded else "valid",
            ),
            nn.BatchNorm2d(n),
            *after,
            nn.Dropout(recipe.dropout),
        )  # fmt: skip
        self.target_encoder = encoder
        self.fc_norm = nn.LayerNorm(encoder.width)
        n_features = recipe.n_slices * encoder.n_summary * encoder.width
        self.head = nn.Sequential(
            nn.Dropout(recipe.head_dropout), MaxNormLinear(n_features, recipe.n_outputs)
        )

    def adapt(self, signal: Tensor) -> Tensor:
        """Return what the encoder sees, ``(n, n_electrodes, n_times)``."""
        out: Tensor = self.chan_conv(signal[:, :, None])[:, :, 0]
        return out

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits of ``(n, n_channels, n_times)``."""
        ids = torch.tensor(rows_of(self.electrodes), device=signal.device)
        out: Tensor = self.head(self.target_encoder.encode(self.adapt(signal), ids).flatten(1))
        return out


class ReadoutClassifier(nn.Module):
    """Spatial filter, encoder and a read-out network with a class token.

    Parameters
    ----------
    encoder : SliceEncoder
        The encoder.
    readout : PredictorReadout | ReconstructorReadout
        The read-out network.
    n_outputs : int
        Classes.
    n_channels : int | None
        Channels of the input, filtered to ``electrodes``; None filters nothing.
    electrodes : tuple of str
        Electrodes that the encoder is told.
    use_mean : bool
        Mean of all tokens but the class token, normed by ``fc_norm``; False
        takes the class token, normed by ``norm``.
    resample_to : int | None
        Samples after nearest interpolation.
    average : bool
        Whether the interpolation subtracts the mean over channels first.
    """

    def __init__(
        self, encoder: SliceEncoder, readout: PredictorReadout | ReconstructorReadout,
        n_outputs: int, *, n_channels: int | None = None,
        electrodes: tuple[str, ...] = TEN_TWENTY, use_mean: bool = True,
        resample_to: int | None = None, average: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.electrodes, self.use_mean = electrodes, use_mean
        self.resample_to, self.average = resample_to, average
        self.chan_conv = (
            nn.Identity()
            if n_channels is None
            else nn.Sequential(MaxNormConv1d(n_channels, len(electrodes), 1))
        )
        self.target_encoder = encoder
        self.kind = "predictor" if isinstance(readout, PredictorReadout) else "reconstructor"
        self.add_module(self.kind, readout)
        self.norm_name = "fc_norm" if use_mean else "norm"
        self.add_module(self.norm_name, nn.LayerNorm(readout.out_width))
        self.head = MaxNormLinear(readout.out_width, n_outputs)

    def encode(self, signal: Tensor) -> Tensor:
        """Return the encoder's summary tokens of ``(n, n_channels, n_times)``."""
        if self.resample_to is not None:
            signal = interpolate(signal, self.resample_to, average=self.average)
        elif self.average:
            signal = signal - signal.mean(dim=-2, keepdim=True)
        ids = torch.tensor(rows_of(self.electrodes), device=signal.device)
        return self.target_encoder.encode(self.chan_conv(signal), ids)

    def pool(self, z: Tensor) -> Tensor:
        """Return the pooled features of summary tokens."""
        readout = cast(PredictorReadout | ReconstructorReadout, getattr(self, self.kind))
        x = readout.read(z)
        out: Tensor = self.get_submodule(self.norm_name)(
            x[:, 1:].mean(dim=1) if self.use_mean else x[:, 0]
        )
        return out

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits, ``(n, n_outputs)``."""
        out: Tensor = self.head(self.pool(self.encode(signal)))
        return out
