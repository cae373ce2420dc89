"""Aligning EEG with another signal of the body, patch by patch and as a whole.

After the abstract of Brant-X (Zhang et al., KDD 2024, arXiv 2409.00122): an EEG
foundation model and an EXG encoder are brought together by contrast on two
levels. Sizes, rates and everything else that the abstract does not say are our
choice, and no weights exist.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models import InputSpec, get_model
from eegfound.models.network import EncoderNetwork, SignalBatch
from eegfound.nn import Objective, info_nce
from eegfound_architectures.brantx.exg_encoder import STEP, ExgEncoder

#: Kinds of signals that are aligned with EEG, in MNE's words.
KINDS = ("eog", "ecg", "emg")
#: Rate of the EXG signal in Hz, nearly: a patch has a whole number of steps.
_EXG_RATE = 200.0


@dataclass(frozen=True)
class PairedBatch(SignalBatch):
    """EEG with another signal that was recorded at the same time.

    Attributes
    ----------
    exg : Tensor | None, shape (n_epochs, n_exg_channels, n_exg_times)
        Standardized, at the rate of :attr:`BrantXAlign.exg_sfreq`.
    """

    exg: Tensor | None = None


@dataclass(frozen=True)
class AlignmentLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Sum of the other two.
    patch : Tensor, shape ()
        InfoNCE over all patches of all epochs; zero where the EEG encoder's
        tokens have no place in time.
    sequence : Tensor, shape ()
        InfoNCE over epochs.
    """

    total: Tensor
    patch: Tensor
    sequence: Tensor


def resample_to(signal: Tensor, length: int) -> Tensor:
    """Resample the last axis to ``length`` samples, in the spectrum."""
    before = signal.shape[-1]
    if length == before:
        return signal
    spectrum = torch.fft.rfft(signal)[..., : length // 2 + 1]
    return torch.fft.irfft(spectrum, n=length) * (length / before)


def _head(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))


