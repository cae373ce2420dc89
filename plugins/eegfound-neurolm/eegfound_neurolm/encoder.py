"""The transformer that NeuroLM's tokenizer is made of: encoder and both decoders."""

from __future__ import annotations

from torch import Tensor, nn

from eegfound_neurolm.blocks import Block, initialize
from eegfound_neurolm.patch_embed import TemporalConv
from eegfound_neurolm.vocabulary import CHANNEL_ROWS, MAX_SECONDS


class NeuralTransformer(nn.Module):
    """Embedded patches with places, through blocks that see everything.

    Parameters
    ----------
    width, depth, heads : int
        Width of a token, blocks, heads.
    code_dim : int | None
        None: patches of signal come in (the encoder). Otherwise vectors of
        that length do, and a linear layer embeds them (a decoder).
    """

    def __init__(self, width: int, depth: int, heads: int, *, code_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.patch_embed: nn.Module = (
            TemporalConv(width) if code_dim is None else nn.Linear(code_dim, width)
        )
        self.pos_embed = nn.Embedding(CHANNEL_ROWS, width)
        self.time_embed = nn.Embedding(MAX_SECONDS, width)
        self.blocks = nn.ModuleList(Block(width, heads, bias=False) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        initialize(self, depth)

    def forward(
        self, patches: Tensor, channels: Tensor, seconds: Tensor, *, layer: int | None = None,
        n_padding: int = 0,
    ) -> Tensor:  # fmt: skip
        """Encode tokens.

        Parameters
        ----------
        patches : Tensor, shape (n, n_tokens, 200) or (n, n_tokens, code_dim)
            What is embedded.
        channels, seconds : Tensor of int64, shape (n_tokens,)
            Rows of the two tables of places.
        layer : int | None
            Blocks to run; None runs all, and the final norm.
        n_padding : int
            See :meth:`TemporalConv.forward`; only for patches of signal.

        Returns
        -------
        Tensor, shape (n, n_tokens, width)
            Tokens.
        """
        x = self.patch_embed(patches, n_padding) if n_padding else self.patch_embed(patches)
        x = x + self.pos_embed(channels) + self.time_embed(seconds)
        for block in self.blocks[:layer]:
            x = block(x)
        return self.fc_norm(x) if layer is None else x
