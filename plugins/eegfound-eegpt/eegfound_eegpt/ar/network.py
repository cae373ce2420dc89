"""Autoregressive EEGPT: electrode temporal encoder, special token, graph.

Yue et al.: "EEGPT: Unleashing the Potential of EEG Generalist Foundation Model
by Autoregressive Pre-training", arXiv 2410.19779. No code is published: what
the paper leaves open is decided here and listed in the model card.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.base import SignalWarning, SpecError
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound.nn import cut_patches, rotary_angles
from eegfound_eegpt.ar.blocks import KeysValues, Layer, TwoLayerHead, initialize, rms_norm
from eegfound_eegpt.ar.graph import TEG, pool_nodes
from eegfound_eegpt.ar.vocabulary import HOP, TOKEN, VOCABULARY, WINDOW

#: What is read of each electrode's sequence.
READ = ("signal", "last", "special")
LONG = ("segments", "stream")


class ETE(nn.Module):
    """Electrode temporal encoder: each electrode is a sequence of its own.

    Parameters
    ----------
    dim, heads, hidden, depth : int
        Sizes.
    placement : {"sublayer_out", "pre"}
        See :class:`eegfound_eegpt.ar.blocks.Layer`.
    next_signal : bool
        Whether to have the head that predicts the next token.
    """

    layers: Any  # a ModuleList of Layer

    def __init__(
        self, dim: int, heads: int, hidden: int, depth: int, placement: str, next_signal: bool
    ) -> None:
        super().__init__()
        self.head_dim = dim // heads
        self.in_proj = nn.Linear(TOKEN, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, hidden, placement) for _ in range(depth))
        self.norm = rms_norm(dim)
        if next_signal:
            self.head = TwoLayerHead(dim, TOKEN)

    def _angles(self, x: Tensor, first: int = 0) -> Tensor:
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        positions = torch.arange(first, first + x.shape[1], device=x.device, dtype=exact)
        return rotary_angles(positions, self.head_dim)

    def forward(self, x: Tensor, layer: int | None = None) -> Tensor:
        """Encode sequences.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, dim)
            Projected tokens, the electrode's own first.
        layer : int | None
            Layers to run; None runs all, and the final norm.

        Returns
        -------
        Tensor, shape (n, n_tokens, dim)
            Tokens, each of which knows those before it.
        """
        angles = self._angles(x)
        for block in self.layers[:layer]:
            x = block(x, angles)
        return self.norm(x) if layer is None else x

    def remember(self, x: Tensor, layer: int | None = None) -> list[KeysValues]:
        """Return keys and values of sequences in each layer, for :meth:`append`."""
        angles = self._angles(x)
        blocks = list(self.layers[:layer])
        memory = []
        for i, block in enumerate(blocks, start=1):
            memory.append(block.keys_values(x, angles))
            if i < len(blocks):  # of the last layer nobody reads these tokens
                x = block(x, angles)
        return memory

    def append(self, x: Tensor, memory: list[KeysValues], layer: int | None = None) -> Tensor:
        """Encode one more token at the end of remembered sequences.

        Causality makes this the last token of :meth:`forward` on the whole.

        Parameters
        ----------
        x : Tensor, shape (n, 1, dim)
            The projected token.
        memory : list of (Tensor, Tensor)
            From :meth:`remember`.
        layer : int | None
            As in :meth:`forward`.

        Returns
        -------
        Tensor, shape (n, dim)
            The encoded token.
        """
        if memory:
            angles = self._angles(x, first=memory[0][0].shape[2])
            for block, past in zip(self.layers[:layer], memory):
                x = block(x, angles, past)
        return (self.norm(x) if layer is None else x)[:, 0]


class EEGPTAR(EncoderNetwork):
    """The encoder, with the graph where the read-out asks for it.

    Parameters
    ----------
    pooling : str
        ``"last"``, ``"special"``: the last signal token or the special token
        of each electrode, averaged over electrodes. ``"graph"``: special
        tokens exchanged in the graph, averaged over electrodes. Any other
        read-out is computed on the tokens that ``read`` names.
    dim, heads, depth, graph_depth : int
        Width, heads, layers of encoder and graph.
    hidden : int | None
        Width of the feed-forward layers; None is 3.5 times the width.
    placement : {"sublayer_out", "pre"}
        Where the encoder norms: the output of each sub-layer, or its input.
    hop : int
        Samples between tokens.
    long : {"segments", "stream"}
        Windows beyond 4 s: whole 4-s segments, encoded one by one and
        averaged, or one long sequence.
    read : {"signal", "last", "special"}
        Tokens of each electrode that the suite's own read-outs see.
    next_signal : bool
        Whether to have the pretraining head (``ete.head``).
    tasks : mapping of str to int | None
        Number of outputs of each task's head (``heads.<task>``).
    head_dropout : float
        Dropout in the heads of tasks.
    """

    optional_state = ("special_token", "teg.*", "ete.head.*", "heads.*")

    def __init__(
        self, *, pooling: str = "mean", dim: int = 128, heads: int = 4, depth: int = 3,
        graph_depth: int = 3, hidden: int | None = None, placement: str = "sublayer_out",
        hop: int = HOP, long: str = "segments", read: str = "signal", next_signal: bool = False,
        tasks: Mapping[str, int] | None = None, head_dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, allowed in (("long", long, LONG), ("read", read, READ)):
            if value not in allowed:
                raise SpecError(f"{name}={value!r} is not one of {allowed}.")
        if dim % (2 * heads):
            raise SpecError(f"dim={dim} must be a multiple of twice heads={heads}.")
        if not isinstance(hop, int) or not 1 <= hop <= TOKEN:
            raise SpecError(f"hop={hop!r} must be a whole number of samples from 1 to {TOKEN}.")
        self.pooling, self.hop, self.long = pooling, hop, long
        self.read = pooling if pooling in READ else "special" if pooling == "graph" else read
        self.width, self.n_layers = dim, depth
        hidden = 7 * dim // 2 if hidden is None else hidden
        self.electrode_embed = nn.Parameter(torch.empty(len(VOCABULARY), TOKEN))
        self.special_token = nn.Parameter(torch.empty(TOKEN))
        self.ete = ETE(dim, heads, hidden, depth, placement, next_signal)
        if pooling == "graph":
            self.teg = TEG(len(VOCABULARY), dim, heads, hidden, graph_depth)
        if tasks:
            self.heads = nn.ModuleDict(
                {task: TwoLayerHead(dim, n, head_dropout) for task, n in tasks.items()}
            )
        self._initialize(placement)

    def _initialize(self, placement: str) -> None:
        initialize(self)
        nn.init.normal_(self.ete.in_proj.weight, std=TOKEN**-0.5)
        if placement == "pre":  # keeps the stream's size whatever the depth
            with torch.no_grad():
                for layer in self.ete.layers:
                    layer.attn.o_proj.weight.mul_((2 * self.n_layers) ** -0.5)
                    layer.ffn.down_proj.weight.mul_((2 * self.n_layers) ** -0.5)

    def segments(self, signal: Tensor) -> Tensor:
        """Cut long windows, ``(..., n_times)``, into ``(..., n_segments, n_samples)``."""
        n_times = signal.shape[-1]
        if self.long == "stream" or n_times <= WINDOW:
            return signal.unsqueeze(-2)
        self._warn_of_unused(n_times, n_times // WINDOW * WINDOW)
        return cut_patches(signal, WINDOW)

    @staticmethod
    def _warn_of_unused(n_times: int, used: int) -> None:
        if n_times - used > 0.1 * n_times:
            warnings.warn(
                f"Windows of {n_times / TOKEN:.3g} s hold {used // WINDOW} whole segments of 4 s; "
                f"the last {(n_times - used) / TOKEN:.3g} s are not used. Pass windows of a "
                "multiple of 4 s, or model_params={'long': 'stream'}.",
                SignalWarning,
                stacklevel=3,
            )

    def tokens(self, signal: Tensor) -> Tensor:
        """Cut signals, ``(..., n_times)``, into raw tokens ``(..., n_tokens, 256)``."""
        return cut_patches(signal, TOKEN, self.hop)

    def embed(self, signal: Tensor, rows: Tensor, *, special: bool = False) -> Tensor:
        """Return projected sequences: electrode, signal tokens, and the special one.

        Parameters
        ----------
        signal : Tensor, shape (..., n_times)
            In units of 0.1 mV at 256 Hz.
        rows : Tensor of int64
            Rows of the electrodes in the vocabulary; broadcasts against the
            signal without its last axis.
        special : bool
            Whether to put the special token at the end.

        Returns
        -------
        Tensor, shape (..., 1 + n_tokens (+ 1), dim)
            Input of :class:`ETE`, before flattening.
        """
        tokens = self.ete.in_proj(self.tokens(signal))
        one = (*tokens.shape[:-2], 1, tokens.shape[-1])
        electrode = self.ete.in_proj(self.electrode_embed[rows]).unsqueeze(-2)
        parts = [electrode.expand(one), tokens]
        if special:
            parts.append(self.ete.in_proj(self.special_token).expand(one))
        return torch.cat(parts, dim=-2)

    def encode(
        self, signal: Tensor, rows: Tensor, *, special: bool = False, layer: int | None = None
    ) -> Tensor:
        """Encode each electrode's sequence; arguments as in :meth:`embed`.

        Returns
        -------
        Tensor, shape (..., 1 + n_tokens (+ 1), dim)
            Electrode token, signal tokens, special token; normed unless
            ``layer`` names an earlier layer.
        """
        x = self.embed(signal, rows, special=special)
        return self.ete(x.flatten(0, -3), layer).view(x.shape)

    def remember(self, signal: Tensor, rows: Tensor, layer: int | None = None) -> list[KeysValues]:
        """Return all that the special token will see of segments.

        Parameters
        ----------
        signal : Tensor, shape (n, n_segments, n_times)
            Segments of single electrodes.
        rows : Tensor of int64, shape (n,)
            Rows of the electrodes in the vocabulary.
        layer : int | None
            Layers to run.

        Returns
        -------
        list of (Tensor, Tensor)
            Per layer, of ``n * n_segments`` sequences.
        """
        return self.ete.remember(self.embed(signal, rows[:, None]).flatten(0, 1), layer)

    def summarize(self, memory: list[KeysValues], n: int, layer: int | None = None) -> Tensor:
        """Encode the special token after remembered segments.

        Returns
        -------
        Tensor, shape (n, dim)
            One vector per electrode, averaged over its segments.
        """
        token = self.ete.in_proj(self.special_token)
        count = memory[0][0].shape[0] if memory else n
        z = self.ete.append(token.expand(count, 1, -1), memory, layer)
        return z.view(n, -1, z.shape[-1]).mean(dim=1)

    def represent(self, signal: Tensor, rows: Tensor, layer: int | None = None) -> Tensor:
        """Return the representation of single electrodes.

        Only the special token is trained where the encoder is frozen: the
        sequences before it are then encoded without gradients.

        Parameters
        ----------
        signal : Tensor, shape (n, n_times)
            Signals of single electrodes.
        rows : Tensor of int64, shape (n,)
            Rows of the electrodes in the vocabulary.
        layer : int | None
            Layers to run.

        Returns
        -------
        Tensor, shape (n, dim)
            The special token of each electrode, averaged over segments.
        """
        frozen = not any(p.requires_grad for p in (*self.ete.parameters(), self.electrode_embed))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            memory = self.remember(self.segments(signal), rows, layer)
        return self.summarize(memory, len(signal), layer)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`.

        The tokens are those of the read-out: per electrode all signal tokens,
        the last of each segment, one special token, or one node of the graph.
        """
        n, n_channels, _ = batch.signal.shape
        channels = torch.arange(n_channels, device=batch.signal.device)
        if self.read == "special":
            z = self.represent(batch.signal.flatten(0, 1), batch.rows.repeat(n), layer)
            z = z.view(n, n_channels, self.width)
            if self.pooling == "graph":
                z = self.teg(z, batch.rows)
            return Tokens(z, channels, torch.full_like(channels, -1))
        x = self.encode(self.segments(batch.signal), batch.rows[:, None], layer=layer)
        x = x[..., -1:, :] if self.read == "last" else x[..., 1:, :]
        per_channel = x.shape[2] * x.shape[3]
        times = torch.arange(per_channel, device=x.device).repeat(n_channels)
        return Tokens(x.flatten(1, 3), channels.repeat_interleave(per_channel), times)

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Average the model's own read-outs over electrodes (and segments)."""
        return pool_nodes(tokens.values) if pooling in ("last", "special", "graph") else None

    def with_readout(self, special_token: nn.Parameter, teg: TEG) -> EEGPTAR:
        """Return this network with another special token and graph.

        Everything else is shared, not copied.
        """
        other = copy.copy(self)
        other._parameters = {**self._parameters, "special_token": special_token}
        other._modules = {**self._modules, "teg": teg}
        return other

    def readout_parameters(self) -> set[str]:
        """Return what transfer trains beside the head: special token and graph."""
        if self.read != "special":
            return set()
        graph = {name for name, _ in self.named_parameters() if name.startswith("teg.")}
        return {"special_token"} | graph

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Leave out graph and heads that this read-out does not have."""
        own = set(self.state_dict())
        spare = ("teg.", "ete.head.", "heads.")
        dropped = tuple(key for key in state if key not in own and key.startswith(spare))
        return {key: value for key, value in state.items() if key not in dropped}, dropped

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of attention in every layer."""
        return tuple(f"ete.layers.*.attn.{part}_proj" for part in "qkvo")

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter; graph and heads stand at the output side."""
        if name in ("electrode_embed", "special_token") or name.startswith("ete.in_proj."):
            return 0
        if name.startswith("ete.layers."):
            return int(name.split(".")[2]) + 1
        return self.n_layers + 1

    def no_weight_decay(self) -> set[str]:
        """Return the tables that are not decayed."""
        tables = {"electrode_embed", "special_token"}
        return tables | ({"teg.node_embed"} if self.pooling == "graph" else set())


def build_encoder(**config: object) -> EEGPTAR:
    """Build the network; see :class:`EEGPTAR` for the options."""
    return EEGPTAR(**config)  # type: ignore[arg-type]
