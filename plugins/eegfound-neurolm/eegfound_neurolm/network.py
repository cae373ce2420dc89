"""NeuroLM: neural tokenizer, and the language model that reads its features.

Jiang, Wang, Lu, Li: "NeuroLM: A Universal Multi-task Foundation Model for
Bridging the Gap between Language and EEG Signals", ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound_neurolm.encoder import NeuralTransformer
from eegfound_neurolm.language import GPT2
from eegfound_neurolm.prompt import Prompt
from eegfound_neurolm.vocabulary import (
    CHANNEL_ROWS,
    MAX_SECONDS,
    MAX_TOKENS,
    PAD,
    PATCH,
    TEXT_ROWS,
)

FEATURES = ("encoder", "lm", "prompt")


def lay_out(batch: SignalBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Bring patches into NeuroLM's order: second by second, all channels in each.

    Parameters
    ----------
    batch : SignalBatch
        ``(n, n_channels, n_seconds * 200)`` in units of 0.1 mV, 200 Hz.

    Returns
    -------
    patches : Tensor, shape (n, n_seconds * n_channels, 200)
        Token ``t * n_channels + c`` is second ``t`` of channel ``c``.
    channels, seconds : Tensor of int64, shape (n_seconds * n_channels,)
        Index of each token in the authors' channel list, and its second.
    """
    n, n_channels, n_times = batch.signal.shape
    n_seconds = n_times // PATCH
    grid = batch.signal[..., : n_seconds * PATCH].reshape(n, n_channels, n_seconds, PATCH)
    patches = grid.transpose(1, 2).reshape(n, n_seconds * n_channels, PATCH)
    index = batch.rows + (batch.rows >= PAD).to(batch.rows.dtype)
    seconds = torch.arange(n_seconds, device=patches.device).repeat_interleave(n_channels)
    return patches, index.repeat(n_seconds), seconds


