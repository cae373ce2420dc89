"""A complete model in a few lines, for tests and as a pattern for plugins.

It needs no weights on disk and has every trait the contract speaks of: a
vocabulary, patches, a class token, a limit on window length, layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eegfound.models import FoundationModel, InputSpec
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens

#: The 19 electrodes of the 10-20 system, front to back.
ELECTRODES = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8",
    "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)  # fmt: skip


class ToyEncoder(EncoderNetwork):
    """A linear patch embedding and a few mixing layers.

    Parameters
    ----------
    pooling : str
        Read-out (changes nothing here).
    width : int
        Length of a token.
    depth : int
        Number of layers.
    patch : int
        Samples per patch.
    """

    def __init__(self, *, pooling: str = "mean", width: int = 16, depth: int = 2, patch: int = 100):
        super().__init__()
        self.width, self.n_layers, self.patch = width, depth, patch
        self.embed = nn.Linear(patch, width)
        self.electrode = nn.Embedding(len(ELECTRODES), width)
        self.cls_token = nn.Parameter(0.1 * torch.randn(1, 1, width))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Return one token per electrode and patch, and a class token first."""
        signal = batch.signal
        n, n_channels, n_times = signal.shape
        n_patches = n_times // self.patch
        patches = signal.reshape(n, n_channels, n_patches, self.patch)
        tokens = self.embed(patches) + self.electrode(batch.rows)[None, :, None]
        x = torch.cat([self.cls_token.expand(n, 1, -1).to(signal), tokens.flatten(1, 2)], dim=1)
        for block in self.layers[: layer if layer is not None else len(self.layers)]:
            x = x + block(x) + block(x.mean(dim=1, keepdim=True))
        if layer is None:
            x = self.norm(x)
        channels = torch.arange(n_channels, device=x.device).repeat_interleave(n_patches)
        times = torch.arange(n_patches, device=x.device).repeat(n_channels)
        none = torch.full((1,), -1, device=x.device)
        return Tokens(x, torch.cat([none, channels]), torch.cat([none, times]))

    def layer_index(self, name: str) -> int:
        """Return 0 for embeddings, i + 1 for layer i, the top for the norm."""
        if name.startswith("layers."):
            return int(name.split(".")[1]) + 1
        return self.n_layers + 1 if name.startswith("norm.") else 0

    def no_weight_decay(self) -> set[str]:
        """Return the token that is not decayed."""
        return {"cls_token"}


def build_toy(**config: Any) -> ToyEncoder:
    """Build the toy network."""
    return ToyEncoder(**config)


def toy_model(name: str = "toy", **changes: Any) -> FoundationModel:
    """Return the declaration of the toy model.

    Parameters
    ----------
    name : str
        Name to register it under.
    **changes : Any
        Other fields of the declaration.

    Returns
    -------
    FoundationModel
        For ``registry.registered(toy_model())``.
    """
    fields: dict[str, Any] = {
        "name": name,
        "summary": "A toy network for tests",
        "input": InputSpec(
            sfreq=100.0, patch_samples=100, max_samples=400, unit="uV", scale=0.01,
            vocabulary=ELECTRODES, default_channel="Cz", band=(0.5, 40.0),
        ),
        "network": "eegfound.testing.toy:build_toy",
        "sizes": {"small": {}, "wide": {"width": 32}},
        "default_size": "small",
    }  # fmt: skip
    return FoundationModel(**(fields | changes))
