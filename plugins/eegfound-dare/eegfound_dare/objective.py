"""Dual-aligned pretraining: mask alignment, anchor alignment, reconstruction."""

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
from eegfound_dare.contrast import MaskContrast
from eegfound_dare.views import SECOND_VIEWS, draw_second_view

#: The paper's ablation cases as options of :class:`DAREObjective`.
ABLATIONS: dict[int, dict[str, Any]] = {
    1: {"anchor_weight": 0.0},
    2: {"norm_patches": False},
    3: {"skip": False},
    4: {"mask_weight": 0.0, "activation_weight": 0.0},
    5: {},
}


class DARENetworks(PretrainingNetworks):
    """The networks of pretraining, named as in the authors' checkpoints.

    Parameters
    ----------
    temperature : float
        Of mask alignment.
    **config : Any
        See :class:`eegfound.nn.slices.PretrainingNetworks`.
    """

    def __init__(self, *, temperature: float = 0.1, **config: Any) -> None:
        super().__init__(**config)
        n_features = self.encoder.n_summary * self.encoder.width
        self.loss_mc = MaskContrast(n_features, temperature=temperature)


@dataclass(frozen=True)
class DARELosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Weighted sum.
    anchor : Tensor, shape ()
        Mean squared error of predicted features, over all slices.
    reconstruction : Tensor, shape ()
        Mean squared error of the rebuilt patches.
    mask : Tensor, shape ()
        Contrastive loss between the two views.
    activation : Tensor, shape ()
        Mean square of both views' tokens.
    prediction : Prediction
        What the losses of the first view were computed from.
    second : Tensor, shape (n, n_visible, n_summary, width)
        Summary tokens of the second view.
    """

    total: Tensor
    anchor: Tensor
    reconstruction: Tensor
    mask: Tensor
    activation: Tensor
    prediction: Prediction
    second: Tensor


class DAREObjective(Objective):
    """DARE-EEG's pretraining (Shao et al., arXiv 2605.18298).

    Parameters
    ----------
    networks : DARENetworks
        Trained; the momentum encoder follows after each step.
    second_view : {"same_slice", "reference"}
        See :func:`eegfound_dare.views.draw_second_view`.
    freeze_projection : bool
        Leave the projection head of mask alignment as it was drawn, as the
        authors' optimizer does.
    n_visible : int | None
        Visible channels per visible slice; None is 12 of 58, in proportion.
    hide_slice, rebuild, n_rebuilt
        See :func:`eegfound.nn.slices.draw_masks`.
    anchor_weight, mask_weight, activation_weight : float
        Weights of the terms beside the reconstruction.
    anchor_from : float
        Share of the training in which the weight of the anchor grows from 0. At
        first features say little of the signal, and are best aligned by saying
        nothing at all. 0, the authors' way, counts it from the start. In
        evaluation it counts in full, so that passes can be compared.
    single_until : float
        Share of the training in which windows are read slice by slice, without the
        anchor (the logged one is 0 then): views and hidden channels are those of one
        slice. What summary
        tokens should hold is found much faster where nothing else can be looked at.
        0, the authors' way, has whole windows from the start.
    norm_patches : bool
        Whether target patches are normed.
    skip : bool
        Whether the reconstructor reads the encoder's own tokens of visible
        slices.
    momentum : (float, float)
        Momentum of the momentum encoder at the start and at the end.
    input_scale : float
        Multiplied to the signal.

    Notes
    -----
    :data:`ABLATIONS` has the options of the paper's cases. Mask alignment tells
    an epoch from the others that pass :meth:`forward` with it (of one cap, of
    one part of a global batch), so the number of negatives follows the size of
    the parts; an epoch on its own has none. The authors use the *momentum*
    encoder afterwards, so it is what is kept.
    """

    progress: Tensor

    def __init__(
        self, networks: DARENetworks, *, second_view: str = "same_slice",
        freeze_projection: bool = False, n_visible: int | None = None, hide_slice: float = 0.5,
        rebuild: float = 0.2, n_rebuilt: int | None = None, anchor_weight: float = 1.0,
        mask_weight: float = 0.1, activation_weight: float = 1e-4, anchor_from: float = 0.0,
        single_until: float = 0.0, norm_patches: bool = True, skip: bool = True,
        momentum: tuple[float, float] = (0.996, 1.0), input_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if second_view not in SECOND_VIEWS:
            raise SpecError(f"second_view={second_view!r} is not one of {SECOND_VIEWS}.")
        for name, share in (("anchor_from", anchor_from), ("single_until", single_until)):
            if not 0 <= share <= 1:
                raise SpecError(f"{name}={share!r} must lie in 0…1.")
        self.networks, self.second_view = networks, second_view
        self.n_visible, self.hide_slice, self.rebuild = n_visible, hide_slice, rebuild
        self.anchor_weight, self.mask_weight = anchor_weight, mask_weight
        self.n_rebuilt, self.anchor_from = n_rebuilt, anchor_from
        self.activation_weight = activation_weight
        # In the state dict: a training that is taken up again goes on with it.
        self.register_buffer("progress", torch.zeros((), dtype=torch.float64))
        self.norm_patches, self.skip, self.single_until = norm_patches, skip, single_until
        self.momentum, self.input_scale = momentum, input_scale
        if freeze_projection:
            networks.loss_mc.requires_grad_(False)

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
        masks: SliceMasks | None = None, second: Tensor | None = None,
    ) -> DARELosses:  # fmt: skip
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_times)`` in millivolt at 256 Hz, ``n >= 2``.
        generator : torch.Generator | None
            CPU generator of masks and second view.
        masks : SliceMasks | None
            The same for all epochs; None draws them.
        second : Tensor of int64 | None, shape (n_slices, n_visible)
            The second view; None draws it.

        Returns
        -------
        DARELosses
            Whose ``total`` is to be minimized.
        """
        signal = batch.signal * self.input_scale
        if self.training and masks is None and float(self.progress) < self.single_until:
            signal = one_slice_each(signal, self.encoder.patch)
            drawn = self._draw(signal, generator, hide_slice=0.0)
            return self.losses(signal, batch.rows, *drawn, anchor=False)
        return self.losses(signal, batch.rows, *self._draw(signal, generator, masks, second))

    def _draw(
        self, signal: Tensor, generator: torch.Generator | None,
        masks: SliceMasks | None = None, second: Tensor | None = None, *,
        hide_slice: float | None = None,
    ) -> tuple[SliceMasks, Tensor]:  # fmt: skip
        n_slices, n_channels = self.encoder.cut(signal).shape[1:3]
        hide_slice = self.hide_slice if hide_slice is None else hide_slice
        if masks is None:
            masks = draw_masks(
                n_slices, n_channels, n_visible=self.n_visible, hide_slice=hide_slice,
                rebuild=self.rebuild, n_rebuilt=self.n_rebuilt, generator=generator,
            )  # fmt: skip
        if second is None:
            second = draw_second_view(
                masks.visible, n_channels, kind=self.second_view, generator=generator
            )
        masks = SliceMasks(*(mask.to(signal.device) for mask in masks))
        return masks, second.to(signal.device)

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good features, patches and views are told; see the base class.

        Returns
        -------
        dict of str to Tensor
            ``total``; what :func:`eegfound.nn.slices.feature_measures` and
            :func:`eegfound.nn.slices.patch_measures` tell; ``mask`` and
            ``mask_accuracy``, how often the other view of an epoch is the most
            similar one of the batch, beside those of a guess.
        """
        signal = batch.signal * self.input_scale
        masks, second = self._draw(signal, generator)
        losses = self.losses(signal, batch.rows, masks, second)
        first, n = losses.prediction.visible, len(signal)
        return {
            "total": losses.total,
            **feature_measures(losses.prediction, "anchor"),
            **patch_measures(losses.prediction, masks, signal.shape[1]),
            "mask": losses.mask,
            "mask_trivial": signal.new_tensor(n).log(),
            "mask_accuracy": self.networks.loss_mc.accuracy(first, losses.second),
            "mask_accuracy_trivial": signal.new_tensor(1 / n),
            "activation": losses.activation,
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
        self, signal: Tensor, ids: Tensor | None, masks: SliceMasks, second: Tensor, *,
        anchor: bool = True,
    ) -> DARELosses:  # fmt: skip
        """Compute the losses of a scaled signal and given masks.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            Samples as the encoder takes them.
        ids : Tensor of int64 | None, shape (n_channels,)
            Row of each channel in the table; None takes rows 0, 1, 2, ….
        masks : SliceMasks
            What is visible and what is rebuilt.
        second : Tensor of int64, shape (n_slices, n_visible)
            The second view.
        anchor : bool
            False leaves anchor alignment out, which is then zero.

        Returns
        -------
        DARELosses
            Whose ``total`` is to be minimized.
        """
        made = self.networks(
            signal, ids, masks, norm_patches=self.norm_patches, skip=self.skip, features=anchor
        )
        anchored = (made.predicted - made.features).square().mean()
        reconstruction = (made.rebuilt - made.patches).square().mean()
        z2 = self.encoder.encode(signal, ids, second)
        mask = self.networks.loss_mc(made.visible, z2)
        activation = 0.5 * (made.visible.square().mean() + z2.square().mean())
        grown: Any = 1.0
        if self.training and self.anchor_from:
            grown = (self.progress / self.anchor_from).clamp(max=1).to(anchored.dtype)
        total = reconstruction
        # A term without weight is left out: it must not spoil gradients with 0 * inf.
        for weight, term in (
            (self.anchor_weight, grown * anchored),
            (self.mask_weight, mask),
            (self.activation_weight, activation),
        ):
            if weight:
                total = total + weight * term
        return DARELosses(total, anchored, reconstruction, mask, activation, made, z2)

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
    *, previous: Mapping[str, Objective] | None = None, temperature: float = 0.1,
    second_view: str = "same_slice", freeze_projection: bool = False,
    n_visible: int | None = None, hide_slice: float = 0.5, rebuild: float = 0.2,
    n_rebuilt: int | None = None, anchor_weight: float = 1.0, mask_weight: float = 0.1,
    activation_weight: float = 1e-4, anchor_from: float = 0.0, single_until: float = 0.0,
    norm_patches: bool = True, skip: bool = True,
    momentum: tuple[float, float] = (0.996, 1.0), input_scale: float = 1.0, **config: Any,
) -> DAREObjective:  # fmt: skip
    """Build the objective of a named size.

    Parameters
    ----------
    previous : mapping | None
        Earlier stages: there are none.
    temperature : float
        Of mask alignment.
    second_view, freeze_projection, n_visible, hide_slice, rebuild, n_rebuilt
        See :class:`DAREObjective`.
    anchor_weight, mask_weight, activation_weight, anchor_from, single_until
        See :class:`DAREObjective`.
    norm_patches, skip, momentum, input_scale
        See :class:`DAREObjective`.
    **config : Any
        See :class:`eegfound.nn.slices.PretrainingNetworks`.

    Returns
    -------
    DAREObjective
        With fresh networks; the momentum encoder starts as a copy.
    """
    return DAREObjective(
        DARENetworks(temperature=temperature, **config), second_view=second_view,
        freeze_projection=freeze_projection, n_visible=n_visible, hide_slice=hide_slice,
        rebuild=rebuild, n_rebuilt=n_rebuilt, anchor_weight=anchor_weight,
        mask_weight=mask_weight, activation_weight=activation_weight, anchor_from=anchor_from,
        single_until=single_until, norm_patches=norm_patches, skip=skip, momentum=momentum,
        input_scale=input_scale,
    )  # fmt: skip
