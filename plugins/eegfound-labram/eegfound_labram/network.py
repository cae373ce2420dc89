"""LaBraM's encoder.

Jiang, Zhao, Lu: "Large Brain Model for Learning Generic Representations with
Tremendous EEG Data in BCI", ICLR 2024. Names of parameters are those of the
published state dicts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound_labram.blocks import Block, initialize, place_tokens
from eegfound_labram.patch_embed import TemporalConv
from eegfound_labram.vocabulary import MAX_PATCHES, PATCH, VOCABULARY


class LaBraM(EncoderNetwork):
    """LaBraM's encoder.

    Parameters
    ----------
    pooling : str
        ``"mean"``: no norm on tokens, ``fc_norm`` after the mean over patch
        tokens. ``"cls"``: ``norm`` on all tokens. Any other read-out is
        computed on tokens that went through ``fc_norm`` one by one.
    out_chans : int
        Filters of the temporal convolutions; the width is 25 times that.
    depth, num_heads : int
        Blocks and heads.
    qkv_bias, qk_norm : bool
        See :class:`Attention`.
    init_values : float
        Initial LayerScale; 0 leaves it out.
    drop_rate, attn_drop_rate, drop_path_rate : float
        Dropout in training; stochastic depth grows linearly over blocks.
    num_classes : int
        Outputs of the reference's own head (0: none). The suite's heads are
        used instead; this one serves published fine-tuned files and goldens.
    init_scale : float
        Factor on the initial head.
    transfer_norm : bool
        Fill ``fc_norm`` from the pretrained final ``norm`` when a file has only
        that; the reference starts it fresh.
    """

    optional_state = ("fc_norm.*", "norm.*", "head.*")

    def __init__(
        self, *, pooling: str = "mean", out_chans: int = 8, depth: int = 12, num_heads: int = 10,
        qkv_bias: bool = False, qk_norm: bool = True, init_values: float = 0.1,
        drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
        num_classes: int = 0, init_scale: float = 0.001, transfer_norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pooling, self.transfer_norm = pooling, transfer_norm
        self.width, self.n_layers = 25 * out_chans, depth
        dim = self.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, len(VOCABULARY) + 1, dim))
        self.time_embed = nn.Parameter(torch.zeros(1, MAX_PATCHES, dim))
        self.pos_drop = nn.Dropout(drop_rate)
        self.patch_embed = TemporalConv(out_chans)
        rates = [drop_path_rate * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList(
            Block(
                dim, num_heads, qkv_bias=qkv_bias, qk_norm=qk_norm, init_values=init_values,
                drop=drop_rate, attn_drop=attn_drop_rate, drop_path=rate,
            )
            for rate in rates
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim, eps=1e-6) if pooling == "cls" else nn.Identity()
        self.fc_norm = None if pooling == "cls" else nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        initialize(self)
        if isinstance(self.head, nn.Linear):
            with torch.no_grad():
                self.head.weight.mul_(init_scale)
                self.head.bias.mul_(init_scale)

    def embed(self, signal: Tensor) -> Tensor:
        """Return patch embeddings, channel by channel.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_patches * 200)
            In units of 0.1 mV at 200 Hz.

        Returns
        -------
        Tensor, shape (n, n_channels * n_patches, width)
            Without electrode or time.
        """
        n, n_channels, n_times = signal.shape
        return self.patch_embed(signal.reshape(n, n_channels * (n_times // PATCH), PATCH))

    def encode(
        self, patches: Tensor, rows: Tensor, *, cls_row: int = 0, layer: int | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Run the transformer on embedded patches.

        Parameters
        ----------
        patches : Tensor, shape (n, n_channels * n_patches, width)
            From :meth:`embed`.
        rows : Tensor of int64, shape (n_channels,)
            0-based places of the electrodes in the vocabulary.
        cls_row : int
            Row of the electrode table that the class token gets.
        layer : int | None
            Blocks to run; None runs all, and the final norm.
        wanted : Tensor of bool | None, shape (n, 1 + n_channels * n_patches)
            Tokens that are asked for, which makes the last block cheaper.

        Returns
        -------
        Tensor, shape (n, 1 + n_channels * n_patches, width) or (n_wanted, width)
            Class token and patch tokens.
        """
        x = self.pos_drop(place_tokens(self, patches, rows, cls_row=cls_row))
        blocks = self.blocks[:layer]
        for block in blocks[:-1]:
            x = block(x)
        for block in blocks[-1:]:
            x = block(x, wanted)
        return self.norm(x) if layer is None else x

    def patch_tokens(self, signal: Tensor, rows: Tensor) -> Tensor:
        """Return normed patch tokens without the class token."""
        x = self.encode(self.embed(signal), rows)[:, 1:]
        return x if self.fc_norm is None else self.fc_norm(x)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`."""
        n_channels = batch.signal.shape[1]
        x = self.encode(self.embed(batch.signal), batch.rows, layer=layer)
        if layer is None and self.pooling not in ("mean", "cls") and self.fc_norm is not None:
            x = self.fc_norm(x)
        n_patches = (x.shape[1] - 1) // n_channels
        channels = torch.arange(n_channels, device=x.device).repeat_interleave(n_patches)
        times = torch.arange(n_patches, device=x.device).repeat(n_channels)
        none = torch.full((1,), -1, device=x.device)
        return Tokens(x, torch.cat([none, channels]), torch.cat([none, times]))

    def read_out(self, tokens: Tensor) -> Tensor:
        """Pool what :meth:`encode` returned, as the reference does."""
        if self.fc_norm is None:
            return tokens[:, 0]
        return self.fc_norm(tokens[:, 1:].mean(dim=1))

    def finish_pooling(self, pooled: Tensor) -> Tensor:
        """Apply ``fc_norm`` after the mean (the reference norms last)."""
        if self.pooling == "mean" and self.fc_norm is not None:
            return self.fc_norm(pooled)
        return pooled

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Leave out the norms and the head that this read-out does not have."""
        own = set(self.state_dict())
        if self.transfer_norm and "fc_norm.weight" in own and "norm.weight" in state:
            state = {
                f"fc_norm.{part}": state[f"norm.{part}"] for part in ("weight", "bias")
            } | state
        spare = ("norm.", "fc_norm.", "head.")
        dropped = tuple(key for key in state if key not in own and key.startswith(spare))
        return {key: value for key, value in state.items() if key not in dropped}, dropped

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of attention in every block."""
        return ("blocks.*.attn.qkv", "blocks.*.attn.proj")

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter as the reference's fine-tuning has it.

        ``time_embed`` counts as output side there, unlike ``pos_embed``.
        """
        if name in ("cls_token", "mask_token", "pos_embed") or name.startswith("patch_embed."):
            return 0
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.n_layers + 1

    def no_weight_decay(self) -> set[str]:
        """Return the tables that are not decayed."""
        return {"pos_embed", "cls_token", "time_embed"}


def build_encoder(**config: object) -> LaBraM:
    """Build the encoder; see :class:`LaBraM` for the options."""
    return LaBraM(**config)  # type: ignore[arg-type]
