"""Where electrodes lie, as a first guess of how alike their rows should be."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from eegfound.nn.slices.tables import VOCABULARY

#: Rows of the 10-10 system from front to back, and how far they lie from Cz.
_ROWS = {
    "FP": 4, "AF": 3, "F": 2, "FT": 1, "FC": 1, "T": 0, "C": 0,
    "TP": -1, "CP": -1, "P": -2, "PO": -3, "O": -4,
}  # fmt: skip
#: Distance over which rows of the table stay alike; the cap's radius is 1.
_LENGTH = 0.5


def grid_position(name: str) -> tuple[float, float]:
    """Return where an electrode lies on the 10-10 grid.

    Parameters
    ----------
    name : str
        Upper case, as in the vocabulary.

    Returns
    -------
    x, y : float
        To the right and to the front of Cz, both from -1 to 1.

    Examples
    --------
    >>> grid_position("CZ"), grid_position("T8"), grid_position("FP1")
    ((0.0, 0.0), (1.0, 0.0), (-0.25, 1.0))
    """
    found = re.fullmatch(r"([A-Z]+?)(Z|\d+)", name)
    if found is None:
        raise ValueError(f"{name!r} is no electrode of the 10-10 system.")
    row, column = found.groups()
    if column == "Z":
        return 0.0, _ROWS[row] / 4
    number = int(column)
    side = -1 if number % 2 else 1
    return side * (number + number % 2) / 8, _ROWS[row] / 4


@torch.no_grad()
def smooth_names(table: Tensor, std: float) -> None:
    """Fill a table of electrodes so that rows of close electrodes are alike.

    Rows are random waves over the cap (random Fourier features of a Gaussian
    kernel; Rahimi and Recht, NeurIPS 2007), so what is learned at an electrode
    holds for its neighbours at once. With rows drawn one by one, networks of few
    summary tokens stay at the mean for thousands of steps.

    Parameters
    ----------
    table : Tensor, shape (n_names, width)
        Changed in place. Rows beyond the vocabulary get independent numbers.
    std : float
        Spread of the numbers.
    """
    n_names, width = table.shape
    table.normal_(std=std)
    known = [grid_position(name) for name in VOCABULARY[:n_names]]
    waves = torch.randn(2, width) / _LENGTH
    phases = torch.rand(width) * 2 * math.pi
    drawn = math.sqrt(2) * std * torch.cos(torch.tensor(known) @ waves + phases)
    table[: len(known)] = drawn.to(table)
