"""What SpecHi-Net's pretraining minimizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eegfound.base import SpecError
from eegfound_specmoe.decoder import Decoded

#: Shares of the squared error and of the spectral error, and of the auxiliary heads.
_SQUARED, _SPECTRAL, _STRETCHED2, _STRETCHED1 = 0.6, 0.4, 0.3, 0.2
#: Samples of a frame of the spectral error.
_FRAME = 512
#: Channels below it are taken for flat: 1 µV.
_QUIETEST = 0.01


@dataclass(frozen=True)
class ReconstructionLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Sum of the other four.
    squared, spectral : Tensor, shape ()
        Of both reconstructions, weighted.
    stretched2, stretched1 : Tensor, shape ()
        Of the auxiliary heads, weighted.
    """

    total: Tensor
    squared: Tensor
    spectral: Tensor
    stretched2: Tensor
    stretched1: Tensor


def amplitude(signal: Tensor) -> Tensor:
    """Return each channel's root mean square, no less than 1 µV.

    Parameters
    ----------
    signal : Tensor, shape (..., n_times)
        In units of 0.1 mV.

    Returns
    -------
    Tensor, shape (..., 1)
    """
    return signal.float().square().mean(dim=-1, keepdim=True).sqrt().clamp_min(_QUIETEST)


def spectral_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of magnitudes of short-time spectra.

    Parameters
    ----------
    predicted, target : Tensor, shape (n, n_rows, n_times)
        Signals in the same unit.

    Returns
    -------
    Tensor, shape ()
        The transforms are not normalized, so this is some hundred times the
        mean squared difference of the signals.

    Raises
    ------
    SpecError
        If the signals have fewer than 3 samples.

    Notes
    -----
    Frames have 512 samples and overlap by half, signals are reflected at
    their ends. Signals of at most 256 samples, which the reference refuses,
    get the longest power of two that can be reflected.
    """
    n_times = predicted.shape[-1]
    if n_times < 3:
        raise SpecError("The spectral error needs signals of at least 3 samples.")
    frame = _FRAME
    while frame // 2 >= n_times:
        frame //= 2
    window = torch.hann_window(frame, dtype=torch.float32, device=predicted.device)

    def magnitudes(signal: Tensor) -> Tensor:
        return torch.stft(
            signal.float().flatten(0, 1), frame, frame // 2, window=window, return_complex=True
        ).abs()

    return F.mse_loss(magnitudes(predicted), magnitudes(target))


def _weighted(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    squared = F.mse_loss(predicted.float(), target.float())
    return _SQUARED * squared, _SPECTRAL * spectral_error(predicted, target)


def reconstruction_losses(
    decoded: Decoded,
    target: Tensor,
    rows: Sequence[tuple[int, int]] | None = None,
    *,
    relative: bool = False,
) -> ReconstructionLosses:
    """Compare what the decoder gives with a signal.

    Parameters
    ----------
    decoded : Decoded
        Both reconstructions and the auxiliary heads' rows.
    target : Tensor, shape (n, n_channels, n_times)
        The signal; the whole of it counts, not only what was hidden. The
        auxiliary heads are compared with it stretched to their length.
    rows : sequence of (int, int) | None
        Which row of the auxiliary heads stands for which channel; all others
        are not compared. None: each row for the channel of its number.
    relative : bool
        True: every channel of every window is compared in units of its own
        amplitude (see :func:`amplitude`), so that quiet ones count as much as loud
        ones. Ours; the reference compares them as they are.

    Returns
    -------
    ReconstructionLosses
        Whose ``total`` is to be minimized.

    Raises
    ------
    SpecError
        If the auxiliary heads have another number of rows than the signal has
        channels.
    """
    level = amplitude(target) if relative else torch.ones_like(target[..., :1])
    target = target / level
    fine, coarse = (_weighted(each / level, target) for each in (decoded.fine, decoded.coarse))
    squared, spectral = fine[0] + coarse[0], fine[1] + coarse[1]
    heads = [decoded.stretched2, decoded.stretched1]
    n_rows = heads[0].shape[1]
    if rows is not None:
        heads = [head[:, [row for row, _ in rows]] for head in heads]
        target, level = (each[:, [channel for _, channel in rows]] for each in (target, level))
    elif n_rows != target.shape[1]:
        raise SpecError(
            f"The auxiliary heads give {n_rows} rows but the signal has {target.shape[1]} "
            f"channels: build the objective with n_channels={target.shape[1]}, or with "
            "montage='any'."
        )
    stretched2, stretched1 = (
        share * (_stretched_error(head / level, target) if target.shape[1] else head.sum())
        for share, head in zip((_STRETCHED2, _STRETCHED1), heads)
    )
    total = squared + spectral + stretched2 + stretched1
    return ReconstructionLosses(total, squared, spectral, stretched2, stretched1)


def _stretched_error(rows: Tensor, target: Tensor) -> Tensor:
    stretched = F.interpolate(target, size=rows.shape[-1], mode="linear", align_corners=False)
    squared, spectral = _weighted(rows, stretched)
    return squared + spectral
