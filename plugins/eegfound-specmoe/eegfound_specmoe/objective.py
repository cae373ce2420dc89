"""Pretraining: recover a signal whose time-frequency plane has holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective, RunningMean
from eegfound_specmoe.batch_norm import follow, wait_for_steps
from eegfound_specmoe.channels import pretraining_rows
from eegfound_specmoe.decoder import Decoded, Decoder, build_decoder
from eegfound_specmoe.encoder import Encoder
from eegfound_specmoe.losses import ReconstructionLosses, amplitude, reconstruction_losses
from eegfound_specmoe.masking import Masking
from eegfound_specmoe.network import SpecMoE, build_for_pretraining
from eegfound_specmoe.selection import MONTAGES, Montage, select_montage, window_numbers

Target = Literal["clean", "masked_input"]


class MaskedReconstruction(Objective):
    """SpecHi-Nets that reconstruct a signal from a masked one.

    Parameters
    ----------
    network : SpecMoE
        One expert (``size="expert"``), as in the reference, or several: then
        each has a decoder of its own, all see the same masked signal, and
        losses are averaged. The published experts were trained one by one,
        each on its own part of the corpus.
    decoders : sequence of Decoder
        One per expert.
    masking : Masking
        How signals are masked.
    target : {"clean", "masked_input"}
        What is to be reconstructed: the signal, or the masked signal itself,
        as the published code has it.
    seed : int
        Seed of masks, where ``indices`` are given.
    deterministic_masks : bool
        A window has the same mask in every epoch, as in the published code. It
        is drawn from the window's index where ``indices`` are given, and from its
        samples otherwise. False adds the epoch to the seed of an index.
    montage : {"given", "any", "nineteen"}
        Channels that are read. ``"given"``: all; they must be as many as the
        decoders' auxiliary heads have rows. ``"nineteen"``: those of the published
        recipe, in its order. ``"any"``: the same where all are there, otherwise all
        channels, and the auxiliary heads are compared for those of the 19.
    trained : sequence of int | None
        Which experts of the network are trained; None takes all.
    relative : bool
        True: errors of each channel of each window in units of its amplitude, so
        that quiet EEG counts as much as loud EEG. Ours; the reference has False.

    Attributes
    ----------
    typical : RunningMean, shape (1,)
        Mean sample of the training data: what a predictor says that looks at
        nothing (close to zero for band-passed EEG).

    Notes
    -----
    ``positions`` of the network should be ``"pretraining"``, which
    :func:`build_objective` sees to.

    BatchNorm norms each part of a batch by its own statistics, so losses depend on
    how many windows a part has (``micro_batch_size``), as in the reference, where
    each of 8 GPUs had 8 windows. The running statistics, which evaluation and the
    trained encoder use, move once per step, by the mean over parts and processes.
    """

    def __init__(
        self, network: SpecMoE, decoders: Sequence[Decoder], *, masking: Masking,
        target: Target = "clean", seed: int = 41, deterministic_masks: bool = False,
        montage: Montage = "given", trained: Sequence[int] | None = None,
        relative: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if target not in ("clean", "masked_input"):
            raise SpecError(f"target={target!r} is not 'clean' or 'masked_input'.")
        if montage not in MONTAGES:
            raise SpecError(f"montage={montage!r} is not one of {MONTAGES}.")
        self.trained = list(range(len(network.experts)) if trained is None else trained)
        if len(decoders) != len(self.trained):
            raise SpecError(f"{len(self.trained)} experts need as many decoders.")
        self.montage, self.typical, self.relative = montage, RunningMean(1), relative
        self.network, self.decoders = network, nn.ModuleList(decoders)
        self.masking, self.target = masking, target
        self.seed, self.deterministic_masks, self.epoch = seed, deterministic_masks, 0
        wait_for_steps(self)

    @property
    def encoder(self) -> SpecMoE:
        """The experts."""
        return self.network

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Take note of the epoch, which the masks may depend on."""
        self.epoch = epoch

    def masks(
        self,
        n: int,
        n_times: int,
        *,
        indices: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw a mask for each window.

        Parameters
        ----------
        n, n_times : int
            Windows and their samples.
        indices : sequence of int | None, shape (n,)
            Place of each window in the data set: its mask is drawn from
            ``seed + 100 * index`` (and the epoch).
        generator : torch.Generator | None
            Draws the seeds where no indices are given.

        Returns
        -------
        Tensor of float64, shape (n, n_frequencies, n_frames)
            See :class:`eegfound_specmoe.masking.Masking`.

        """
        if indices is not None:
            epoch = 0 if self.deterministic_masks else self.epoch
            seeds = [(self.seed + 100 * int(index) + epoch) % 2**32 for index in indices]
        else:
            seeds = torch.randint(2**32, (n,), generator=generator).tolist()
        # The legacy generator: its order of draws is the published one.
        drawn = [self.masking.draw(n_times, np.random.RandomState(seed)) for seed in seeds]
        return torch.from_numpy(np.stack(drawn))

    def forward(
        self,
        batch: SignalBatch,
        *,
        generator: torch.Generator | None = None,
        indices: Sequence[int] | None = None,
        segments: Tensor | None = None,
    ) -> ReconstructionLosses:
        """Mask a batch, reconstruct it, and compare.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_times)`` in units of 0.1 mV at 200 Hz.
        generator : torch.Generator | None
            See :meth:`masks`.
        indices : sequence of int | None, shape (n,)
            See :meth:`masks`.
        segments : Tensor of int64 | None, shape (n,)
            Number of each window in its recording, for the time stamps; None
            takes 0.

        Returns
        -------
        ReconstructionLosses
            Whose ``total`` is to be minimized.
        """
        batch = select_montage(batch, self.montage)
        masked, _ = self._hide(batch.signal, indices, generator)
        if self.training:
            self.typical.collect(batch.signal.float().mean(dim=(1, 2))[:, None])
        target = batch.signal if self.target == "clean" else masked
        return self.compare(masked, target, batch.ch_names, segments=segments)

    def _hide(
        self, signal: Tensor, indices: Sequence[int] | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the masked signal and the masks."""
        n, _, n_times = signal.shape
        if indices is None and self.deterministic_masks:
            indices = window_numbers(signal)
        masks = self.masks(n, n_times, indices=indices, generator=generator)
        return self.masking.apply(signal, masks), masks

    def compare(
        self,
        masked: Tensor,
        target: Tensor,
        ch_names: tuple[str, ...] = (),
        *,
        segments: Tensor | None = None,
    ) -> ReconstructionLosses:
        """Reconstruct a masked signal and compare it with a target.

        Parameters
        ----------
        masked, target : Tensor, shape (n, n_channels, n_times)
            What the experts see and what they shall find.
        ch_names : tuple of str
            Names of the channels.
        segments : Tensor of int64 | None, shape (n,)
            See :meth:`forward`.

        Returns
        -------
        ReconstructionLosses
            Averaged over experts.
        """
        return self._losses(self.reconstruct(masked, ch_names, segments=segments), target, ch_names)

    def _losses(
        self, decoded: Sequence[Decoded], target: Tensor, ch_names: tuple[str, ...]
    ) -> ReconstructionLosses:
        filled, _ = self.network.prepare(target, ch_names)
        rows = self._rows(target, ch_names)
        parts = [
            reconstruction_losses(each, filled, rows, relative=self.relative) for each in decoded
        ]
        return ReconstructionLosses(
            *(
                torch.stack([getattr(part, field.name) for part in parts]).mean()
                for field in fields(ReconstructionLosses)
            )
        )

    def reconstruct(
        self,
        signal: Tensor,
        ch_names: tuple[str, ...] = (),
        *,
        segments: Tensor | None = None,
    ) -> list[Decoded]:
        """Return what each expert and its decoder make of a signal.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            In units of 0.1 mV at 200 Hz.
        ch_names : tuple of str
            Names of the channels.
        segments : Tensor of int64 | None, shape (n,)
            See :meth:`forward`.

        Returns
        -------
        list of Decoded
            One per expert, with the zeros at the end of the padded window.
        """
        x, _ = self.network.prepare(signal, ch_names)
        times = self.network.times(x, signal.shape[-1], segments)
        experts = [cast("Encoder", self.network.experts[number]) for number in self.trained]
        return [
            decoder(dict(expert.stages(x, times)), times)
            for expert, decoder in zip(experts, self.decoders)
        ]

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good signals are recovered.

        Returns
        -------
        dict of str to Tensor
            ``total``, ``squared``, ``spectral``, ``stretched2`` and ``stretched1`` as
            in :class:`ReconstructionLosses`. ``hidden`` is the mean squared error in
            the holes: of the mean reconstruction, after a transform that keeps
            what was masked. ``total_trivial`` and ``hidden_trivial`` are those of the
            mean sample of the training data; ``total_zero`` and ``hidden_zero`` of
            silence. ``total_masked`` and ``hidden_masked`` are those of the masked
            signal as it is: what a network reaches that copies its input.
        """
        batch = select_montage(batch, self.montage)
        signal, names = batch.signal, batch.ch_names
        masked, masks = self._hide(signal, None, generator)
        goal = signal if self.target == "clean" else masked
        decoded = self.reconstruct(masked, names)
        found = self._losses(decoded, goal, names)
        values = {field.name: getattr(found, field.name) for field in fields(found)}
        values["hidden"] = torch.stack(
            [self._hidden_error(each.signal, signal, masks, names) for each in decoded]
        ).mean()
        padded, _ = self.network.prepare(masked, names)
        guesses = {
            "trivial": self.typical.mean.expand_as(padded),
            "zero": torch.zeros_like(padded),
            "masked": padded,
        }
        for name, guess in guesses.items():
            plain = self._as_decoded(guess, decoded[0], names)
            values[f"total_{name}"] = self._losses([plain], goal, names).total
            values[f"hidden_{name}"] = self._hidden_error(guess, signal, masks, names)
        return values

    def _as_decoded(self, guess: Tensor, like: Decoded, ch_names: tuple[str, ...]) -> Decoded:
        """Return a padded signal in the place of both reconstructions and auxiliary heads."""
        n_rows = like.stretched2.shape[1]
        rows = self._rows(guess, ch_names)
        if rows is None:
            rows = [(i, i) for i in range(n_rows)]
        told = guess.new_zeros(len(guess), n_rows, guess.shape[-1])
        for row, channel in rows:
            told[:, row] = guess[:, channel]
        stretched2, stretched1 = (
            F.interpolate(told, size=head.shape[-1], mode="linear", align_corners=False)
            for head in (like.stretched2, like.stretched1)
        )
        return replace(like, fine=guess, coarse=guess, stretched2=stretched2, stretched1=stretched1)

    def _rows(self, signal: Tensor, ch_names: tuple[str, ...]) -> list[tuple[int, int]] | None:
        """Return which row of the auxiliary heads stands for which padded channel."""
        if self.montage == "given":
            return None
        order = self.network.prepare(signal, ch_names)[1]
        return pretraining_rows([ch_names[place] for place in order])

    def _hidden_error(
        self, guess: Tensor, signal: Tensor, masks: Tensor, ch_names: tuple[str, ...]
    ) -> Tensor:
        """Return the mean squared error of a padded guess where the plane was masked."""
        ordered = signal[:, self.network.prepare(signal, ch_names)[1]]
        error = guess.float()[..., : signal.shape[-1]] - ordered.float()
        if self.relative:
            error = error / amplitude(ordered)
        return self.masking.apply(error, 1 - masks).square().mean()

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Recover the first epoch; see the base class.

        ``hidden`` has a column per second and is True where more than half of the
        frequencies are masked. Beside it: ``masked``, the signal the first trained
        expert sees, and ``mask``, ``(n_frequencies, n_frames)``, the factors of the
        time-frequency plane.
        """
        batch = select_montage(batch, self.montage)
        signal = batch.signal[:1]
        masked, masks = self._hide(signal, None, generator)
        order = self.network.prepare(signal, batch.ch_names)[1]
        found = self.reconstruct(masked, batch.ch_names)[0].signal[0, :, : signal.shape[-1]]
        left = masks[0].mean(dim=0)
        seconds = (left[:-1] + left[1:]) / 2 < 0.5
        return {
            "signal": signal[0, order],
            "reconstruction": found,
            "hidden": seconds.to(signal.device).expand(len(order), -1),
            "masked": masked[0, order],
            "mask": masks[0],
        }

    def after_step(self, progress: float) -> None:
        """Move BatchNorm's running statistics, and what is typical of the data."""
        self.typical.follow()
        follow(self)


