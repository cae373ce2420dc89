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
        name = ch_names[place].upper()
        return rank.get(_OLD_NAMES.get(name, name), len(rank)), place

    return sorted(range(len(ch_names)), key=key)
