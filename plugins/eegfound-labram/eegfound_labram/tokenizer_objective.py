"""First stage of pretraining: the tokenizer learns to code spectra."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound.nn.code_use import CodeFrequencies, perplexity
from eegfound.nn.running_mean import RunningMean
from eegfound_labram.network import PATCH, LaBraM
from eegfound_labram.tokenizer import VQNSP, TokenizerLosses, signal_from, spectral_targets


class TokenizerObjective(Objective):
    """Vector-quantized neural spectrum prediction.

    Codes are looked up in, and losses belong to, the codebook as it was before
    the step; it follows all parts of a step in :meth:`after_step`.

    Parameters
    ----------
    tokenizer : VQNSP
        Trained.
    centered : bool
        See :meth:`VQNSP.prepare`; the reference does not.

    Notes
    -----
    The state holds, besides the tokenizer, the mean spectra of training (what a
    predictor knows that looks at nothing) and the use of codes in this epoch.
    As in the reference, ``quantize.cluster_size`` starts every epoch at zero.
    """

    def __init__(self, tokenizer: VQNSP, *, centered: bool = False) -> None:
        super().__init__()
        self.tokenizer, self.centered = tokenizer, centered
        self.mean_amplitude, self.mean_phase = RunningMean(PATCH), RunningMean(PATCH)
        self.frequencies = CodeFrequencies(tokenizer.quantize.n_codes)

    @property
    def encoder(self) -> LaBraM:
        """The tokenizer's encoder."""
        return self.tokenizer.encoder

    @property
    def kept_config(self) -> dict[str, Any]:
        """In what this encoder differs from that of masked modelling."""
        return self.tokenizer.encoder_config

    def no_weight_decay(self) -> set[str]:
        """Return the tokenizer's parameters that are not decayed."""
        return {f"tokenizer.{name}" for name in self.tokenizer.no_weight_decay()}

    def prepare(self, batch: SignalBatch) -> None:
        """Fill an empty codebook by k-means on a first batch."""
        self.tokenizer.prepare(batch, centered=self.centered)

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Count the use of codes anew (not where an epoch is gone on with)."""
        if self.frequencies.restart(epoch):
            self.tokenizer.quantize.cluster_size.zero_()

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> TokenizerLosses:
        """Compute the losses of a batch; see :class:`eegfound.nn.Objective`.

        The generator draws the vectors that dead codes may take.
        """
        targets = spectral_targets(batch.signal)
        quantized = self.tokenizer.encode(batch)
        if self.training:
            codes = quantized.codes.flatten()
            self.tokenizer.quantize.collect(quantized.directions, codes, generator)
            self.frequencies.collect(codes)
            self.mean_amplitude.collect(targets[0])
            self.mean_phase.collect(targets[1])
        return self.tokenizer.losses(batch, quantized, targets)

    def after_step(self, progress: float) -> None:
        """Let the codebook and what is counted follow the step."""
        for part in (
            self.tokenizer.quantize, self.frequencies, self.mean_amplitude, self.mean_phase,
        ):  # fmt: skip
            part.follow()

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compare reconstruction with the mean spectra of training, and count codes.

        Returns
        -------
        dict of str to Tensor
            The losses; ``amplitude_trivial``, ``phase_trivial`` and
            ``total_trivial`` of predicting each bin's mean; ``perplexity``, the
            effective number of codes in this batch; ``codes_used``, the share of
            rows used in training in this epoch.
        """
        targets = spectral_targets(batch.signal)
        quantized = self.tokenizer.encode(batch)
        losses = self.tokenizer.losses(batch, quantized, targets)
        means = self.mean_amplitude.mean, self.mean_phase.mean
        trivial = [(t - mean).square().mean() for t, mean in zip(targets, means, strict=True)]
        return {
            **{name: value.detach() for name, value in vars(losses).items()},
            "amplitude_trivial": trivial[0],
            "phase_trivial": trivial[1],
            "total_trivial": trivial[0] + trivial[1],
            "perplexity": perplexity(torch.bincount(quantized.codes.flatten())),
            "codes_used": self.frequencies.used,
        }

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the first epoch, what its codes decode to, and the use of codes."""
        quantized = self.tokenizer.encode(batch)
        amplitude, phase = self.tokenizer.decode(quantized.vectors[:1], batch.rows)
        first = batch.signal[:1]
        n_codes = self.tokenizer.quantize.n_codes
        return {
            "signal": first[0],
            "reconstruction": signal_from(amplitude, phase, first)[0],
            "code_use": torch.bincount(quantized.codes.flatten(), minlength=n_codes),
        }
