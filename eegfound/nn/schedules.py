"""Learning rates over the steps of a training."""

from __future__ import annotations

import numpy as np


def cosine_schedule(
    peak: float, final: float, *, epochs: int, steps_per_epoch: int, warmup_epochs: float = 0
) -> np.ndarray:
    """Return the learning rate of every step: linear growth, then half a cosine.

    Parameters
    ----------
    peak, final : float
        Largest rate, and the one that the cosine heads for (and never
        reaches).
    epochs, steps_per_epoch : int
        Length of the training.
    warmup_epochs : float
        Epochs of linear growth from 0 to ``peak``, both included.

    Returns
    -------
    ndarray, shape (epochs * steps_per_epoch,)
        One rate per step.

    References
    ----------
    Loshchilov and Hutter, "SGDR", ICLR 2017 (the cosine).

    Examples
    --------
    >>> from eegfound.nn import cosine_schedule
    >>> cosine_schedule(1.0, 0.0, epochs=4, steps_per_epoch=1, warmup_epochs=2).tolist()
    [0.0, 1.0, 1.0, 0.5]
    """
    total = epochs * steps_per_epoch
    warmup = min(int(warmup_epochs * steps_per_epoch), total)
    rest = total - warmup
    phase = np.pi * np.arange(rest) / max(rest, 1)
    return np.concatenate(
        [np.linspace(0.0, peak, warmup), final + 0.5 * (peak - final) * (1 + np.cos(phase))]
    )
