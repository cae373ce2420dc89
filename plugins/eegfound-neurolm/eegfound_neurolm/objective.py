"""NeuroLM's two self-supervised stages: the text-aligned tokenizer, and next codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound_neurolm.network import NeuroLM, lay_out
from eegfound_neurolm.tokenizer import NeuralTokenizer, targets
from eegfound_neurolm.vocabulary import MAX_SECONDS, MAX_TOKENS, TEXT_ROWS

STAGES = ("vq", "next-code")


def _one_sequence(batch: SignalBatch) -> tuple[Tensor, Tensor, Tensor]:
    patches, channels, seconds = lay_out(batch)
    n_seconds = int(seconds[-1]) + 1
    if patches.shape[1] > MAX_TOKENS or n_seconds > MAX_SECONDS:
        raise SpecError(
            f"{batch.signal.shape[1]} channels x {n_seconds} s are {patches.shape[1]} tokens; "
            f"pretraining takes one sequence of at most {MAX_TOKENS} and {MAX_SECONDS} s: use "
            "shorter windows."
        )
    return patches, channels, seconds


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Pass values through and turn their gradient round, times ``strength``."""
    return (1 + strength) * x.detach() - strength * x


@dataclass(frozen=True)
class TokenizerLosses:
    """Losses of one batch of the first stage.

    Attributes
    ----------
    total : Tensor, shape ()
        Sum of the others.
    amplitude, raw : Tensor, shape ()
        Squared errors of spectrum and signal.
    commitment : Tensor, shape ()
        Distance of the vectors from their codes.
    domain : Tensor, shape ()
        Cross-entropies of telling EEG from text; zero without text.
    """

    total: Tensor
    amplitude: Tensor
    raw: Tensor
    commitment: Tensor
    domain: Tensor


