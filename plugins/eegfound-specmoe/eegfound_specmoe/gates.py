"""A stage of our own: gates that learn without labels which features to trust.

In the published model gates are trained with labels, together with the head.
Here they learn to weigh the features of a masked signal so that its true
spectrum can be read from them; the experts stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective, RunningMean
from eegfound_specmoe.encoder import Encoder
from eegfound_specmoe.masking import Masking
from eegfound_specmoe.network import SpecMoE, reduce
from eegfound_specmoe.selection import MONTAGES, Montage, select_montage
from eegfound_specmoe.spectrum import SFREQ, decades, welch

#: Frequencies whose power is predicted, in Hz: the band of the pretraining data.
_BAND = (0.5, 75.0)


@dataclass(frozen=True)
class SpectrumLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Squared error in decades, weighed by how much of a frequency was masked.
    everywhere : Tensor, shape ()
        The same without weights.
    """

    total: Tensor
    everywhere: Tensor


class SpectrumGates(Objective):
    """Predict a signal's spectrum from the gated features of the masked signal.

    The read-out is that of ``pooling="fused"``; a layer norm and one linear map,
    thrown away afterwards, predict decades of power, averaged over channels.

    Parameters
    ----------
    network : SpecMoE
        Built with ``pooling="fused"``, with trained experts, which are frozen.
    masking : Masking
        How signals are masked.
    montage : {"given", "any", "nineteen"}
        See :class:`eegfound_specmoe.objective.MaskedReconstruction`.
    trained : bool
        False: the experts are fresh, and weights must come before :meth:`prepare`.

    Attributes
    ----------
    typical : RunningMean, shape (n_frequencies,)
        Mean spectrum of the training data, in decades.
    """

    def __init__(
        self, network: SpecMoE, *, masking: Masking, montage: Montage = "given",
        trained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if network.pooling != "fused":
            raise SpecError("Gates exist in networks built with pooling='fused' only.")
        if montage not in MONTAGES:
            raise SpecError(f"montage={montage!r} is not one of {MONTAGES}.")
        self.network, self.masking, self.montage = network, masking, montage
        network.experts.requires_grad_(False).eval()
        step = 1 / network.psd_seconds
        self.bins = slice(round(_BAND[0] / step) or 1, round(_BAND[1] / step) + 1)
        n_bins = len(range(self.bins.start, self.bins.stop))
        self.head = nn.Sequential(nn.LayerNorm(network.width), nn.Linear(network.width, n_bins))
        self.typical = RunningMean(n_bins)
        self._fresh = None if trained else _first_weights(network).clone()

    @property
    def encoder(self) -> SpecMoE:
        """The experts and their gates."""
        return self.network

    @property
    def inherited(self) -> tuple[str, ...]:
        """The experts, where their stages came before."""
        return ("network.experts.",) if self._fresh is None else ()

    def train(self, mode: bool = True) -> SpectrumGates:
        """Set the mode; the experts stay in evaluation mode."""
        super().train(mode)
        self.network.experts.eval()
        return self

    def prepare(self, batch: SignalBatch) -> None:
        """Refuse to train gates of experts that are still random.

        Raises
        ------
        SpecError
            If nobody gave the experts weights.
        """
        if self._fresh is not None and torch.equal(
            _first_weights(self.network).cpu(), self._fresh.cpu()
        ):
            raise SpecError(
                "Stage 'gates' needs trained experts: train their stages too, or pass "
                "checkpoint= with weights of all experts."
            )

    def _spectrum(self, signal: Tensor) -> Tensor:
        """Return decades of power, averaged over channels, ``(n, n_bins)``."""
        psd = welch(signal, n_times=signal.shape[-1], seconds=self.network.psd_seconds)
        return decades(psd)[..., self.bins].mean(dim=1)

    def _hide(self, signal: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return the masked signal, and how much of each frequency was masked."""
        n, _, n_times = signal.shape
        seeds = torch.randint(2**32, (n,), generator=generator).tolist()
        drawn = [self.masking.draw(n_times, np.random.RandomState(seed)) for seed in seeds]
        masks = torch.from_numpy(np.stack(drawn))
        hidden = 1 - masks.mean(dim=-1)
        # From the bins of the masking's frames to those of the spectrum's.
        own = np.arange(SFREQ * self.network.psd_seconds // 2 + 1)[self.bins]
        at = np.round(own * self.masking.frame / (SFREQ * self.network.psd_seconds)).astype(int)
        return self.masking.apply(signal, masks), hidden[:, torch.from_numpy(at)].to(signal)

    def predict(self, signal: Tensor, ch_names: tuple[str, ...] = ()) -> Tensor:
        """Predict the spectrum of a signal from a masked one.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            In units of 0.1 mV at 200 Hz.
        ch_names : tuple of str
            Names of the channels.

        Returns
        -------
        Tensor, shape (n, n_bins)
            Decades of power from 0.5 (or 1) to 75 Hz.
        """
        network, n_times = self.network, signal.shape[-1]
        with torch.no_grad():
            x, _ = network.prepare(signal, ch_names)
            times = network.times(x, n_times)
            outputs = [cast("Encoder", expert)(x, times) for expert in network.experts]
        rows = network.gated_rows(outputs, x, n_times)
        return self.head(reduce(rows, network.channel_pool, dim=1))

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> SpectrumLosses:
        """Mask a batch, predict its spectrum, and compare.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_times)`` in units of 0.1 mV at 200 Hz.
        generator : torch.Generator | None
            Draws the masks.

        Returns
        -------
        SpectrumLosses
            Whose ``total`` is to be minimized.
        """
        batch = select_montage(batch, self.montage)
        masked, hidden = self._hide(batch.signal, generator)
        target = self._spectrum(batch.signal)
        if self.training:
            self.typical.collect(target)
        return _compare(self.predict(masked, batch.ch_names), target, hidden)

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good spectra are predicted.

        Returns
        -------
        dict of str to Tensor
            ``total`` and ``everywhere`` as in :class:`SpectrumLosses`, with
            ``_trivial`` those of the mean spectrum of the training data.
            ``total_masked`` is that of the masked signal's own spectrum, and
            ``gate_std`` how much gates differ between windows.
        """
        batch = select_montage(batch, self.montage)
        masked, hidden = self._hide(batch.signal, generator)
        target = self._spectrum(batch.signal)
        found = _compare(self.predict(masked, batch.ch_names), target, hidden)
        usual = _compare(self.typical.mean.expand_as(target), target, hidden)
        x, _ = self.network.prepare(masked, batch.ch_names)
        gates = self.network.gates(self.network.spectrum(x, masked.shape[-1]))
        spread = torch.stack([gate.std(dim=0, correction=0).mean() for gate in gates]).mean()
        return {
            "total": found.total,
            "total_trivial": usual.total,
            "everywhere": found.everywhere,
            "everywhere_trivial": usual.everywhere,
            "total_masked": _compare(self._spectrum(masked), target, hidden).total,
            "gate_std": spread,
        }

    def after_step(self, progress: float) -> None:
        """Add the step's spectra to what is typical of the data."""
        self.typical.follow()


def _first_weights(network: SpecMoE) -> Tensor:
    return next(network.experts[0].parameters()).detach()


def _compare(predicted: Tensor, target: Tensor, hidden: Tensor) -> SpectrumLosses:
    error = (predicted.float() - target).square()
    weighted = (hidden * error).sum(dim=-1) / hidden.sum(dim=-1).clamp(min=1e-6)
    return SpectrumLosses(weighted.mean(), error.mean())
