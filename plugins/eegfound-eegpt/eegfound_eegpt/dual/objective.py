"""Dual self-supervision: align features of all slices, rebuild hidden patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound.nn.slices import (
    Prediction,
    PretrainingNetworks,
    SliceEncoder,
    SliceMasks,
    draw_masks,
    feature_measures,
    illustrate_masking,
    one_slice_each,
    patch_measures,
)


@dataclass(frozen=True)
class DualLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Alignment plus reconstruction.
    alignment : Tensor, shape ()
        Mean squared error of predicted features, over all slices.
    reconstruction : Tensor, shape ()
        Mean squared error of the rebuilt patches.
    prediction : Prediction
        What the losses were computed from.
    """

    total: Tensor
    alignment: Tensor
    reconstruction: Tensor
    prediction: Prediction


class DualObjective(Objective):
    """EEGPT's pretraining (Wang et al., NeurIPS 2024, section 2).

    Parameters
    ----------
    networks : PretrainingNetworks
        Trained; the momentum encoder follows after each step.
    n_visible : int | None
        Visible channels per visible slice; None is 12 of 58, in proportion.
    hide_slice, rebuild, n_rebuilt
        See :func:`eegfound.nn.slices.draw_masks`.
    align : bool
        Whether the alignment loss counts (the paper's ablation A without).
    align_from : float
        Share of the training in which its weight grows from 0 to 1. At first
        features say little of the signal, and are best aligned by saying
        nothing at all. 0, the authors' way, counts it from the start. In
        evaluation it counts in full, so that passes can be compared.
    single_until : float
        Share of the training in which windows are read slice by slice: hidden
        channels are rebuilt from the visible ones of their slice, and nothing is
        aligned (the logged alignment of these steps is 0). What summary tokens
        should hold is found much faster where nothing else can be looked at. 0, the
        authors' way, has whole windows from the start.
    norm_patches : bool
        Whether target patches are normed (ablation B without).
    skip : bool
        Whether the reconstructor reads the encoder's own tokens of visible
        slices (ablation C without).
    momentum : (float, float)
        Momentum of the momentum encoder at the start and at the end.
    input_scale : float
        Multiplied to the signal.

    Notes
    -----
    The authors use the *momentum* encoder afterwards, so it is what is kept.
    """

    progress: Tensor

    def __init__(
        self, networks: PretrainingNetworks, *, n_visible: int | None = None,
        hide_slice: float = 0.5, rebuild: float = 0.2, n_rebuilt: int | None = None,
        align: bool = True, align_from: float = 0.0, single_until: float = 0.0,
        norm_patches: bool = True, skip: bool = True,
        momentum: tuple[float, float] = (0.996, 1.0), input_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, share in (("align_from", align_from), ("single_until", single_until)):
            if not 0 <= share <= 1:
                raise SpecError(f"{name}={share!r} must lie in 0…1.")
        self.networks, self.input_scale, self.momentum = networks, input_scale, momentum
        self.n_visible, self.hide_slice, self.rebuild = n_visible, hide_slice, rebuild
        self.n_rebuilt, self.align, self.align_from = n_rebuilt, align, align_from
        self.norm_patches, self.skip, self.single_until = norm_patches, skip, single_until
        # In the state dict: a training that is taken up again goes on with it.
        self.register_buffer("progress", torch.zeros((), dtype=torch.float64))

    @property
    def encoder(self) -> SliceEncoder:
        """The trained encoder (its slow copy is :attr:`kept`)."""
        return self.networks.encoder

    @property
    def kept(self) -> SliceEncoder:
        """The momentum encoder, ``networks.target_encoder``."""
        return self.networks.target_encoder

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None,
        masks: SliceMasks | None = None,
    ) -> DualLosses:  # fmt: skip
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_times)`` in millivolt at 256 Hz.
        generator : torch.Generator | None
            CPU generator of the masks.
        masks : SliceMasks | None
            The same for all epochs; None draws them.

        Returns
        -------
        DualLosses
            Whose ``total`` is to be minimized.
        """
        signal = batch.signal * self.input_scale
        if self.training and masks is None and float(self.progress) < self.single_until:
            signal = one_slice_each(signal, self.encoder.patch)
            masks = self._draw(signal, generator, hide_slice=0.0)
            return self.losses(signal, batch.rows, masks, align=False)
        masks = self._draw(signal, generator) if masks is None else masks
        return self.losses(signal, batch.rows, masks)

    def _draw(
        self, signal: Tensor, generator: torch.Generator | None, *, hide_slice: float | None = None
    ) -> SliceMasks:
        n_slices, n_channels = self.encoder.cut(signal).shape[1:3]
        hide_slice = self.hide_slice if hide_slice is None else hide_slice
        masks = draw_masks(
            n_slices, n_channels, n_visible=self.n_visible, hide_slice=hide_slice,
            rebuild=self.rebuild, n_rebuilt=self.n_rebuilt, generator=generator,
        )  # fmt: skip
        return SliceMasks(*(mask.to(signal.device) for mask in masks))

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good features and patches are predicted; see the base class.

        Returns
        -------
        dict of str to Tensor
            ``total``, and what :func:`eegfound.nn.slices.feature_measures` and
            :func:`eegfound.nn.slices.patch_measures` tell.
        """
        signal = batch.signal * self.input_scale
        masks = self._draw(signal, generator)
        losses = self.losses(signal, batch.rows, masks)
        return {
            "total": losses.total,
            **feature_measures(losses.prediction),
            **patch_measures(losses.prediction, masks, signal.shape[1]),
        }

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Rebuild the first epoch's hidden patches; see the base class."""
        drawn = illustrate_masking(
            self.networks, batch.signal * self.input_scale, batch.rows, n_visible=self.n_visible,
            hide_slice=self.hide_slice, norm_patches=self.norm_patches, skip=self.skip,
            generator=generator,
        )  # fmt: skip
        for name in ("signal", "reconstruction"):
            drawn[name] = drawn[name] / self.input_scale
        return drawn

    def losses(
        self, signal: Tensor, ids: Tensor | None, masks: SliceMasks, *, align: bool = True
    ) -> DualLosses:
        """Compute the losses of a scaled signal and given masks.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            Samples as the encoder takes them.
        ids : Tensor of int64 | None, shape (n_channels,)
            Row of each channel in the table; None takes rows 0, 1, 2, ….
        masks : SliceMasks
            What is visible and what is rebuilt.
        align : bool
            False leaves alignment out, which is then zero.

        Returns
        -------
        DualLosses
            Whose ``total`` is to be minimized.
        """
        made = self.networks(
            signal, ids, masks, norm_patches=self.norm_patches, skip=self.skip, features=align
        )
        alignment = (made.predicted - made.features).square().mean()
        reconstruction = (made.rebuilt - made.patches).square().mean()
        total = alignment + reconstruction if self.align else reconstruction
        if self.training and self.align and self.align_from:
            weight = (self.progress / self.align_from).clamp(max=1).to(alignment.dtype)
            total = weight * alignment + reconstruction
        return DualLosses(total, alignment, reconstruction, made)

    def prepare(self, batch: SignalBatch) -> None:
        """Begin at the beginning, whatever training the weights come from."""
        self.progress.zero_()

    def after_step(self, progress: float) -> None:
        """Let the momentum encoder follow; its momentum grows linearly with ``progress``."""
        self.progress.fill_(progress)
        start, end = self.momentum
        self.networks.update_momentum(start + (end - start) * progress)

    def no_weight_decay(self) -> set[str]:
        """Return biases and gains: the authors decay matrices, tables and tokens only."""
        return {name for name, p in self.named_parameters() if p.requires_grad and p.ndim <= 1}


