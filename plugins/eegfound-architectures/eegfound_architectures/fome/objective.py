"""Masked reconstruction of waveform and spectrum (our design)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective, RunningMean, cut_patches, hide_largest
from eegfound.nn.masking import masked_mean
from eegfound_architectures.fome.network import N_BINS, FomeStyle, log_amplitude
from eegfound_architectures.plugin import MAX_PATCHES, PATCH


@dataclass(frozen=True)
class ReconstructionLosses:
    """Losses of one batch, over hidden patches.

    Attributes
    ----------
    total : Tensor, shape ()
        ``waveform + spectrum_weight * spectrum``.
    waveform : Tensor, shape ()
        Mean squared error of the samples, in units of (0.1 mV)².
    spectrum : Tensor, shape ()
        Mean absolute error of ``log(1 + |rFFT|)``.
    """

    total: Tensor
    waveform: Tensor
    spectrum: Tensor


class FomeStyleObjective(Objective):
    """Hide patches, and draw them again from the others.

    Parameters
    ----------
    mask_ratio : float
        Share of hidden patches of an epoch, all channels together.
    spectrum_weight : float
        Weight of the spectral loss.
    **config : Any
        See :class:`FomeStyle`.

    Attributes
    ----------
    typical, typical_spectrum : RunningMean, shape (250,) and (126,)
        Mean patch of the training data and mean of its ``log(1 + |rFFT|)``: what
        a predictor says that looks at nothing.
    """

    def __init__(
        self, *, mask_ratio: float = 0.4, spectrum_weight: float = 0.1, **config: Any
    ) -> None:
        super().__init__()
        if not 0 < mask_ratio < 1:
            raise SpecError(f"mask_ratio={mask_ratio!r} must lie between 0 and 1.")
        self.mask_ratio, self.spectrum_weight = mask_ratio, spectrum_weight
        self.network = FomeStyle(**config)
        self.mask_token = nn.Parameter(0.02 * torch.randn(self.network.width))
        self.head = nn.Linear(self.network.width, PATCH)
        self.typical, self.typical_spectrum = RunningMean(PATCH), RunningMean(N_BINS)

    @property
    def encoder(self) -> FomeStyle:
        """The encoder that is trained."""
        return self.network

    def predict(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return patches, ``(n, n_channels, n_patches, 250)``, of embedded tokens.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_channels, n_patches, width)
            From the encoder's ``embed``.
        mask : Tensor of bool, shape (n, n_channels, n_patches)
            True where the token is hidden.
        """
        hidden = torch.where(mask[..., None], self.mask_token.to(tokens.dtype), tokens)
        return self.head(self.network.encode(hidden))

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> ReconstructionLosses:
        """Compute the losses of a batch; see :class:`eegfound.nn.Objective`."""
        patches = cut_patches(batch.signal, PATCH)
        mask = self.draw(patches, generator)
        if self.training:
            self.typical.collect(patches.flatten(0, 2))
            self.typical_spectrum.collect(log_amplitude(patches.flatten(0, 2)))
        drawn = self.predict(self.network.embed(batch.signal), mask)[mask]
        true = patches[mask]
        waveform = (drawn - true).square().mean()
        spectrum = (log_amplitude(drawn) - log_amplitude(true)).abs().mean()
        return ReconstructionLosses(waveform + self.spectrum_weight * spectrum, waveform, spectrum)

    def draw(self, patches: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw what a batch hides.

        Parameters
        ----------
        patches : Tensor, shape (n, n_channels, n_patches, 250)
            The batch.
        generator : torch.Generator | None
            Of the CPU, so that a seed gives the same masks everywhere.

        Returns
        -------
        Tensor of bool, shape (n, n_channels, n_patches)
            True where hidden; equally many in each epoch.
        """
        n, n_channels, n_patches, _ = patches.shape
        count = n_channels * n_patches
        if count < 2:
            raise SpecError("One patch cannot be drawn from others: use longer windows.")
        n_hidden = min(max(1, round(self.mask_ratio * count)), count - 1)
        noise = torch.rand(n, count, generator=generator)
        mask = hide_largest(noise, count - n_hidden).view(n, n_channels, n_patches)
        return mask.to(patches.device)

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good hidden patches are drawn.

        Returns
        -------
        dict of str to Tensor
            ``total``, ``waveform`` and ``spectrum`` as in
            :class:`ReconstructionLosses`, each with ``_trivial``: the mean patch
            of the training data, and their mean log-spectrum. ``waveform_zero`` is
            the error of a flat line, ``waveform_neighbours`` that of the mean of the
            channels that are visible in the same second.
        """
        patches = cut_patches(batch.signal, PATCH)
        mask = self.draw(patches, generator)
        drawn = self.predict(self.network.embed(batch.signal), mask)[mask].float()
        true = patches[mask]
        visible = (~mask)[..., None].to(patches.dtype)
        around = (patches * visible).sum(dim=1, keepdim=True)
        around = (around / visible.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(patches)
        own = log_amplitude(true)
        values = {
            "waveform": (drawn - true).square().mean(),
            "waveform_trivial": (self.typical.mean - true).square().mean(),
            "waveform_zero": true.square().mean(),
            "waveform_neighbours": masked_mean((around - patches).square(), mask[..., None]),
            "spectrum": (log_amplitude(drawn) - own).abs().mean(),
            "spectrum_trivial": (self.typical_spectrum.mean - own).abs().mean(),
        }
        for suffix in ("", "_trivial"):
            weighted = self.spectrum_weight * values[f"spectrum{suffix}"]
            values[f"total{suffix}"] = values[f"waveform{suffix}"] + weighted
        return values

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw the hidden patches of the first epoch again; see the base class.

        What is visible stands in the reconstruction as it is.
        """
        first = SignalBatch(batch.signal[:1], batch.rows, batch.ch_names, batch.positions)
        patches = cut_patches(first.signal, PATCH)
        mask = self.draw(patches, generator)
        return {
            "signal": patches[0].flatten(1),
            "reconstruction": self.impute(first, mask)[0],
            "hidden": mask[0],
        }

    def after_step(self, progress: float) -> None:
        """Add the step's patches to what is typical."""
        self.typical.follow()
        self.typical_spectrum.follow()

    @torch.no_grad()
    def impute(self, batch: SignalBatch, mask: Tensor) -> Tensor:
        """Fill hidden patches.

        Parameters
        ----------
        batch : SignalBatch
            Epochs; what stands in hidden patches is not looked at.
        mask : Tensor of bool, shape (n, n_channels, n_patches)
            True where the signal is to be drawn.

        Returns
        -------
        Tensor, shape (n, n_channels, n_patches * 250)
            The signal with hidden patches replaced.
        """
        patches = cut_patches(batch.signal, PATCH)
        seen = torch.where(mask[..., None], 0, patches)
        drawn = self.predict(self.network.embed(seen.flatten(2)), mask)
        return torch.where(mask[..., None], drawn, patches).flatten(2)

    @torch.no_grad()
    def forecast(self, batch: SignalBatch, n_patches: int) -> Tensor:
        """Continue epochs.

        Parameters
        ----------
        batch : SignalBatch
            Epochs.
        n_patches : int
            Seconds to draw after their end.

        Returns
        -------
        Tensor, shape (n, n_channels, n_patches * 250)
            The continuation.

        Raises
        ------
        SpecError
            If past and future are longer than one window.
        """
        n, n_channels, n_times = batch.signal.shape
        past = n_times // PATCH
        if n_patches < 1 or past + n_patches > MAX_PATCHES:
            raise SpecError(
                f"n_patches={n_patches} after {past} s: past and future together may last "
                f"{MAX_PATCHES} s."
            )
        room = batch.signal.new_zeros(n, n_channels, n_patches * PATCH)
        signal = torch.cat([batch.signal[..., : past * PATCH], room], dim=-1)
        mask = torch.zeros(past + n_patches, dtype=torch.bool, device=signal.device)
        mask[past:] = True
        whole = SignalBatch(signal, batch.rows, batch.ch_names)
        return self.impute(whole, mask.expand(n, n_channels, -1))[..., past * PATCH :]

    def no_weight_decay(self) -> set[str]:
        """Return the mask token and the table of positions."""
        return {"mask_token", "network.positions"}


def build_objective(
    *, previous: Mapping[str, Objective] | None = None, **config: Any
) -> FomeStyleObjective:
    """Build the objective; see :class:`FomeStyleObjective` for the options.

    Parameters
    ----------
    previous : mapping | None
        Earlier stages: there are none.
    **config : Any
        Options of the objective and of the network.

    Returns
    -------
    FomeStyleObjective
        Its ``encoder`` is the network.
    """
    return FomeStyleObjective(**config)
