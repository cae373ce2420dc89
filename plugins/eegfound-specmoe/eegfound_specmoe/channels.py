"""The order of channels, on which SpecHi-Net's numbers depend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

#: Electrodes of the pretraining data, in their order.
PRETRAINING_ORDER = (
    "FP1", "FP2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T3", "T4", "T5",
    "T6", "FZ", "CZ", "PZ",
)  # fmt: skip
#: New names of places that the pretraining data call by their old ones.
_OLD_NAMES = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}

Order = Literal["given", "pretraining"]


def order_of(ch_names: Sequence[str], n_channels: int, order: Order = "given") -> list[int]:
    """Return the places of channels in the order the network shall see them.

    Parameters
    ----------
    ch_names : sequence of str
        Names of the channels, in any spelling of the letters.
    n_channels : int
        Number of channels (names may be left out for ``"given"``).
    order : {"given", "pretraining"}
        ``"pretraining"`` puts the electrodes of the pretraining data first, in
        their order there; channels of other names follow as given.

    Returns
    -------
    list of int
        Indices into the given channels.

    Examples
    --------
    >>> from eegfound_specmoe.channels import order_of
    >>> order_of(["Cz", "AF7", "T7", "Fp1"], 4, "pretraining")
    [3, 2, 0, 1]
    """
    if order == "given":
        return list(range(n_channels))
    rank = {name: i for i, name in enumerate(PRETRAINING_ORDER)}

    def key(place: int) -> tuple[int, int]:
        return rank.get(_old_name(ch_names[place]), len(rank)), place

    return sorted(range(len(ch_names)), key=key)


def pretraining_rows(ch_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return which of the 19 electrodes of the pretraining data are among channels.

    Parameters
    ----------
    ch_names : sequence of str
        Names of the channels, in any spelling of the letters.

    Returns
    -------
    list of (int, int)
        Number of the electrode in the pretraining data, ascending, and place of
        the channel.

    Examples
    --------
    >>> from eegfound_specmoe.channels import pretraining_rows
    >>> pretraining_rows(["Cz", "AF7", "T7", "Fp1"])
    [(0, 3), (12, 2), (17, 0)]
    """
    found = {_old_name(name): place for place, name in reversed(list(enumerate(ch_names)))}
    return [(row, found[name]) for row, name in enumerate(PRETRAINING_ORDER) if name in found]


def _old_name(name: str) -> str:
    return _OLD_NAMES.get(name.upper(), name.upper())
