"""The authors' linear probes on the frozen encoder, as torch modules.

Names of parameters are those of the authors' task modules.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn import MaxNormConv1d, MaxNormLinear
from eegfound.nn.slices import VOCABULARY, SliceEncoder
from eegfound_eegpt.dual.recipes import ProbeRecipe


def interpolate(signal: Tensor, n_times: int, *, average: bool = True) -> Tensor:
    """Change the number of samples by taking the nearest ones before.

    Parameters
    ----------
    signal : Tensor, shape (n, n_channels, n_times_in)
        Samples.
    n_times : int
        Samples afterwards: ``out[j] = in[floor(j * n_times_in / n_times)]``,
        without an anti-aliasing filter.
    average : bool
        Whether the mean over channels is subtracted first.

    Returns
    -------
    Tensor, shape (n, n_channels, n_times)
        Samples.
    """
    if average:
        signal = signal - signal.mean(dim=-2, keepdim=True)
    return F.interpolate(signal, size=n_times, mode="nearest")


def rows_of(electrodes: tuple[str, ...]) -> list[int]:
    """Return the row of each electrode in the table of channels."""
    return [VOCABULARY.index(name) for name in electrodes]


class FrozenEncoderModule(nn.Module):
    """A module whose ``target_encoder`` stays in evaluation mode and gets no gradient."""

    def __init__(self, encoder: SliceEncoder, electrodes: tuple[str, ...]) -> None:
        super().__init__()
        self.target_encoder = encoder.requires_grad_(False).eval()
        self.electrodes = electrodes

    def train(self, mode: bool = True) -> FrozenEncoderModule:
        """Set the mode of everything but the encoder."""
        super().train(mode)
        self.target_encoder.eval()
        return self

    def encode(self, signal: Tensor) -> Tensor:
        """Return summary tokens, ``(n, n_slices, n_summary, width)``."""
        ids = torch.tensor(rows_of(self.electrodes), device=signal.device)
        return self.target_encoder.encode(signal, ids)


class LinearProbe(FrozenEncoderModule):
    """Spatial filter, frozen encoder and two linear maps (the published recipe).

    Parameters
    ----------
    encoder : SliceEncoder
        Of a stride that fits the recipe; frozen here.
    recipe : ProbeRecipe
        What goes in; see :data:`eegfound_eegpt.dual.recipes.PROBES`.
    hidden : int
        Features per slice.
    dropout : float
        Before the first map.
    """

    def __init__(
        self, encoder: SliceEncoder, recipe: ProbeRecipe, *, hidden: int = 16, dropout: float = 0.5
    ) -> None:
        super().__init__(encoder, recipe.electrodes)
        self.recipe = recipe
        n_electrodes = len(recipe.electrodes)
        if recipe.spatial_filter:
            self.chan_conv = MaxNormConv1d(recipe.n_channels, n_electrodes, 1, max_norm=1.0)
        elif recipe.picks is not None:
            self.chan_scale = nn.Parameter(1 + 0.001 * torch.rand(1, n_electrodes, 1))
        self.dropout = nn.Dropout(dropout)
        self.linear_probe1 = MaxNormLinear(encoder.n_summary * encoder.width, hidden, max_norm=1.0)
        self.linear_probe2 = MaxNormLinear(
            self.n_head_inputs(hidden), recipe.n_outputs, max_norm=0.25
        )

    def n_head_inputs(self, hidden: int) -> int:
        """Return the number of features that the last map reads."""
        return hidden * self.recipe.n_slices

    def adapt(self, signal: Tensor) -> Tensor:
        """Bring the recipe's input to the encoder's electrodes, ``(n, n_electrodes, n_times)``."""
        recipe = self.recipe
        x = signal * recipe.scale
        if recipe.center:
            x = x - x.mean(dim=-2, keepdim=True)
        if recipe.resample_to is not None:
            x = interpolate(x, recipe.resample_to)
        if recipe.picks is not None:
            return x[:, list(recipe.picks)] * self.chan_scale
        return self.chan_conv(x) if recipe.spatial_filter else x

    def features(self, z: Tensor) -> Tensor:
        """Return the first map of summary tokens, ``(n, n_slices, hidden)``."""
        out: Tensor = self.linear_probe1(self.dropout(z.flatten(2)))
        return out

    def classify(self, features: Tensor) -> Tensor:
        """Return logits of :meth:`features`."""
        out: Tensor = self.linear_probe2(features.flatten(1))
        return out

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits, ``(n, n_outputs)``, of ``(n, n_channels, n_times)``."""
        return self.classify(self.features(self.encode(self.adapt(signal))))


def degenerate_position_code(n: int, width: int) -> Tensor:
    """Return the sleep head's code of positions, ``(n, width)``.

    Its frequencies were cast to integers: only the first is not zero, so the
    first pair is ``(sin n, cos n)`` and all others are ``(0, 1)``.
    """
    code = torch.zeros(n, width)
    code[:, 1::2] = 1
    places = torch.arange(n, dtype=torch.float32)
    code[:, 0], code[:, 1] = places.sin(), places.cos()
    return code


class SleepProbe(LinearProbe):
    """The probe for sleep stages: a small decoder over the slices of half a minute.

    Parameters
    ----------
    encoder : SliceEncoder
        Frozen here.
    recipe : ProbeRecipe
        ``PROBES["sleepedf"]``.
    hidden : int
        Features per slice.
    dropout : float
        Before the first map.

    Notes
    -----
    The decoder is called with the same sequence as target and as memory.
    """

    def __init__(
        self, encoder: SliceEncoder, recipe: ProbeRecipe, *, hidden: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__(encoder, recipe, hidden=hidden, dropout=dropout)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden))
        layer = nn.TransformerDecoderLayer(
            hidden, 4, 4 * hidden, activation="gelu", batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, 4)

    def n_head_inputs(self, hidden: int) -> int:
        """Return the number of features that the last map reads: the class token's."""
        return hidden

    def classify(self, features: Tensor) -> Tensor:
        """Return logits of :meth:`features`."""
        n, n_slices, width = features.shape
        coded = features + degenerate_position_code(n_slices, width).to(features)
        x = torch.cat([self.cls_token.expand(n, 1, -1), coded], dim=1)
        out: Tensor = self.linear_probe2(self.decoder(x, x)[:, 0])
        return out
