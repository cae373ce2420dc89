"""NeuroLM's second stage: the language model predicts the next second's codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound.nn.code_use import CodeFrequencies, perplexity
from eegfound_neurolm.network import NeuroLM, one_sequence
from eegfound_neurolm.tokenizer import NeuralTokenizer
from eegfound_neurolm.vocabulary import PATCH


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
    texts : Tensor of int64 | None, shape (n_texts, n_tokens)
        GPT-2 ids of plain text for the second loss. None leaves it out, and the
        table of words as it is.
    texts_per_batch : int
        Texts drawn for each batch.
    **config : Any
        See :class:`NeuroLM`.
    """

    texts: Tensor | None

    def __init__(
        self, *, tokenizer: NeuralTokenizer | None = None, freeze_encoder: bool = True,
        texts: Tensor | None = None, texts_per_batch: int = 4, **config: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = NeuroLM(**(config | {"features": "lm"}))
        if tokenizer is None:
            shape = ("width", "depth", "heads", "n_codes", "code_dim")
            tokenizer = NeuralTokenizer(**{k: v for k, v in config.items() if k in shape})
        gpt, n_codes = self.network.GPT2, tokenizer.quantize.n_codes
        if gpt.lm_head.out_features != gpt.text_rows + n_codes:
            raise SpecError(
                f"The tokenizer has {n_codes} codes and the language model "
                f"{gpt.lm_head.out_features - gpt.text_rows}: pass n_codes={n_codes}."
            )
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.network.tokenizer.load_state_dict(tokenizer.encoder.state_dict())
        self.network.tokenizer.requires_grad_(not freeze_encoder)
        self.frequencies = CodeFrequencies(n_codes)
        self.texts_per_batch = texts_per_batch
        self.register_buffer("texts", texts, persistent=False)
        if texts is not None:
            gpt.embed_text(texts[:1, :1])  # complains where there are no words
        elif gpt.text_rows:
            gpt.transformer["wte"].requires_grad_(False)

    @property
    def encoder(self) -> NeuroLM:
        """The network with the language model."""
        return self.network

    @property
    def inherited(self) -> tuple[str, ...]:
        """The tokenizer, and the encoder where it stays as the tokenizer's."""
        frozen = not any(p.requires_grad for p in self.network.tokenizer.parameters())
        return ("tokenizer.", "network.tokenizer.") if frozen else ("tokenizer.",)

    def take_up(self, state: Mapping[str, Tensor]) -> bool:
        """Go on; codes of another tokenizer are counted anew."""
        if changed := super().take_up(state):
            self.frequencies.counts.zero_()
        return changed

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
        generator : torch.Generator | None
            Draws from ``texts``, where there are any.
        text : Tensor of int64 | None, shape (n_texts, n_tokens)
            GPT-2 ids of plain text, for the second loss; None draws them.

        Returns
        -------
        NextCodeLosses
            Whose ``total`` is to be minimized.
        """
        codes, logits = self._predict(batch)
        if self.training:
            self.frequencies.collect(codes[:, 1:])
        eeg = self._code_loss(logits, codes)
        if text is None and self.texts is not None:
            drawn = torch.randint(len(self.texts), (self.texts_per_batch,), generator=generator)
            text = self.texts[drawn.to(self.texts.device)]
        words = eeg.new_zeros(()) if text is None else self._text_loss(text)
        return NextCodeLosses(eeg + words, eeg, words)

    def _predict(self, batch: SignalBatch) -> tuple[Tensor, Tensor]:
        """Return codes, ``(n, n_seconds, n_channels)``, and logits of all but the first second."""
        patches, channels, seconds = one_sequence(batch)
        n_channels = batch.signal.shape[1]
        if patches.shape[1] < 2 * n_channels:
            raise SpecError(
                "There is no next second in windows of 1 s: use windows of at least 2 s."
            )
        with torch.no_grad():
            features, quantized = self.tokenizer.encode(patches, channels, seconds)
        network = self.network
        if any(p.requires_grad for p in network.tokenizer.parameters()):
            features = network.tokenizer(patches, channels, seconds)
        # The last second has nothing to predict, and in the language model nobody sees it.
        known = slice(None, -n_channels)
        hidden = network.encode_features(features[:, known], channels[known], seconds[known])
        return quantized.codes.unflatten(1, (-1, n_channels)), network.GPT2.lm_head(hidden)

    def _code_loss(self, logits: Tensor, codes: Tensor) -> Tensor:
        expected = codes[:, 1:].flatten() + self.network.GPT2.text_rows
        return F.cross_entropy(logits.flatten(0, 1).float(), expected)

    def _text_loss(self, text: Tensor) -> Tensor:
        gpt = self.network.GPT2
        positions = torch.arange(text.shape[1], device=text.device)
        logits = gpt.lm_head(gpt(gpt.embed_text(text), positions))[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1).float(), text[:, 1:].flatten())

    def after_step(self, progress: float) -> None:
        """Remember which codes the step was made of."""
        self.frequencies.follow()

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how often the next second's codes are predicted, and how often a constant is right.

        Returns
        -------
        dict of str to Tensor
            ``total``, ``eeg`` and ``eeg_trivial``, the cross-entropy of the
            codes' frequencies in training; ``accuracy``; ``accuracy_trivial`` of
            always naming the commonest code of training; ``accuracy_repeat`` of
            naming the present second's code; ``perplexity``, the effective number
            of codes here.
        """
        codes, logits = self._predict(batch)
        following = codes[:, 1:]
        scores = logits[..., self.network.GPT2.text_rows :].view(*following.shape, -1)
        eeg = self._code_loss(logits, codes)
        return {
            "total": eeg,
            "eeg": eeg,
            "eeg_trivial": self.frequencies.loss(following),
            "accuracy": (scores.argmax(dim=-1) == following).float().mean(),
            "accuracy_trivial": self.frequencies.accuracy(following),
            "accuracy_repeat": (codes[:, :-1] == following).float().mean(),
            "perplexity": perplexity(torch.bincount(codes.flatten())),
        }

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the first epoch, what predicted codes decode to, and the use of codes.

        The first second is decoded from its own codes: nothing predicts it.
        """
        codes, logits = self._predict(batch)
        patches, channels, seconds = one_sequence(batch)
        guessed = codes[:1].clone()
        scores = logits[:1, :, self.network.GPT2.text_rows :]
        guessed[:, 1:] = scores.argmax(dim=-1).view(guessed[:, 1:].shape)
        rows = self.tokenizer.quantize.embedding.weight[guessed.flatten(1)]
        raw = self.tokenizer.decode(rows, channels, seconds)[1].float()
        first, n_channels = patches[:1].float(), batch.signal.shape[1]
        signal = raw * first.std(dim=(1, 2), keepdim=True) + first.mean()
        hidden = torch.ones(n_channels, codes.shape[1], dtype=torch.bool)
        hidden[:, 0] = False
        return {
            "signal": batch.signal[0, :, : codes.shape[1] * PATCH],
            "reconstruction": signal[0].unflatten(0, (-1, n_channels)).transpose(0, 1).flatten(1),
            "hidden": hidden,
            "code_use": torch.bincount(codes.flatten(), minlength=self.tokenizer.quantize.n_codes),
        }

    def no_weight_decay(self) -> set[str]:
        """Return the tables of places."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}
