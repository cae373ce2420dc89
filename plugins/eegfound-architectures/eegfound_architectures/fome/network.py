"""The FoME-style encoder: our own design around two ideas of FoME's abstract.

The ideas, a time-frequency fusion embedding and adaptive temporal-lateral
attention scaling (ATLAS), are those of arXiv 2409.12454; how they are carried
out here is our choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound.nn import cut_patches
from eegfound_architectures.plugin import PATCH

#: Rows of the table of positions in time, and bins of a patch's spectrum.
_POSITIONS, N_BINS = 64, PATCH // 2 + 1


def log_amplitude(patches: Tensor) -> Tensor:
    """Return ``log(1 + |rFFT|)`` of patches, ``(..., 250)`` to ``(..., 126)``."""
    return torch.fft.rfft(patches.float()).abs().log1p().to(patches.dtype)


class FusionEmbedding(nn.Module):
    """A patch's waveform and its spectrum, mixed by a gate per feature.

    Parameters
    ----------
    width : int
        Length of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(PATCH, width)
        self.frequency = nn.Linear(N_BINS, width)
        self.gate = nn.Linear(2 * width, width)

    def forward(self, patches: Tensor) -> Tensor:
        """Return tokens ``g * time + (1 - g) * frequency``.

        Parameters
        ----------
        patches : Tensor, shape (..., 250)
            One second in units of 0.1 mV at 250 Hz.

        Returns
        -------
        Tensor, shape (..., width)
            Tokens.
        """
        time, frequency = self.time(patches), self.frequency(log_amplitude(patches))
        gate = torch.sigmoid(self.gate(torch.cat([time, frequency], dim=-1)))
        return gate * time + (1 - gate) * frequency


class Attention(nn.Module):
    """Multi-head self-attention along the last but one axis."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among tokens, ``(..., n_tokens, width)``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-2, -3)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))


class AtlasBlock(nn.Module):
    """Temporal and lateral attention side by side, each scaled for the epoch.

    ``x + s_t * Temporal(norm(x)) + s_l * Lateral(norm(x))``, then a feed-forward
    network. The scales ``(s_t, s_l) = 2 * softmax(W mean(x) + b)`` start as
    ``(1, 1)``.

    Parameters
    ----------
    width, heads : int
        Length of a token and number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.temporal = Attention(width, heads)
        self.lateral = Attention(width, heads)
        self.scale = nn.Linear(width, 2)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def scales(self, x: Tensor) -> Tensor:
        """Return the scales of temporal and lateral attention, ``(n, 2)``."""
        return 2 * self.scale(x.mean(dim=(1, 2))).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape, ``(n, n_channels, n_patches, width)``."""
        scales = self.scales(x)[:, :, None, None, None]
        normed = self.norm1(x)
        lateral = self.lateral(normed.transpose(1, 2)).transpose(1, 2)
        x = x + scales[:, 0] * self.temporal(normed) + scales[:, 1] * lateral
        return x + self.ffn(self.norm2(x))


class FomeStyle(EncoderNetwork):
    """The FoME-style encoder (our design; see the module).

    Electrodes get no embedding: lateral attention treats them as a set, so any
    montage works and names are not needed.

    Parameters
    ----------
    pooling : str
        Read-out (changes nothing here).
    width, depth, heads : int
        Length of a token, blocks, heads.
    """

    def __init__(
        self, *, pooling: str = "mean", width: int = 128, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.width, self.n_layers = width, depth
        self.embedding = FusionEmbedding(width)
        self.positions = nn.Parameter(torch.empty(_POSITIONS, width))
        nn.init.normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(AtlasBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.out_features > 2:  # scales start at 1
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def embed(self, signal: Tensor) -> Tensor:
        """Return tokens without their place, ``(n, n_channels, n_patches, width)``."""
        return self.embedding(cut_patches(signal, PATCH))

    def encode(self, tokens: Tensor, layer: int | None = None) -> Tensor:
        """Run the blocks on embedded tokens.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_channels, n_patches, width)
            From :meth:`embed`.
        layer : int | None
            Blocks to run; None runs all, and the final norm.

        Returns
        -------
        Tensor, shape (n, n_channels, n_patches, width)
            Tokens.
        """
        x = tokens + self.positions[: tokens.shape[2]]
        for block in self.blocks[:layer]:
            x = block(x)
        return self.norm(x) if layer is None else x

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`."""
        x = self.encode(self.embed(batch.signal), layer)
        n_channels, n_patches = x.shape[1:3]
        channels = torch.arange(n_channels, device=x.device).repeat_interleave(n_patches)
        times = torch.arange(n_patches, device=x.device).repeat(n_channels)
        return Tokens(x.flatten(1, 2), channels, times)

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of attention in every block."""
        return tuple(
            f"blocks.*.{kind}.{part}"
            for kind in ("temporal", "lateral")
            for part in ("qkv", "proj")
        )

    def layer_index(self, name: str) -> int:
        """Return 0 for the embedding, ``i + 1`` for block ``i``, the top for the norm."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.n_layers + 1 if name.startswith("norm.") else 0

    def no_weight_decay(self) -> set[str]:
        """Return the table of positions, which is not decayed."""
        return {"positions"}


def build_network(**config: object) -> FomeStyle:
    """Build the network; see :class:`FomeStyle` for the options."""
    return FomeStyle(**config)  # type: ignore[arg-type]
