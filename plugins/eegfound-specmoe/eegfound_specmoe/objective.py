"""Pretraining: recover a signal whose time-frequency plane has holes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound_specmoe.decoder import Decoded, Decoder
from eegfound_specmoe.encoder import Encoder
from eegfound_specmoe.losses import ReconstructionLosses, reconstruction_losses
from eegfound_specmoe.masking import Masking
from eegfound_specmoe.network import SpecMoE

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
        An index has the same mask in every epoch, as in the published code;
        otherwise the epoch is added to the seed.

    Notes
    -----
    ``positions`` of the network should be ``"pretraining"``, which
    :func:`build_objective` sees to.
    """

    def __init__(
        self, network: SpecMoE, decoders: Sequence[Decoder], *, masking: Masking,
        target: Target = "clean", seed: int = 41, deterministic_masks: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if target not in ("clean", "masked_input"):
            raise SpecError(f"target={target!r} is not 'clean' or 'masked_input'.")
        if len(decoders) != len(network.experts):
            raise SpecError(f"{len(network.experts)} experts need as many decoders.")
        self.network, self.decoders = network, nn.ModuleList(decoders)
        self.masking, self.target = masking, target
        self.seed, self.deterministic_masks, self.epoch = seed, deterministic_masks, 0

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

        Raises
        ------
        SpecError
            If masks shall be deterministic but there are no indices.
        """
        if indices is not None:
            epoch = 0 if self.deterministic_masks else self.epoch
            seeds = [(self.seed + 100 * int(index) + epoch) % 2**32 for index in indices]
        elif self.deterministic_masks:
            raise SpecError(
                "deterministic_masks=True needs indices=, the place of each window in the data."
            )
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
        n, _, n_times = batch.signal.shape
        masks = self.masks(n, n_times, indices=indices, generator=generator)
        masked = self.masking.apply(batch.signal, masks)
        target = batch.signal if self.target == "clean" else masked
        return self.compare(masked, target, batch.ch_names, segments=segments)

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
        filled, _ = self.network.prepare(target, ch_names)
        parts = [
            reconstruction_losses(decoded, filled)
            for decoded in self.reconstruct(masked, ch_names, segments=segments)
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
        experts = cast("Iterable[Encoder]", self.network.experts)
        return [
            decoder(dict(expert.stages(x, times)), times)
            for expert, decoder in zip(experts, self.decoders)
        ]


def build_objective(
    *,
    n_experts: int = 1,
    n_channels: int = 19,
    target: Target = "clean",
    seed: int = 41,
    deterministic_masks: bool = False,
    masking: Masking | None = None,
    heads: int = 8,
    dropout: float = 0.2,
    attention: Any = "auto",
    channel_order: Any = "given",
) -> MaskedReconstruction:
    """Build the pretraining objective.

    Parameters
    ----------
    n_experts : int
        Experts trained side by side; the reference trains one at a time.
    n_channels : int
        Channels of the training data, which the auxiliary heads are made for.
    target, seed, deterministic_masks
        See :class:`MaskedReconstruction`.
    masking : Masking | None
        None masks as the reference does.
    heads, dropout, attention, channel_order
        See :class:`eegfound_specmoe.network.SpecMoE`.

    Returns
    -------
    MaskedReconstruction
        Its ``encoder`` is what a Transformer uses afterwards.
    """
    options: dict[str, Any] = {"heads": heads, "dropout": dropout, "attention": attention}
    network = SpecMoE(
        n_experts=n_experts, positions="pretraining", channel_order=channel_order, **options
    )
    decoders = [Decoder(n_rows=n_channels, **options) for _ in range(n_experts)]
    return MaskedReconstruction(
        network, decoders, masking=masking or Masking(), target=target, seed=seed,
        deterministic_masks=deterministic_masks,
    )  # fmt: skip
