from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound.nn import Objective, cut_patches, hide_largest
from eegfound.testing.golden import fill_network


class TinyMAE(EncoderNetwork):
    def __init__(self, *, pooling="mean", width=64, depth=2):
        super().__init__()
        self.width, self.n_layers = width, depth
        self.patch = nn.Linear(64, width)
        self.place = nn.Linear(4, width)
        self.hidden_token = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, batch, layer=None, hidden=None):
        x = self.patch(cut_patches(batch.signal, 64))
        if hidden is not None:  # (n_epochs, n_channels, n_patches), True where hidden
            x = torch.where(hidden[..., None], self.hidden_token, x)
        n_channels, n_patches = x.shape[1:3]
        index = torch.arange(n_channels * n_patches, device=x.device)
        channels, times = index // n_patches, index % n_patches
        where = torch.cat([10 * batch.positions[channels].to(x), 0.1 * times[:, None]], dim=1)
        x = x.flatten(1, 2) + self.place(where)
        for block in self.blocks[:layer]:
            x = block(x)
        return Tokens(self.norm(x) if layer is None else x, channels, times)

    def layer_index(self, name):
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.n_layers + 1 if name.startswith("norm.") else 0


@dataclass(frozen=True)
class Reconstruction:
    total: Tensor


class MaskedPatches(Objective):
    def __init__(self, *, mask_ratio=0.5, **config):
        super().__init__()
        self.network, self.mask_ratio = TinyMAE(**config), mask_ratio
        self.head = nn.Linear(self.network.width, 64)

    @property
    def encoder(self):
        return self.network

    def forward(self, batch, *, generator=None):
        target = cut_patches(batch.signal, 64)
        noise = torch.rand(target.shape[:3], generator=generator).flatten(1)
        hidden = hide_largest(noise, int((1 - self.mask_ratio) * noise.shape[1]))
        hidden = hidden.view(target.shape[:3]).to(target.device)
        guess = self.head(self.network(batch, hidden=hidden).values).view(target.shape)
        return Reconstruction((guess - target)[hidden].square().mean())


def reproduce(case):
    network = TinyMAE(**case.meta["config"]).eval()
    fill_network(network, case.salt)
    signal = torch.from_numpy(case.input(case.meta["shape"]))
    positions = torch.from_numpy(case.input((signal.shape[1], 3), 0.1, tag="positions"))
    batch = SignalBatch(signal, torch.full((signal.shape[1],), -1), positions=positions)
    with torch.inference_mode():
        return {"tokens": network(batch).values.numpy()}
