"""NeuroLM's first stage: the text-aligned tokenizer."""

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
from eegfound.nn.code_use import CodeFrequencies, perplexity
from eegfound.nn.running_mean import RunningMean
from eegfound_neurolm.codebook import Quantized
from eegfound_neurolm.network import NeuroLM, one_sequence
from eegfound_neurolm.next_code import NextCodeObjective
from eegfound_neurolm.tokenizer import BINS, NeuralTokenizer, targets
from eegfound_neurolm.vocabulary import MAX_TOKENS

STAGES = ("vq", "next-code")


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
    decoder_depth : int | None
        Blocks of each decoder. None: 4 as published, 1 where the encoder is
        narrower than 512.
    centered : bool
        See :meth:`NeuralTokenizer.prepare`; the reference does not.
    decay, revive_after
        See :class:`eegfound_neurolm.codebook.Codebook`.
    pooling, n_codes, code_dim, width, depth, heads, lm_width, lm_depth, lm_heads
        See :class:`NeuralTokenizer` and :class:`NeuroLM`; the language model's
        sizes are not used in this stage.
    """

    text: Tensor | None
    progress: Tensor

    def __init__(
        self, *, text_embeddings: Tensor | None = None, mean_over: int | None = MAX_TOKENS,
        n_codes: int = 8192, code_dim: int = 128, decoder_depth: int | None = None,
        decay: float = 0.99, revive_after: int | None = None, centered: bool = False,
        **config: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        network = NeuroLM(n_codes=n_codes, code_dim=code_dim, **config)
        if decoder_depth is None:
            decoder_depth = 4 if network.width >= 512 else 1
        self.tokenizer = NeuralTokenizer(
            width=network.width, depth=network.depth, heads=network.tokenizer.heads,
            decoder_depth=decoder_depth, n_codes=n_codes, code_dim=code_dim,
            encoder=network.tokenizer, decay=decay, revive_after=revive_after,
        )  # fmt: skip
        # In a list, so that its parameters are not listed twice.
        self._encoder = [network]
        self.mean_over, self.centered = mean_over, centered
        self.register_buffer("progress", torch.zeros(()))
        self.frequencies = CodeFrequencies(n_codes)
        self.mean_amplitude = RunningMean(BINS)
        self.domain: nn.Module | None = None
        self.register_buffer("text", text_embeddings, persistent=False)
        if text_embeddings is not None:
            if text_embeddings.ndim != 2 or text_embeddings.shape[1] != network.width:
                raise SpecError(
                    f"text_embeddings has shape {tuple(text_embeddings.shape)}; it must be "
                    f"(n_words, {network.width}), the width of the encoder."
                )
            self.domain = nn.Sequential(nn.Linear(network.width, 256), nn.GELU(), nn.Linear(256, 2))

    @property
    def encoder(self) -> NeuroLM:
        """The network around the encoder that is trained here."""
        return self._encoder[0]

    def prepare(self, batch: SignalBatch) -> None:
        """Fill an empty codebook by k-means on a first batch."""
        self.tokenizer.prepare(*one_sequence(batch), centered=self.centered)

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> TokenizerLosses:
        """Compute the losses of a batch; see :class:`eegfound.nn.Objective`.

        The generator draws the words, as many as there are tokens in an epoch,
        and the vectors that dead codes may take.
        """
        losses, quantized, expected = self._score(batch, generator)
        if self.training:
            codes = quantized.codes.flatten()
            self.tokenizer.quantize.collect(quantized.directions, codes, generator)
            self.frequencies.collect(codes)
            self.mean_amplitude.collect(expected[0])
        return losses

    def _score(
        self, batch: SignalBatch, generator: torch.Generator | None
    ) -> tuple[TokenizerLosses, Quantized, tuple[Tensor, Tensor]]:
        patches, channels, seconds = one_sequence(batch)
        self.tokenizer.prepare(patches, channels, seconds, centered=self.centered)
        expected = targets(patches)
        features, quantized = self.tokenizer.encode(patches, channels, seconds)
        amplitude, raw = self.tokenizer.decode(quantized.vectors, channels, seconds)
        losses = (
            self._error(amplitude, expected[0]), self._error(raw, expected[1]),
            quantized.loss, self._domain_loss(features, generator),
        )  # fmt: skip
        return TokenizerLosses(torch.stack(losses).sum(), *losses), quantized, expected

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
        return 2 / (1 + math.exp(-10 * float(self.progress))) - 1

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Count the use of codes anew (not where an epoch is gone on with)."""
        self.frequencies.restart(epoch)

    def after_step(self, progress: float) -> None:
        """Let codebook and counts follow the step, and the reversal the training."""
        self.progress.fill_(progress)
        for part in (self.tokenizer.quantize, self.frequencies, self.mean_amplitude):
            part.follow()

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compare reconstruction with means, and count codes.

        Returns
        -------
        dict of str to Tensor
            The losses; ``amplitude_trivial`` of predicting the mean spectrum of
            training and ``raw_trivial`` of predicting the epoch's mean;
            ``total_trivial``, their sum; ``perplexity``, the effective number of
            codes in this batch; ``codes_used``, the share of rows used in
            training in this epoch.
        """
        losses, quantized, (amplitude, raw) = self._score(batch, generator)
        trivial = {
            "amplitude_trivial": self._error(
                self.mean_amplitude.mean.expand_as(amplitude), amplitude
            ),
            "raw_trivial": self._error(torch.zeros_like(raw), raw),
        }
        return {
            **{name: value.detach() for name, value in vars(losses).items()},
            **trivial,
            "total_trivial": torch.stack(list(trivial.values())).sum(),
            "perplexity": perplexity(torch.bincount(quantized.codes.flatten())),
            "codes_used": self.frequencies.used,
        }

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the first epoch, what its codes decode to, and the use of codes."""
        patches, channels, seconds = one_sequence(batch)
        quantized = self.tokenizer.encode(patches, channels, seconds)[1]
        raw = self.tokenizer.decode(quantized.vectors[:1], channels, seconds)[1]
        first, n_channels = patches[:1].float(), batch.signal.shape[1]
        signal = raw.float() * first.std(dim=(1, 2), keepdim=True) + first.mean()
        codes = quantized.codes.flatten()

        def by_channel(tokens: Tensor) -> Tensor:
            return tokens[0].unflatten(0, (-1, n_channels)).transpose(0, 1)

        return {
            "signal": by_channel(first).reshape(n_channels, -1),
            "reconstruction": by_channel(signal).reshape(n_channels, -1),
            "code_use": torch.bincount(codes, minlength=self.tokenizer.quantize.n_codes),
        }

    def no_weight_decay(self) -> set[str]:
        """Return the tables of places."""
        parts = ("encoder", "decoder_freq", "decoder_raw")
        tables = ("pos_embed.weight", "time_embed.weight")
        return {f"tokenizer.{part}.{table}" for part in parts for table in tables}


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
