"""The four networks of pretraining, named as in published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.nn import MomentumEncoder
from eegfound.nn.slices.encoder import SliceEncoder
from eegfound.nn.slices.masking import SliceMasks
from eegfound.nn.slices.predictor import SlicePredictor
from eegfound.nn.slices.reconstructor import SliceReconstructor
from eegfound.nn.slices.tables import PATCH, VOCABULARY
from eegfound.nn.slices.targets import feature_targets, patch_targets


@dataclass(frozen=True)
class Prediction:
    """What the networks make of one masked batch, and what they should.

    Attributes
    ----------
    visible : Tensor, shape (n, n_visible, n_summary, width)
        The encoder's summary tokens of the visible slices.
    predicted : Tensor, shape (n, n_slices, n_summary, width)
        The predictor's tokens of all slices.
    combined : Tensor, shape (n, n_slices, n_summary, width)
        ``visible`` where there is one, ``predicted`` elsewhere.
    features : Tensor, shape (n, n_slices, n_summary, width)
        The momentum encoder's normed tokens, without gradient.
    rebuilt : Tensor, shape (n, n_hidden, patch)
        The reconstructor's patches.
    patches : Tensor, shape (n, n_hidden, patch)
        The hidden patches themselves, normed if asked for.
    """

    visible: Tensor
    predicted: Tensor
    combined: Tensor
    features: Tensor
    rebuilt: Tensor
    patches: Tensor


class PretrainingNetworks(nn.Module):
    """Encoder, its momentum copy, predictor and reconstructor.

    Parameters
    ----------
    width, n_summary, depths, heads, patch, stride, n_names, names_std
        See :class:`eegfound.nn.slices.SliceEncoder`; ``depths`` counts blocks
        of encoder, predictor and reconstructor.
    **common : float
        ``drop_rate``, ``attn_drop_rate``, ``drop_path_rate`` and ``init_std`` of all of them.

    Notes
    -----
    The state dict is that of the published checkpoints: ``encoder.``,
    ``target_encoder.``, ``predictor.`` and ``reconstructor.``.
    """

    def __init__(
        self, *, width: int = 64, n_summary: int = 1, depths: tuple[int, ...] = (2, 2, 4),
        heads: int = 4, patch: int = PATCH, stride: int | None = None,
        n_names: int = len(VOCABULARY), names_std: float | None = None, **common: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        shape: dict[str, Any] = {"width": width, "n_summary": n_summary, "heads": heads, **common}
        signal: dict[str, Any] = {"patch": patch, "n_names": n_names, "names_std": names_std}
        self.encoder = SliceEncoder(depths=tuple(depths), stride=stride, **shape, **signal)
        # The tuple hides the wrapper from the state dict; the copy is in it.
        self._momentum = (MomentumEncoder(self.encoder),)
        self.target_encoder: SliceEncoder = self._momentum[0].network  # type: ignore[assignment]
        self.predictor = SlicePredictor(depth=depths[1], **shape)
        self.reconstructor = SliceReconstructor(depth=depths[2], **shape, **signal)

    def train(self, mode: bool = True) -> PretrainingNetworks:
        """Set the mode; the momentum encoder stays in evaluation."""
        super().train(mode)
        self.target_encoder.eval()
        return self

    def forward(
        self, signal: Tensor, ids: Tensor | None, masks: SliceMasks, *,
        norm_patches: bool = True, skip: bool = True, features: bool = True,
    ) -> Prediction:  # fmt: skip
        """Predict what the masks hide.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            Samples in the network's unit.
        ids : Tensor of int64 | None, shape (n_channels,)
            Row of each channel in the table; None takes rows 0, 1, 2, ….
        masks : SliceMasks
            What is visible and what is rebuilt, the same for all epochs.
        norm_patches : bool
            Whether target patches are normed.
        skip : bool
            Whether the reconstructor reads the encoder's own tokens where
            there are some; False feeds it predictions only.
        features : bool
            False spares the momentum encoder: features are then the predicted ones,
            and their error is zero.

        Returns
        -------
        Prediction
            Predictions and targets.
        """
        patches = self.encoder.cut(signal)
        n_slices, n_channels = patches.shape[1:3]
        if ids is None:
            ids = torch.arange(n_channels, device=signal.device)
        with torch.no_grad():
            goal = feature_targets(self.target_encoder.encode(signal, ids)) if features else None
            targets = patch_targets(patches, masks.hidden, norm=norm_patches)
        z = self.encoder.encode(signal, ids, masks.visible)
        slices = masks.visible[:, 0] // n_channels
        predicted, combined = self.predictor(z, slices, n_slices)
        rebuilt = self.reconstructor(combined if skip else predicted, ids, masks.hidden)
        goal = predicted.detach() if goal is None else goal
        return Prediction(z, predicted, combined, goal, rebuilt, targets)

    def update_momentum(self, momentum: float) -> None:
        """Move the momentum encoder: ``momentum`` of it stays."""
        self._momentum[0].update(self.encoder, momentum)
