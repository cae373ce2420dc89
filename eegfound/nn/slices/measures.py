"""How good predictions of features and patches are, beside those that learned nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from eegfound.nn.slices.masking import SliceMasks, draw_masks
from eegfound.nn.slices.pretraining import Prediction, PretrainingNetworks

#: Epsilon of the norm of target patches.
_EPS = 1e-5


def feature_measures(made: Prediction, name: str = "alignment") -> dict[str, Tensor]:
    """Compare predicted features with the mean one, and tell how much features differ.

    Parameters
    ----------
    made : Prediction
        Of a batch.
    name : str
        What the model calls the loss on features.

    Returns
    -------
    dict of str to Tensor
        ``<name>`` is the mean squared error of the predicted features and
        ``<name>_trivial`` that of their mean over the batch's epochs and
        slices. ``feature_std``, the spread over epochs and slices, and
        ``embedding_std``, that of the means over slices over epochs, say whether
        features collapsed: 0 where all are the same, and at most 1, since
        features are normed.
    """
    features = made.features.float()
    centred = features - features.mean(dim=(0, 1))
    pooled = features.mean(dim=1)
    return {
        name: (made.predicted - features).square().mean(),
        f"{name}_trivial": centred.square().mean(),
        "feature_std": centred.square().mean(dim=(0, 1)).sqrt().mean(),
        "embedding_std": pooled.std(dim=0, correction=0).mean(),
    }


def patch_measures(made: Prediction, masks: SliceMasks, n_channels: int) -> dict[str, Tensor]:
    """Compare rebuilt patches with a mean patch.

    Parameters
    ----------
    made : Prediction
        Of a batch.
    masks : SliceMasks
        What it was made with.
    n_channels : int
        Channels of the window.

    Returns
    -------
    dict of str to Tensor
        ``reconstruction``, the mean squared error over all hidden patches, and its two
        parts: ``reconstruction_in_time`` of slices that are hidden altogether,
        ``reconstruction_in_space`` of hidden channels of visible slices. Each with
        ``_trivial``, that of zero: the mean of normed patches.
    """
    patches = made.patches.float()
    error = (made.rebuilt - patches).square().mean(dim=-1)
    plain = patches.square().mean(dim=-1)
    visible = torch.isin(masks.hidden // n_channels, masks.visible[:, 0] // n_channels)
    out = {}
    for name, chosen in (
        ("", torch.ones_like(visible)),
        ("_in_time", ~visible),
        ("_in_space", visible),
    ):
        if bool(chosen.any()):
            out[f"reconstruction{name}"] = error[:, chosen].mean()
            out[f"reconstruction{name}_trivial"] = plain[:, chosen].mean()
    return out


def illustrate_masking(
    networks: PretrainingNetworks, signal: Tensor, ids: Tensor | None, *,
    n_visible: int | None = None, hide_slice: float = 0.5, norm_patches: bool = True,
    skip: bool = True, generator: torch.Generator | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Rebuild all that is hidden of a batch's first epoch.

    Parameters
    ----------
    networks : PretrainingNetworks
        In evaluation mode.
    signal : Tensor, shape (n, n_channels, n_times)
        Samples as the encoder takes them.
    ids : Tensor of int64 | None, shape (n_channels,)
        Row of each channel in the table.
    n_visible, hide_slice, generator
        See :func:`eegfound.nn.slices.draw_masks`.
    norm_patches, skip : bool
        As the networks were trained.

    Returns
    -------
    dict of str to Tensor
        ``signal`` and ``reconstruction``, ``(n_channels, n_samples)`` of the whole
        slices, and ``hidden``, ``(n_channels, n_slices)``. Visible patches stand
        in the reconstruction as they are. Networks that rebuild normed patches
        know nothing of mean and spread: those are the patch's own.
    """
    signal = signal[:1]
    patches = networks.encoder.cut(signal)
    n_slices, n_channels = patches.shape[1:3]
    masks = draw_masks(
        n_slices, n_channels, n_visible=n_visible, hide_slice=hide_slice, rebuild=1.0,
        generator=generator,
    )  # fmt: skip
    masks = SliceMasks(*(mask.to(signal.device) for mask in masks))
    made = networks(signal, ids, masks, norm_patches=norm_patches, skip=skip)
    flat = patches.flatten(1, 2)[0].clone()
    true, rebuilt = flat[masks.hidden], made.rebuilt[0].to(flat)
    if norm_patches:
        spread = (true.var(dim=-1, correction=0, keepdim=True) + _EPS).sqrt()
        rebuilt = rebuilt * spread + true.mean(dim=-1, keepdim=True)
    hidden = torch.zeros(n_slices * n_channels, dtype=torch.bool, device=signal.device)
    hidden[masks.hidden] = True
    whole = flat.index_copy(0, masks.hidden, rebuilt).view(n_slices, n_channels, -1)
    return {
        "signal": patches[0].transpose(0, 1).flatten(1),
        "reconstruction": whole.transpose(0, 1).flatten(1),
        "hidden": hidden.view(n_slices, n_channels).T,
    }
