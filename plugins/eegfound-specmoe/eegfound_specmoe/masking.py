"""Gaussian-smoothed masks in time and frequency, the same for all channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eegfound.base import SpecError
from eegfound_specmoe.spectrum import SFREQ

#: Delta, theta, alpha and beta in Hz, both ends included.
BANDS = ((1.0, 4.0), (4.0, 8.0), (8.0, 12.0), (12.0, 30.0))
_BAND_SHARES = (0.3, 0.4, 0.2, 0.1)
#: Width of a hole as a share of all frequencies, or all frames.
_WIDTH = 0.05


@dataclass(frozen=True)
class Masking:
    """How signals are masked.

    Parameters
    ----------
    ratio : float
        Holes are added until this share of the plane is masked.
    level : float
        Depth of a hole at its centre.
    types : sequence of float
        Probabilities of holes in frequency, in time, and in both.
    band_bias : float
        Probability that a hole in frequency is centred in one of the bands.
    frame, hop : int
        Samples of a frame of the Fourier transform and between two.
    """

    ratio: float = 0.5
    level: float = 1.0
    types: Sequence[float] = (0.6, 0.3, 0.1)
    band_bias: float = 0.5
    frame: int = 400
    hop: int = 200

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1 or not 0 < self.level <= 1 or not 0 <= self.band_bias <= 1:
            raise SpecError(
                f"Masking needs 0 <= ratio < 1, 0 < level <= 1 and 0 <= band_bias <= 1, not "
                f"ratio={self.ratio!r}, level={self.level!r}, band_bias={self.band_bias!r}."
            )
        types = tuple(float(share) for share in self.types)
        if len(types) != 3 or min(types) < 0 or abs(sum(types) - 1) > 1e-8:
            raise SpecError(f"types={self.types!r} must be three probabilities with sum 1.")
        if self.frame % 2 or self.frame != 2 * self.hop:
            raise SpecError("Masking needs an even frame, and a hop of half of it.")

    def n_frames(self, n_times: int) -> int:
        """Return the number of frames of a signal."""
        return -(-n_times // self.hop) + 1

    def draw(self, n_times: int, random: np.random.RandomState) -> np.ndarray:
        """Draw a mask.

        Parameters
        ----------
        n_times : int
            Samples of the signal.
        random : RandomState
            Source of all draws, in the reference's order.

        Returns
        -------
        ndarray of float64, shape (n_frequencies, n_frames)
            Factors from 0 to 1.
        """
        frequencies = np.arange(self.frame // 2 + 1) * (SFREQ / self.frame)
        n_bins, n_frames = len(frequencies), self.n_frames(n_times)
        mask = np.ones((n_bins, n_frames))
        while 1 - mask.mean() < self.ratio:
            kind = random.choice(3, p=list(self.types))
            bin_, frame = random.randint(0, n_bins), random.randint(0, n_frames)
            if kind != 1 and random.rand() < self.band_bias:
                low, high = BANDS[random.choice(len(BANDS), p=_BAND_SHARES)]
                bin_ = random.choice(np.flatnonzero((frequencies >= low) & (frequencies <= high)))
            hole = np.ones((1, 1))
            if kind != 1:
                hole = hole * _bell(n_bins, bin_)[:, None]
            if kind != 0:
                hole = hole * _bell(n_frames, frame)
            mask = mask * (1 - self.level * hole)
        return mask

    def apply(self, signal: Tensor, masks: Tensor) -> Tensor:
        """Multiply the short-time Fourier transform by masks.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            In any unit.
        masks : Tensor, shape (n, n_frequencies, n_frames)
            From :meth:`draw`.

        Returns
        -------
        Tensor, shape (n, n_channels, n_times)
            In the precision of ``signal``.
        """
        n, n_channels, n_times = signal.shape
        filled = F.pad(signal, (0, -n_times % self.hop)).flatten(0, 1)
        window = torch.hann_window(self.frame, dtype=signal.dtype, device=signal.device)
        plane = torch.stft(
            filled, self.frame, self.hop, window=window, pad_mode="constant", return_complex=True
        )
        plane = plane.unflatten(0, (n, n_channels)) * masks.to(signal)[:, None]
        whole = torch.istft(
            plane.flatten(0, 1), self.frame, self.hop, window=window, length=filled.shape[-1]
        )
        return whole[:, :n_times].unflatten(0, (n, n_channels))


def _bell(size: int, centre: int) -> np.ndarray:
    return np.exp(-0.5 * ((np.arange(size) - centre) / (_WIDTH * size)) ** 2)
