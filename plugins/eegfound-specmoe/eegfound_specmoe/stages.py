"""SpecMoE's stages: one expert after another, and the gates.

The reference trains its three experts with one recipe on three slices of one
shuffled list of windows. Gates are trained with labels only, after that; the
stage for them here, in :mod:`eegfound_specmoe.gates`, is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound_specmoe.decoder import Decoder, build_decoder
from eegfound_specmoe.gates import SpectrumGates
from eegfound_specmoe.losses import ReconstructionLosses
from eegfound_specmoe.masking import Masking
from eegfound_specmoe.network import SpecMoE, build_for_pretraining
from eegfound_specmoe.objective import MaskedReconstruction
from eegfound_specmoe.selection import select_montage, window_numbers

#: Experts that have a stage of their own.
N_STAGES = 3


class ExpertObjective(MaskedReconstruction):
    """Train one expert of a mixture; those before it stay as they are.

    Until it is their turn, experts after it are copies of it: the mixture that
    is kept never holds untrained weights.

    Parameters
    ----------
    network : SpecMoE
        The mixture.
    decoder : Decoder
        Of the expert.
    number : int
        Which expert, from 0.
    earlier : SpecMoE | None
        A mixture whose experts before this one are trained.
    data_slices : bool
        True: of the training windows the expert sees only those of its slice, one
        in as many as there are experts, chosen by a number made of their
        samples; so it is in the reference, whose slices have no meaning either.
        False: each expert sees all windows, with masks of its own.
    **options : Any
        See :class:`eegfound_specmoe.objective.MaskedReconstruction`.
    """

    def __init__(
        self, network: SpecMoE, decoder: Decoder, number: int, *, earlier: SpecMoE | None = None,
        data_slices: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(network, [decoder], trained=[number], **options)
        self.number, self.data_slices = number, data_slices
        for i, expert in enumerate(network.experts):
            expert.requires_grad_(i == number)
        self._earlier = [earlier]  # in a list, so that it is no part of this module
        self._take_earlier()
        self._copies = True
        self._copy_to_later()

    def _take_earlier(self) -> None:
        (earlier,) = self._earlier
        if earlier is not None:
            copy_experts(earlier, self.network, self.number)

    def prepare(self, batch: SignalBatch) -> None:
        """Sort out what ``checkpoint=`` gave, if anything.

        Experts before this one are those of the earlier stages all the same; those
        after it stay as given.
        """
        self._take_earlier()
        self._settle()

    @property
    def inherited(self) -> tuple[str, ...]:
        """Experts before this one."""
        return tuple(f"network.experts.{i}." for i in range(self.number))

    def take_up(self, state: Mapping[str, Tensor]) -> bool:
        """Go on, with experts after this one as they were."""
        changed = super().take_up(state)
        self._settle()
        return changed

    def _settle(self) -> None:
        """Find out whether experts after this one are its copies."""
        self._earlier = [None]
        own, *later = (e.state_dict() for e in list(self.network.experts)[self.number :])
        self._copies = all(torch.equal(own[key], each[key]) for each in later for key in own)

    def _copy_to_later(self) -> None:
        if self._copies:
            state = self.network.experts[self.number].state_dict()
            for later in list(self.network.experts)[self.number + 1 :]:
                later.load_state_dict(state)

    def forward(
        self,
        batch: SignalBatch,
        *,
        generator: torch.Generator | None = None,
        indices: Sequence[int] | None = None,
        segments: Tensor | None = None,
    ) -> ReconstructionLosses:
        """Mask a batch, reconstruct it, and compare; see the base class.

        In training with ``data_slices`` the losses are those of the slice, times
        the share of the batch in it that exceeds the expected one: so the mean over
        parts of a step is the mean over the slice's windows, but for chance.
        """
        n_slices = len(self.network.experts)
        if not (self.training and self.data_slices and n_slices > 1):
            return super().forward(batch, generator=generator, indices=indices, segments=segments)
        batch = select_montage(batch, self.montage)
        numbers = window_numbers(batch.signal)
        mine = [i for i, number in enumerate(numbers) if number % n_slices == self.number]
        if not mine:
            nothing = sum(p.sum() for p in self.parameters() if p.requires_grad) * 0.0
            return ReconstructionLosses(*(nothing for _ in fields(ReconstructionLosses)))  # type: ignore[arg-type]
        some = SignalBatch(batch.signal[mine], batch.rows, batch.ch_names)
        found = super().forward(
            some,
            generator=generator,
            indices=None if indices is None else [indices[i] for i in mine],
            segments=None if segments is None else segments[mine],
        )
        weight = n_slices * len(mine) / len(numbers)
        return ReconstructionLosses(
            *(weight * getattr(found, field.name) for field in fields(found))
        )

    def after_step(self, progress: float) -> None:
        """Move running statistics, and let later experts follow this one."""
        super().after_step(progress)
        self._copy_to_later()


def build_expert(
    number: int, previous: Mapping[str, Objective] | None = None, *, n_experts: int = 3,
    n_channels: int = 19, masking: Masking | None = None, montage: Any = "any",
    target: Any = "clean", seed: int = 41, deterministic_masks: bool = False,
    data_slices: bool = False, relative: bool = False, **config: Any,
) -> ExpertObjective:  # fmt: skip
    """Build the objective of one expert.

    Parameters
    ----------
    number : int
        Which, from 0.
    previous : mapping of str to Objective
        Earlier stages; that of the expert before this one is taken up.
    n_experts : int
        Experts of the mixture.
    n_channels, masking, montage, target, seed, deterministic_masks
        See :func:`eegfound_specmoe.objective.build_objective`; channels are those
        of the published recipe where all are there (``montage="any"``).
    data_slices : bool
        See :class:`ExpertObjective`.
    **config : Any
        See :class:`eegfound_specmoe.network.SpecMoE`.

    Returns
    -------
    ExpertObjective
        The mixture as far as it is trained.

    Raises
    ------
    SpecError
        If the mixture has no such expert, or those before it are not there.
    """
    if n_experts > N_STAGES:
        raise SpecError(
            f"n_experts={n_experts}: the stages train {N_STAGES}. Train more one at a time with "
            "size='expert' and put them together with assemble_experts."
        )
    if number >= n_experts:
        stages = [*(f"expert-{i + 1}" for i in range(n_experts)), "gates"]
        raise SpecError(
            f"With n_experts={n_experts} there is no stage 'expert-{number + 1}': pass "
            f"stages={stages}."
        )
    network = build_for_pretraining(n_experts, config, pooling="reference")
    decoder = build_decoder(config, n_channels)
    earlier = _mixture_before(previous, number, f"expert-{number + 1}") if number else None
    return ExpertObjective(
        network, decoder, number, earlier=earlier, data_slices=data_slices,
        masking=masking or Masking(), target=target, seed=seed,
        deterministic_masks=deterministic_masks, montage=montage, relative=relative,
    )  # fmt: skip


def build_expert_1(
    *, previous: Mapping[str, Objective] | None = None, **options: Any
) -> ExpertObjective:
    """Build the objective of the first expert; see :func:`build_expert`."""
    return build_expert(0, previous, **options)


def build_expert_2(
    *, previous: Mapping[str, Objective] | None = None, **options: Any
) -> ExpertObjective:
    """Build the objective of the second expert; see :func:`build_expert`."""
    return build_expert(1, previous, **options)


def build_expert_3(
    *, previous: Mapping[str, Objective] | None = None, **options: Any
) -> ExpertObjective:
    """Build the objective of the third expert; see :func:`build_expert`."""
    return build_expert(2, previous, **options)


def build_gates(
    *, previous: Mapping[str, Objective] | None = None, n_experts: int = 3,
    masking: Masking | None = None, montage: Any = "any", **config: Any,
) -> SpectrumGates:  # fmt: skip
    """Build the objective of the gates.

    Parameters
    ----------
    previous : mapping of str to Objective
        Earlier stages; that of the last expert is taken up. Without it the experts
        must be given (``checkpoint=``) before training.
    n_experts : int
        Experts of the mixture.
    masking : Masking | None
        None masks as for the experts.
    montage : {"given", "any", "nineteen"}
        See :class:`eegfound_specmoe.objective.MaskedReconstruction`.
    **config : Any
        See :class:`eegfound_specmoe.network.SpecMoE`.

    Returns
    -------
    SpectrumGates
        The mixture with its gates.
    """
    network = build_for_pretraining(n_experts, config, pooling="fused")
    last = f"expert-{n_experts}"
    known = last in (previous or {})
    if known:
        copy_experts(_mixture_before(previous, n_experts, "gates"), network, n_experts)
    return SpectrumGates(network, masking=masking or Masking(), montage=montage, trained=known)


def copy_experts(source: SpecMoE, target: SpecMoE, count: int) -> None:
    """Copy the first ``count`` experts of a mixture into another one."""
    for i in range(count):
        target.experts[i].load_state_dict(source.experts[i].state_dict())


def _mixture_before(previous: Mapping[str, Objective] | None, count: int, stage: str) -> SpecMoE:
    """Return the mixture of the stage that trained the ``count``-th expert."""
    before = f"expert-{count}"
    trained = (previous or {}).get(before)
    if not isinstance(trained, MaskedReconstruction):
        raise SpecError(
            f"Stage {stage!r} goes on from {before!r}, which is not there: train both, or pass "
            "the objectives that were saved after it, save(path, what='objective'), as checkpoint=."
        )
    return trained.network