class BrantXAlign(Objective):
    """Contrastive alignment of an EEG encoder with an EXG encoder (our design).

    Parameters
    ----------
    eeg_encoder : str | EncoderNetwork
        Name of an installed model, or a network of one.
    exg : {"eog", "ecg", "emg"}
        What is aligned with the EEG.
    input : InputSpec | None
        Input contract of a network that is given as such; a named model has
        its own.
    size, checkpoint : str | None
        As in :class:`eegfound.FoundationTransformer`, for a named model.
    freeze_eeg : bool
        Train the EXG encoder and the projections only. False trains a copy of
        the EEG encoder as well.
    patch_seconds : float | None
        Length of a patch. None: one second, or the EEG encoder's hop if that
        is longer.
    resampling : tuple of float | None
        Smallest and largest factor of the rate by which both signals of a
        batch are resampled in training; None leaves them.
    exg_width, exg_depth, exg_heads : int
        See :class:`ExgEncoder`.
    projection : int
        Length of the vectors that are compared.
    temperature : float
        Of both InfoNCE losses.

    Notes
    -----
    Resampling by a factor ``f`` keeps the nominal rate, so a window gets shorter
    by ``f``; it is rounded to whole patches, and never below what the EEG
    encoder takes. Encoders with a front end are not resampled.
    """

    def __init__(
        self, eeg_encoder: str | EncoderNetwork, *, exg: str = "eog",
        input: InputSpec | None = None, size: str | None = None, checkpoint: Any = "default",
        freeze_eeg: bool = True, patch_seconds: float | None = None,
        resampling: tuple[float, float] | None = (0.5, 1.0), exg_width: int = 256,
        exg_depth: int = 4, exg_heads: int = 8, projection: int = 128, temperature: float = 0.07,
    ) -> None:  # fmt: skip
        super().__init__()
        if exg not in KINDS:
            raise SpecError(f"exg={exg!r} is not one of {KINDS}.")
        if resampling is not None and not 0 < resampling[0] <= resampling[1] <= 1:
            raise SpecError(f"resampling={resampling!r} must be factors in (0, 1], or None.")
        if not temperature > 0:
            raise SpecError(f"temperature={temperature!r} must be positive.")
        if isinstance(eeg_encoder, str):
            from eegfound.models.loading import load_encoder

            model = get_model(eeg_encoder)
            loaded = load_encoder(model, size=size, checkpoint=checkpoint, pooling=None)
            eeg_encoder, input = loaded.network, model.input
            resampling = resampling if model.front_end is None else None
        if input is None:
            raise SpecError("input=None: a network needs its contract, pass get_model(name).input.")
        self.exg, self.spec, self.freeze_eeg = exg, input, freeze_eeg
        self.resampling, self.temperature = resampling, temperature
        # Networks of the suite are shared within the process: what is trained is a copy.
        self.eeg_network = eeg_encoder if freeze_eeg else copy.deepcopy(eeg_encoder)
        self.eeg_network.requires_grad_(not freeze_eeg)
        self.patch_seconds = patch_seconds or max(1.0, input.stride / input.sfreq)
        steps = max(1, round(_EXG_RATE * self.patch_seconds / STEP))
        self.exg_encoder = ExgEncoder(
            steps=steps, width=exg_width, depth=exg_depth, heads=exg_heads
        )
        width = self.eeg_network.width
        self.project_eeg = nn.ModuleList(_head(width, projection) for _ in range(2))
        self.project_exg = nn.ModuleList(_head(exg_width, projection) for _ in range(2))

    @property
    def encoder(self) -> EncoderNetwork:
        """The EEG encoder."""
        return self.eeg_network

    @property
    def exg_sfreq(self) -> float:
        """Rate in Hz at which the EXG signal comes in."""
        return self.exg_encoder.patch / self.patch_seconds

    def train(self, mode: bool = True) -> BrantXAlign:
        """Set the mode; a frozen EEG encoder stays in evaluation."""
        super().train(mode)
        if self.freeze_eeg:
            self.eeg_network.eval()
        return self

    def eeg_patches(self, batch: SignalBatch) -> tuple[Tensor, Tensor | None]:
        """Encode the EEG.

        Parameters
        ----------
        batch : SignalBatch
            Epochs as the EEG encoder takes them.

        Returns
        -------
        whole : Tensor, shape (n, width)
            Mean over tokens.
        patches : Tensor | None, shape (n, n_patches, width)
            Mean over the tokens whose middle lies in each patch; None where
            tokens have no time, or some patch has no token.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_eeg):
            tokens = self.eeg_network(batch)
        values = tokens.values.float()
        plain = ~tokens.is_summary
        whole = values[:, plain].mean(dim=1) if plain.any() else values.mean(dim=1)
        timed = tokens.times >= 0
        if not timed.any():
            return whole, None
        middle = tokens.times[timed] * self.spec.stride + 0.5 * self.spec.patch_samples
        index = (middle / self.spec.sfreq / self.patch_seconds).long()
        count = int(index.max()) + 1
        share = torch.bincount(index, minlength=count)
        if (share == 0).any():
            return whole, None
        sums = values.new_zeros(len(values), count, values.shape[-1])
        sums.index_add_(1, index, values[:, timed])
        return whole, sums / share[:, None]

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> AlignmentLosses:
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : PairedBatch
            EEG and EXG of the same epochs.
        generator : torch.Generator | None
            Draws the factor of the resampling, in training only.

        Returns
        -------
        AlignmentLosses
            Whose ``total`` is to be minimized.
        """
        exg = getattr(batch, "exg", None)
        if exg is None:
            raise SpecError("BrantXAlign needs a PairedBatch: EEG with exg=.")
        signal, exg = self._resampled(batch.signal, exg, generator)
        whole, patches = self.eeg_patches(
            SignalBatch(signal, batch.rows, batch.ch_names, batch.positions, batch.presence)
        )
        other = self.exg_encoder(exg)
        sequence = self._contrast(1, whole, other.mean(dim=1))
        if patches is None:
            return AlignmentLosses(sequence, sequence.new_zeros(()), sequence)
        count = min(patches.shape[1], other.shape[1])
        patch = self._contrast(0, patches[:, :count].flatten(0, 1), other[:, :count].flatten(0, 1))
        return AlignmentLosses(patch + sequence, patch, sequence)

    def _contrast(self, level: int, eeg: Tensor, exg: Tensor) -> Tensor:
        first, second = self.project_eeg[level](eeg), self.project_exg[level](exg)
        return info_nce(first, second, self.temperature)

    def _resampled(
        self, signal: Tensor, exg: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        if self.resampling is None or not self.training:
            return signal, exg
        low, high = self.resampling
        factor = low + (high - low) * float(torch.rand((), generator=generator))
        n_patches = exg.shape[-1] // self.exg_encoder.patch
        seconds = signal.shape[-1] / n_patches
        fewest = -int(-max(self.spec.shortest, self.spec.patch_samples) // seconds)
        wanted = min(n_patches, max(1, fewest, round(factor * n_patches)))
        length = n_patches * self.exg_encoder.patch
        return (
            resample_to(signal, round(wanted * seconds)),
            resample_to(exg[..., :length], wanted * self.exg_encoder.patch),
        )