def build_objective(
    *, n_experts: int = 1, n_channels: int = 19, target: Target = "clean", seed: int = 41,
    deterministic_masks: bool = False, masking: Masking | None = None,
    montage: Montage = "given", relative: bool = False, **config: Any,
) -> MaskedReconstruction:  # fmt: skip
    """Build an objective that trains all experts side by side.

    Parameters
    ----------
    n_experts : int
        Experts; the reference trains one at a time, as the stages do (see
        :mod:`eegfound_specmoe.stages`).
    n_channels : int
        Rows of the auxiliary heads: channels of the training data for
        ``montage="given"``, otherwise 19.
    target, seed, deterministic_masks, montage, relative
        See :class:`MaskedReconstruction`.
    masking : Masking | None
        None masks as the reference does.
    **config : Any
        See :class:`eegfound_specmoe.network.SpecMoE`; time stamps are those of
        pretraining in any case.

    Returns
    -------
    MaskedReconstruction
        Its ``encoder`` is what a Transformer uses afterwards.
    """
    network = build_for_pretraining(n_experts, config)
    decoders = [build_decoder(config, n_channels) for _ in range(n_experts)]
    return MaskedReconstruction(
        network, decoders, masking=masking or Masking(), target=target, seed=seed,
        deterministic_masks=deterministic_masks, montage=montage, relative=relative,
    )  # fmt: skip
