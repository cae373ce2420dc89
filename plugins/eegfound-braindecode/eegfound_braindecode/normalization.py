"""What the authors' loaders did to a window before the network saw it.

braindecode's networks take such windows and do none of it themselves. Every
function takes ``(n_epochs, n_channels, n_times)`` in the unit of the model's
contract and looks at each epoch alone. ``model_params={"normalize": "none"}``
hands windows over as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eegfound.base import SpecError

EPSILON = 1e-8


def none(x: Tensor) -> Tensor:
    """Return windows unchanged."""
    return x


def zscore(x: Tensor) -> Tensor:
    """Standardize each channel over the window (population variance)."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True).sqrt() + EPSILON)


def zscore_clip15(x: Tensor) -> Tensor:
    """Standardize each channel over the window and clip at 15 standard deviations."""
    return zscore(x).clamp(-15, 15)


def clip500_zscore(x: Tensor) -> Tensor:
    """Clip at 500 (microvolts), then standardize each channel over the window."""
    return zscore(x.clamp(-500, 500))


def quantile95(x: Tensor) -> Tensor:
    """Divide each channel by the 95 % quantile of its absolute values."""
    return x / (torch.quantile(x.abs(), 0.95, dim=-1, keepdim=True) + EPSILON)


def minmax(x: Tensor) -> Tensor:
    """Map each window, all its channels together, linearly to [-1, 1]."""
    low, high = x.amin(dim=(1, 2), keepdim=True), x.amax(dim=(1, 2), keepdim=True)
    return 2 * (x - low) / (high - low).clamp_min(EPSILON) - 1


def window_zscore_tenth(x: Tensor) -> Tensor:
    """Standardize the window over all its channels together, then divide by 10."""
    centred = x - x.mean(dim=(1, 2), keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True).sqrt() + EPSILON) / 10


NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    f.__name__: f
    for f in (
        none, zscore, zscore_clip15, clip500_zscore, quantile95, minmax, window_zscore_tenth,
    )
}  # fmt: skip


def normalization(name: str) -> Callable[[Tensor], Tensor]:
    """Return the normalization called ``name``."""
    if name not in NORMALIZATIONS:
        raise SpecError(
            f"model_params={{'normalize': {name!r}}}: known are {sorted(NORMALIZATIONS)}."
        )
    return NORMALIZATIONS[name]
