"""LaBraM's encoder.

Jiang, Zhao, Lu: "Large Brain Model for Learning Generic Representations with
Tremendous EEG Data in BCI", ICLR 2024. Names of parameters are those of the
published state dicts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound_labram.patch_embed import TemporalConv
from eegfound_labram.vocabulary import VOCABULARY

#: Samples per patch, and rows of the time table.
PATCH, MAX_PATCHES = 200, 16


class Attention(nn.Module):
    """Multi-head self-attention with optional norm of queries and keys.

    Parameters
    ----------
    dim, heads : int
        Width of a token and number of heads.
    qkv_bias : bool
        Biases of queries and values (keys have none).
    qk_norm : bool
        LayerNorm over each head's queries and keys.
    attn_drop, drop : float
        Dropout on the weights and on the output.
    """

    def __init__(
        self, dim: int, heads: int, *, qkv_bias: bool, qk_norm: bool, attn_drop: float, drop: float
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.attn_drop = heads, dim // heads, attn_drop
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.q_norm = nn.LayerNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.k_norm = nn.LayerNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return attended tokens, ``(n, n_tokens, dim)``."""
        n, n_tokens, dim = x.shape
        bias = None
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).view(n, n_tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.unbind(2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
            dropout_p=self.attn_drop if self.training else 0.0,
        )  # fmt: skip
        return self.proj_drop(self.proj(out.transpose(1, 2).reshape(n, n_tokens, dim)))


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return transformed tokens; dropout follows the second layer only."""
        return self.drop(self.fc2(F.gelu(self.fc1(x))))


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale and stochastic depth."""

    def __init__(
        self, dim: int, heads: int, *, qkv_bias: bool, qk_norm: bool, init_values: float,
        drop: float, attn_drop: float, drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(
            dim, heads, qkv_bias=qkv_bias, qk_norm=qk_norm, attn_drop=attn_drop, drop=drop
        )
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim, drop)
        scaled = init_values > 0
        self.gamma_1 = nn.Parameter(init_values * torch.ones(dim)) if scaled else None
        self.gamma_2 = nn.Parameter(init_values * torch.ones(dim)) if scaled else None
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens after attention and MLP."""
        x = self._add(x, self.attn(self.norm1(x)), self.gamma_1)
        return self._add(x, self.mlp(self.norm2(x)), self.gamma_2)

    def _add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            kept = torch.empty(len(x), 1, 1, device=x.device).bernoulli_(keep) / keep
            branch = branch * kept.to(branch.dtype)
        if not torch.is_grad_enabled():  # nobody needs the old stream: write over it
            return x.add_(branch) if gamma is None else x.addcmul_(branch, gamma)
        return x + branch if gamma is None else torch.addcmul(x, branch, gamma)


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
        Fill ``fc_norm`` from the pretrained final ``norm`` when a published
        file is loaded; the reference starts it fresh.
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

    def sequence(self, patches: Tensor, rows: Tensor, *, cls_row: int = 0) -> Tensor:
        """Add electrodes and times, and put the class token first.

        Parameters
        ----------
        patches : Tensor, shape (n, n_channels * n_patches, width)
            From :meth:`embed`.
        rows : Tensor of int64, shape (n_channels,)
            0-based places of the electrodes in the vocabulary.
        cls_row : int
            Row of the table that the class token gets.

        Returns
        -------
        Tensor, shape (n, 1 + n_channels * n_patches, width)
            The transformer's input.
        """
        n, count, dim = patches.shape
        n_patches = count // len(rows)
        place = self.pos_embed[0, rows + 1][:, None] + self.time_embed[0, :n_patches]
        x = patches.new_empty((n, 1 + count, dim)) if not torch.is_grad_enabled() else None
        cls = self.cls_token[0, 0] + self.pos_embed[0, cls_row]
        if x is not None:
            x[:, 0] = cls
            torch.add(patches, place.reshape(count, dim), out=x[:, 1:])
        else:
            x = torch.cat([cls.expand(n, 1, dim), patches + place.reshape(count, dim)], dim=1)
        return self.pos_drop(x)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`."""
        n_channels = batch.signal.shape[1]
        x = self.sequence(self.embed(batch.signal), batch.rows)
        for block in self.blocks[:layer]:
            x = block(x)
        if layer is None:
            x = self.norm(x)
            if self.pooling not in ("mean", "cls") and self.fc_norm is not None:
                x = self.fc_norm(x)
        n_patches = (x.shape[1] - 1) // n_channels
        channels = torch.arange(n_channels, device=x.device).repeat_interleave(n_patches)
        times = torch.arange(n_patches, device=x.device).repeat(n_channels)
        none = torch.full((1,), -1, device=x.device)
        return Tokens(x, torch.cat([none, channels]), torch.cat([none, times]))

    def finish_pooling(self, pooled: Tensor) -> Tensor:
        """Apply ``fc_norm`` after the mean (the reference norms last)."""
        if self.pooling == "mean" and self.fc_norm is not None:
            return self.fc_norm(pooled)
        return pooled

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Leave out the norms and the head that this read-out does not have."""
        own = set(self.state_dict())
        spare = ("norm.", "fc_norm.", "head.")
        dropped = tuple(key for key in state if key not in own and key.startswith(spare))
        return {key: value for key, value in state.items() if key not in dropped}, dropped

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


def initialize(network: nn.Module, *, cut: float = 2.0, convolutions: bool = False) -> None:
    """Draw initial weights as the reference does.

    Parameters
    ----------
    network : Module
        With ``cls_token``, ``pos_embed``, ``time_embed`` and ``blocks``.
    cut : float
        Absolute value at which the normal distribution of spread 0.02 is cut.
    convolutions : bool
        Whether convolutions are drawn so too, with zero bias.
    """
    for table in ("cls_token", "mask_token", "pos_embed", "time_embed"):
        if isinstance(getattr(network, table, None), nn.Parameter):
            nn.init.trunc_normal_(getattr(network, table), std=0.02, a=-cut, b=cut)
    kinds = (nn.Linear, nn.Conv2d) if convolutions else (nn.Linear,)
    for module in network.modules():
        if isinstance(module, kinds):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-cut, b=cut)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for i, block in enumerate(network.blocks, start=1):
            block.attn.proj.weight.div_((2 * i) ** 0.5)
            block.mlp.fc2.weight.div_((2 * i) ** 0.5)


def build_encoder(**config: object) -> LaBraM:
    """Build the encoder; see :class:`LaBraM` for the options."""
    return LaBraM(**config)  # type: ignore[arg-type]
