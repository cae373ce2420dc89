"""Dual self-supervision: align features of all slices, rebuild hidden patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound.nn.slices import (
    Prediction,
    PretrainingNetworks,
    SliceEncoder,
    SliceMasks,
    draw_masks,
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
    hide_slice, rebuild : float
        See :func:`eegfound.nn.slices.draw_masks`.
    align : bool
        Whether the alignment loss counts (the paper's ablation A without).
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
    The authors use the *momentum* encoder afterwards: it is
    ``networks.target_encoder``.
    """

    def __init__(
        self, networks: PretrainingNetworks, *, n_visible: int | None = None,
        hide_slice: float = 0.5, rebuild: float = 0.2, align: bool = True,
        norm_patches: bool = True, skip: bool = True,
        momentum: tuple[float, float] = (0.996, 1.0), input_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.networks, self.input_scale, self.momentum = networks, input_scale, momentum
        self.n_visible, self.hide_slice, self.rebuild = n_visible, hide_slice, rebuild
        self.align, self.norm_patches, self.skip = align, norm_patches, skip

    @property
    def encoder(self) -> SliceEncoder:
        """The trained encoder (its slow copy is ``networks.target_encoder``)."""
        return self.networks.encoder

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
        if masks is None:
            n_slices, n_channels = self.encoder.cut(signal).shape[1:3]
            drawn = draw_masks(
                n_slices, n_channels, n_visible=self.n_visible, hide_slice=self.hide_slice,
                rebuild=self.rebuild, generator=generator,
            )  # fmt: skip
            masks = SliceMasks(*(mask.to(signal.device) for mask in drawn))
        return self.losses(signal, batch.rows, masks)

    def losses(self, signal: Tensor, ids: Tensor | None, masks: SliceMasks) -> DualLosses:
        """Compute the losses of a scaled signal and given masks.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            Samples as the encoder takes them.
        ids : Tensor of int64 | None, shape (n_channels,)
            Row of each channel in the table; None takes rows 0, 1, 2, ….
        masks : SliceMasks
            What is visible and what is rebuilt.

        Returns
        -------
        DualLosses
            Whose ``total`` is to be minimized.
        """
        made = self.networks(signal, ids, masks, norm_patches=self.norm_patches, skip=self.skip)
        alignment = (made.predicted - made.features).square().mean()
        reconstruction = (made.rebuilt - made.patches).square().mean()
        total = alignment + reconstruction if self.align else reconstruction
        return DualLosses(total, alignment, reconstruction, made)

    def after_step(self, progress: float) -> None:
        """Let the momentum encoder follow; its momentum grows linearly with ``progress``."""
        start, end = self.momentum
        self.networks.update_momentum(start + (end - start) * progress)


def build_objective(
    *, n_visible: int | None = None, hide_slice: float = 0.5, rebuild: float = 0.2,
    align: bool = True, norm_patches: bool = True, skip: bool = True,
    momentum: tuple[float, float] = (0.996, 1.0), input_scale: float = 1.0, **config: Any,
) -> DualObjective:  # fmt: skip
    """Build the objective of a named size.

    Parameters
    ----------
    n_visible, hide_slice, rebuild, align, norm_patches, skip, momentum, input_scale
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
        rebuild=rebuild, align=align, norm_patches=norm_patches, skip=skip, momentum=momentum,
        input_scale=input_scale,
    )  # fmt: skip
