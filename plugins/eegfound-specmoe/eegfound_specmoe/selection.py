"""Which channels and windows an objective reads."""

from __future__ import annotations

import hashlib
from typing import Literal

from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound_specmoe.channels import PRETRAINING_ORDER, pretraining_rows

Montage = Literal["given", "any", "nineteen"]
MONTAGES: tuple[Montage, ...] = ("given", "any", "nineteen")


def window_numbers(signal: Tensor) -> list[int]:
    """Return a number for each window that depends on its samples alone.

    Parameters
    ----------
    signal : Tensor, shape (n, ...)
        Windows.

    Returns
    -------
    list of int
        From 0 to ``2**32 - 1``, as good as random: the same window has the same
        number wherever it stands.
    """
    data = signal.detach().float().cpu().numpy()
    return [
        int.from_bytes(hashlib.blake2b(window.tobytes(), digest_size=4).digest(), "little")
        for window in data
    ]


def select_montage(batch: SignalBatch, montage: Montage) -> SignalBatch:
    """Return what pretraining reads of a batch's channels.

    Parameters
    ----------
    batch : SignalBatch
        Epochs with the same electrodes.
    montage : {"given", "any", "nineteen"}
        See :class:`MaskedReconstruction`.

    Returns
    -------
    SignalBatch
        The 19 electrodes in the order of the pretraining data, or the batch.

    Raises
    ------
    SpecError
        If ``"nineteen"`` are asked for and one is missing.
    """
    if montage == "given":
        return batch
    rows = pretraining_rows(batch.ch_names)
    if len(rows) == len(PRETRAINING_ORDER):
        places = [place for _, place in rows]
        names = tuple(batch.ch_names[place] for place in places)
        return SignalBatch(batch.signal[:, places], batch.rows[places], names)
    if montage == "nineteen":
        there = {row for row, _ in rows}
        missing = [name for row, name in enumerate(PRETRAINING_ORDER) if row not in there]
        raise SpecError(
            f"Pretraining wants the 19 electrodes of the published recipe, and {missing} are not "
            "recorded: pass objective_params={'montage': 'any'}, which takes any electrodes, or "
            "interpolate the missing ones (MontageMapper)."
        )
    return batch