def one_sequence(batch: SignalBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out windows that must fit into one sequence; see :func:`lay_out`.

    Raises
    ------
    SpecError
        If there are too many tokens, or seconds.
    """
    patches, channels, seconds = lay_out(batch)
    n_seconds = int(seconds[-1]) + 1
    if patches.shape[1] > MAX_TOKENS or n_seconds > MAX_SECONDS:
        raise SpecError(
            f"{batch.signal.shape[1]} channels x {n_seconds} s are {patches.shape[1]} tokens; "
            f"pretraining takes one sequence of at most {MAX_TOKENS} and {MAX_SECONDS} s: use "
            "shorter windows."
        )
    return patches, channels, seconds


class NeuroLM(EncoderNetwork):
    """NeuroLM's encoder, with its language model where that is asked for.

    Parameters
    ----------
    pooling : str
        Read-out (changes nothing here).
    width, depth, heads : int
        Encoder: width of a token, blocks, heads.
    lm_width, lm_depth, lm_heads : int
        The same of GPT-2.
    n_codes, code_dim : int
        Codes of the tokenizer (rows of the head after the text) and their
        length; only the head and the objectives use them.
    features : {"encoder", "lm", "prompt"}
        Tokens that come out: the encoder's, the language model's last hidden
        states, or one token that holds the log-probability of each option of a
        prompt.
    prompt : sequence of int
        For ``"prompt"``: GPT-2 ids of the question.
    options : sequence of sequence of int
        For ``"prompt"``: GPT-2 ids of each answer; see :class:`Prompt`.
    padded_tokens : int | None
        Tokens up to which GroupNorm sees zeros, 1024 as the authors' loader
        fills sequences. None: no padding.
    text_rows : int
        Words of the language model; 0 builds one that knows EEG only.
    tokenizer : NeuralTransformer | None
        An encoder to use instead of a new one.
    """

    def __init__(
        self, *, pooling: str = "mean", width: int = 768, depth: int = 12, heads: int = 12,
        lm_width: int = 768, lm_depth: int = 12, lm_heads: int = 12, n_codes: int = 8192,
        code_dim: int = 128, features: str = "encoder", prompt: Sequence[int] = (),
        options: Sequence[Sequence[int]] = (), padded_tokens: int | None = None,
        text_rows: int = TEXT_ROWS, tokenizer: NeuralTransformer | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if features not in FEATURES:
            raise SpecError(f"features={features!r} is not one of {FEATURES}.")
        if features != "prompt" and (len(prompt) or len(options)):
            raise SpecError("prompt and options need features='prompt'.")
        if features == "prompt" and text_rows < TEXT_ROWS:
            raise SpecError("features='prompt' needs words: use a size with text_rows=50304.")
        self.features, self.padded_tokens, self.depth = features, padded_tokens, depth
        self.tokenizer = NeuralTransformer(width, depth, heads) if tokenizer is None else tokenizer
        self.width, self.n_layers = width, depth
        self.prompt: Prompt | None = None
        if features == "encoder":
            return
        self.GPT2 = GPT2(lm_width, lm_depth, lm_heads, n_codes, text_rows=text_rows)
        self.pos_embed = nn.Embedding(CHANNEL_ROWS, lm_width)
        nn.init.normal_(self.pos_embed.weight, std=0.02)
        self.encode_transform_layer: nn.Module = (
            nn.Identity()
            if lm_width == width
            else nn.Sequential(nn.Linear(width, lm_width), nn.GELU())
        )
        self.width, self.n_layers = lm_width, depth + lm_depth
        if features == "prompt":
            self.prompt = Prompt.of(prompt, options)
            self.width = len(self.prompt.answers)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`.

        Windows with more than 1024 tokens (channels times seconds) are cut
        into pieces of almost equal length, each a sequence of its own.

        Raises
        ------
        SpecError
            With more than 1024 channels, or ``layer=`` beside a prompt.
        """
        if self.prompt is not None and layer is not None:
            raise SpecError("features='prompt' gives scores, which have no layer: use layer=None.")
        n_channels = batch.signal.shape[1]
        if n_channels > MAX_TOKENS:
            raise SpecError(
                f"{n_channels} channels do not fit: NeuroLM takes {MAX_TOKENS} tokens at a time. "
                "Put MontageMapper(info=info, target='neurolm') before it."
            )
        values, times = [], []
        for first, stop in _pieces(batch.signal.shape[-1] // PATCH, n_channels):
            part = batch.signal[..., first * PATCH : stop * PATCH]
            patches, channels, seconds = lay_out(SignalBatch(part, batch.rows))
            values.append(self.encode(patches, channels, seconds, layer=layer))
            times.append(seconds + first)
        if self.prompt is not None:
            none = batch.rows.new_full((1,), -1)
            return Tokens(torch.stack(values).mean(dim=0), none, none)
        place = torch.cat(times)
        index = torch.arange(n_channels, device=place.device).repeat(len(place) // n_channels)
        return Tokens(torch.cat(values, dim=1), index, place)

    def encode(
        self, patches: Tensor, channels: Tensor, seconds: Tensor, *, layer: int | None = None
    ) -> Tensor:
        """Encode one sequence per epoch.

        Parameters
        ----------
        patches, channels, seconds : Tensor
            From :func:`lay_out`.
        layer : int | None
            Layers to run, the encoder's first; None runs all and the last norm.

        Returns
        -------
        Tensor, shape (n, n_tokens, width) or (n, 1, n_options)
            Tokens, or scores of the options of the prompt.
        """
        n_padding = max(0, (self.padded_tokens or 0) - patches.shape[1])
        depth = layer if layer is None or layer <= self.depth else None
        x = self.tokenizer(patches, channels, seconds, layer=depth, n_padding=n_padding)
        if self.features == "encoder" or depth is not None:
            return x
        if self.prompt is None:
            lm_layer = None if layer is None else layer - self.depth
            return self.encode_features(x, channels, seconds, layer=lm_layer)
        return self._scores(self._enter(x, channels), seconds, self.prompt)

    def encode_features(
        self, features: Tensor, channels: Tensor, seconds: Tensor, *, layer: int | None = None
    ) -> Tensor:
        """Run the language model on the encoder's features.

        Parameters
        ----------
        features : Tensor, shape (n, n_tokens, encoder's width)
            From the encoder.
        channels, seconds : Tensor
            From :func:`lay_out`.
        layer : int | None
            Blocks of the language model to run; None runs all and the last norm.

        Returns
        -------
        Tensor, shape (n, n_tokens, width)
            Hidden states.
        """
        return self.GPT2(self._enter(features, channels), seconds, layer=layer)

    def _enter(self, features: Tensor, channels: Tensor) -> Tensor:
        return self.encode_transform_layer(features) + self.pos_embed(channels)

    def _scores(self, x: Tensor, seconds: Tensor, prompt: Prompt) -> Tensor:
        text = torch.tensor(prompt.text, device=x.device)
        words = self.GPT2.embed_text(text).to(x.dtype).expand(len(x), -1, -1)
        after = seconds[-1] + 1 + torch.arange(len(text), device=x.device)
        hidden = self.GPT2(torch.cat([x, words], dim=1), torch.cat([seconds, after]))
        answers = torch.tensor(prompt.answers, device=x.device)
        logits = hidden[:, -1] @ self.GPT2.lm_head.weight[answers].T
        return logits.float().log_softmax(dim=-1)[:, None]

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Leave out the language model where only the encoder is wanted."""
        if self.features != "encoder":
            return state, ()
        dropped = tuple(key for key in state if key.startswith(LANGUAGE_PARTS))
        return {key: value for key, value in state.items() if key not in dropped}, dropped

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of attention in every block, GPT-2's too where it is used."""
        blocks = ["tokenizer.blocks.*"]
        if self.features != "encoder":
            blocks.append("GPT2.transformer.h.*")
        return tuple(f"{block}.attn.{part}" for block in blocks for part in ("c_attn", "c_proj"))

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: embeddings 0, then encoder, then GPT-2."""
        parts = name.split(".")
        if name.startswith("tokenizer.blocks."):
            return int(parts[2]) + 1
        if name.startswith("GPT2.transformer.h."):
            return self.depth + int(parts[3]) + 1
        if name.startswith(("tokenizer.fc_norm.", "encode_transform_layer.")):
            return self.depth + 1
        if name.startswith(("GPT2.transformer.ln_f.", "GPT2.lm_head.")):
            return self.n_layers + 1
        # What enters the language model learns with its first block.
        return 0 if name.startswith("tokenizer.") else self.depth + 1

    def no_weight_decay(self) -> set[str]:
        """Return the tables of places, which are not decayed."""
        tables = {"tokenizer.pos_embed.weight", "tokenizer.time_embed.weight"}
        if self.features != "encoder":
            tables |= {"pos_embed.weight", "GPT2.transformer.wpe.weight"}
        return tables


#: Beginnings of the names of parameters that are not the encoder's.
LANGUAGE_PARTS = ("GPT2.", "pos_embed.", "encode_transform_layer.")


def _pieces(n_seconds: int, n_channels: int) -> list[tuple[int, int]]:
    """Cut a window into pieces of at most 1024 tokens and 64 s."""
    most = min(MAX_SECONDS, MAX_TOKENS // n_channels)
    count = -(-n_seconds // most)
    edges = [n_seconds * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def build_network(**config: object) -> NeuroLM:
    """Build the network; see :class:`NeuroLM` for the options."""
    return NeuroLM(**config)  # type: ignore[arg-type]