class TokenizerObjective(Objective):
    """Vector-quantized reconstruction, aligned with the space of words.

    Parameters
    ----------
    text_embeddings : Tensor | None, shape (n_words, width)
        Frozen word vectors of a language model (GPT-2's ``wte``). None leaves
        the domain-adversarial terms out.
    mean_over : int | None
        Positions over which errors of reconstruction are averaged. 1024 as in
        the reference, which masks padded positions and divides by all; None
        counts the tokens that are there.
    pooling, n_codes, code_dim, decoder_depth, width, depth, heads, lm_width, lm_depth, lm_heads
        See :class:`NeuralTokenizer` and :class:`NeuroLM`; the language model's
        sizes are not used in this stage.
    """

    text: Tensor | None

    def __init__(
        self, *, text_embeddings: Tensor | None = None, mean_over: int | None = MAX_TOKENS,
        n_codes: int = 8192, code_dim: int = 128, decoder_depth: int = 4, **config: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        network = NeuroLM(n_codes=n_codes, code_dim=code_dim, **config)
        self.tokenizer = NeuralTokenizer(
            width=network.width, depth=network.depth, heads=network.tokenizer.heads,
            decoder_depth=decoder_depth, n_codes=n_codes, code_dim=code_dim,
            encoder=network.tokenizer,
        )  # fmt: skip
        # In a list, so that its parameters are not listed twice.
        self._encoder = [network]
        self.mean_over, self.progress = mean_over, 0.0
        self.domain: nn.Module | None = None
        self.register_buffer("text", text_embeddings, persistent=False)
        if text_embeddings is not None:
            if text_embeddings.ndim != 2 or text_embeddings.shape[1] != network.width:
                raise SpecError(
                    f"text_embeddings has shape {tuple(text_embeddings.shape)}; it must be "
                    f"(n_words, {network.width}), the width of the encoder."
                )
            self.domain = nn.Sequential(nn.Linear(network.width, 256), nn.GELU(), nn.Linear(256, 2))
        self._seen: tuple[Tensor, Tensor] | None = None

    @property
    def encoder(self) -> NeuroLM:
        """The network around the encoder that is trained here."""
        return self._encoder[0]

    def prepare(self, batch: SignalBatch) -> None:
        """Fill an empty codebook by k-means on a first batch."""
        self.tokenizer.prepare(*_one_sequence(batch))

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> TokenizerLosses:
        """Compute the losses of a batch; see :class:`eegfound.nn.Objective`.

        The generator draws the words, as many as there are tokens in an epoch.
        """
        patches, channels, seconds = _one_sequence(batch)
        self.tokenizer.prepare(patches, channels, seconds)
        target_amplitude, target_raw = targets(patches)
        features, quantized = self.tokenizer.encode(patches, channels, seconds)
        amplitude, raw = self.tokenizer.decode(quantized.vectors, channels, seconds)
        if self.training:
            self._seen = quantized.directions, quantized.codes.flatten()
        losses = (
            self._error(amplitude, target_amplitude), self._error(raw, target_raw),
            quantized.loss, self._domain_loss(features, generator),
        )  # fmt: skip
        return TokenizerLosses(torch.stack(losses).sum(), *losses)

    def _error(self, predicted: Tensor, target: Tensor) -> Tensor:
        n_tokens = predicted.shape[1]
        share = n_tokens / max(n_tokens, self.mean_over or 0)
        return share * F.mse_loss(predicted.float(), target)

    def _domain_loss(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.domain is None or self.text is None:
            return features.new_zeros(())
        chosen = torch.randint(len(self.text), (features.shape[1],), generator=generator)
        words = self.text[chosen.to(self.text.device)].to(features.dtype)
        eeg = self.domain(reverse_gradient(features, self.reversal)).flatten(0, 1)
        text = self.domain(words)
        zeros = torch.zeros(len(eeg), dtype=torch.int64, device=eeg.device)
        ones = torch.ones(len(text), dtype=torch.int64, device=eeg.device)
        return F.cross_entropy(eeg, zeros) + F.cross_entropy(text, ones)

    @property
    def reversal(self) -> float:
        """Strength of the gradient reversal, 0 at the start and nearly 1 at the end."""
        return 2 / (1 + math.exp(-10 * self.progress)) - 1

    def after_step(self, progress: float) -> None:
        """Let the codebook follow the last batch, and the reversal the training."""
        self.progress = progress
        if self._seen is not None:
            self.tokenizer.quantize.follow(*self._seen)
            self._seen = None

    def no_weight_decay(self) -> set[str]:
        """Return the tables of places."""
        parts = ("encoder", "decoder_freq", "decoder_raw")
        tables = ("pos_embed.weight", "time_embed.weight")
        return {f"tokenizer.{part}.{table}" for part in parts for table in tables}


@dataclass(frozen=True)
class NextCodeLosses:
    """Losses of one batch of the second stage.

    Attributes
    ----------
    total : Tensor, shape ()
        Sum of the others.
    eeg : Tensor, shape ()
        Cross-entropy of the next second's codes.
    text : Tensor, shape ()
        Cross-entropy of the next words; zero without text.
    """

    total: Tensor
    eeg: Tensor
    text: Tensor


class NextCodeObjective(Objective):
    """Predict each channel's code of the next second, and the next word of text.

    Parameters
    ----------
    tokenizer : NeuralTokenizer | None
        Trained tokenizer, which gives the codes; frozen. None makes one of the
        same size, whose weights must be loaded before use.
    freeze_encoder : bool
        Keep the encoder inside the language model as it was trained in the
        first stage (our choice; the encoder starts as the tokenizer's).
    **config : Any
        See :class:`NeuroLM`.
    """

    def __init__(
        self, *, tokenizer: NeuralTokenizer | None = None, freeze_encoder: bool = True,
        **config: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = NeuroLM(**(config | {"features": "lm"}))
        if tokenizer is None:
            shape = ("width", "depth", "heads", "n_codes", "code_dim")
            tokenizer = NeuralTokenizer(**{k: v for k, v in config.items() if k in shape})
        n_rows = self.network.GPT2.lm_head.out_features
        if n_rows != TEXT_ROWS + tokenizer.quantize.n_codes:
            raise SpecError(
                f"The tokenizer has {tokenizer.quantize.n_codes} codes and the language model "
                f"{n_rows - TEXT_ROWS}: pass n_codes={tokenizer.quantize.n_codes}."
            )
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.network.tokenizer.load_state_dict(tokenizer.encoder.state_dict())
        self.network.tokenizer.requires_grad_(not freeze_encoder)

    @property
    def encoder(self) -> NeuroLM:
        """The network with the language model."""
        return self.network

    def train(self, mode: bool = True) -> NextCodeObjective:
        """Set the network's mode; the tokenizer stays in evaluation."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None,
        text: Tensor | None = None,
    ) -> NextCodeLosses:  # fmt: skip
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : SignalBatch
            Windows of at least 2 s.
        generator : None
            Nothing is drawn here.
        text : Tensor of int64 | None, shape (n_texts, n_tokens)
            GPT-2 ids of plain text, for the second loss.

        Returns
        -------
        NextCodeLosses
            Whose ``total`` is to be minimized.
        """
        patches, channels, seconds = _one_sequence(batch)
        n_channels = batch.signal.shape[1]
        if patches.shape[1] < 2 * n_channels:
            raise SpecError(
                "There is no next second in windows of 1 s: use windows of at least 2 s."
            )
        with torch.no_grad():
            codes = self.tokenizer.encode(patches, channels, seconds)[1].codes
        hidden = self.network.encode(patches, channels, seconds)[:, :-n_channels]
        logits = self.network.GPT2.lm_head(hidden)
        eeg = F.cross_entropy(
            logits.flatten(0, 1).float(), codes[:, n_channels:].flatten() + TEXT_ROWS
        )
        words = eeg.new_zeros(()) if text is None else self._text_loss(text)
        return NextCodeLosses(eeg + words, eeg, words)

    def _text_loss(self, text: Tensor) -> Tensor:
        gpt = self.network.GPT2
        positions = torch.arange(text.shape[1], device=text.device)
        logits = gpt.lm_head(gpt(gpt.embed_text(text), positions))[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1).float(), text[:, 1:].flatten())

    def no_weight_decay(self) -> set[str]:
        """Return the tables of places."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}


def build_objective(*, stage: str = "vq", **config: Any) -> Objective:
    """Build one of NeuroLM's self-supervised stages.

    Parameters
    ----------
    stage : {"vq", "next-code"}
        The text-aligned tokenizer, or the language model on its codes.
    **config : Any
        See :class:`TokenizerObjective` and :class:`NextCodeObjective`.

    Returns
    -------
    Objective
        Whose ``encoder`` a Transformer can use.
    """
    if stage not in STAGES:
        raise SpecError(f"stage={stage!r} is not one of {STAGES}.")
    return TokenizerObjective(**config) if stage == "vq" else NextCodeObjective(**config)
