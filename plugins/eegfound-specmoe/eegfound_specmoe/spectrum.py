"""Welch spectra, which decide how much each feature of an expert counts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.nn import cut_patches

#: The network's sampling rate in Hz.
SFREQ = 200

Seconds = Literal[1, 2]
#: Zero of the logarithmic spectrum, 10 microvolt squared per Hz, and its floor below that.
_LEVEL, _FLOOR = 1e-3, 1e-4


def n_bins(seconds: int) -> int:
    """Return the number of frequencies of a spectrum from frames of 1 or 2 seconds.

    Raises
    ------
    SpecError
        For other frames.
    """
    if seconds not in (1, 2):
        raise SpecError(f"psd_seconds={seconds!r} is neither 1 nor 2.")
    return seconds * SFREQ // 2 + 1


def welch(x: Tensor, *, n_times: int, seconds: int = 2) -> Tensor:
    """Return the power spectral density of every channel.

    Parameters
    ----------
    x : Tensor, shape (n, n_channels, n_padded)
        Signal, filled with zeros at its end.
    n_times : int
        Samples before the zeros.
    seconds : {1, 2}
        Frames of two seconds that overlap by half, or of one second without
        overlap, which the reference takes for windows of one second.

    Returns
    -------
    Tensor of float32, shape (n, n_channels, n_bins)
        Power per Hz, not doubled for the missing half of the spectrum; the
        mean over the whole padded window is taken out first.

    Notes
    -----
    A window too short for a frame of two seconds gets frames of one second on
    the same grid of frequencies (a choice of ours; the reference has no gate
    for such windows but that of exactly one second).
    """
    bins = n_bins(seconds)
    size, hop = (2 * SFREQ, SFREQ) if seconds == 2 else (SFREQ, SFREQ)
    if n_times < size:
        size, hop = SFREQ, SFREQ
    x = x.float()
    frames = cut_patches(x - x.mean(dim=-1, keepdim=True), size, hop)
    window = torch.hann_window(size, device=x.device)
    spectrum = torch.fft.rfft(frames * window, n=2 * (bins - 1))
    power = spectrum.real.square() + spectrum.imag.square()
    return power.mean(dim=-2) / (SFREQ * window.square().sum() + 1e-12)


def decades(psd: Tensor) -> Tensor:
    """Return a spectrum in decades above 10 microvolt squared per Hz, from -4 on."""
    return torch.log10(psd / _LEVEL + _FLOOR)