def build_objective(
    *, previous: Mapping[str, Objective] | None = None, n_visible: int | None = None,
    hide_slice: float = 0.5, rebuild: float = 0.2, n_rebuilt: int | None = None,
    align: bool = True, align_from: float = 0.0, single_until: float = 0.0,
    norm_patches: bool = True, skip: bool = True, momentum: tuple[float, float] = (0.996, 1.0),
    input_scale: float = 1.0, **config: Any,
) -> DualObjective:  # fmt: skip
    """Build the objective of a named size.

    Parameters
    ----------
    previous : mapping | None
        Earlier stages: there are none.
    n_visible, hide_slice, rebuild, n_rebuilt, align, align_from
        See :class:`DualObjective`.
    norm_patches, skip, momentum, input_scale
        See :class:`DualObjective`.
    **config : Any
        See :class:`eegfound.nn.slices.PretrainingNetworks`.

    Returns
    -------
    DualObjective
        With fresh networks; the momentum encoder starts as a copy.
    """
    return DualObjective(
        PretrainingNetworks(**config), n_visible=n_visible, hide_slice=hide_slice,
        rebuild=rebuild, n_rebuilt=n_rebuilt, align=align, align_from=align_from,
        single_until=single_until, norm_patches=norm_patches, skip=skip, momentum=momentum,
        input_scale=input_scale,
    )  # fmt: skip
