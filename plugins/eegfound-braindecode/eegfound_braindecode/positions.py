"""Electrode positions in the frame that a model was trained with.

The suite gives positions in MNE's head frame. LUNA and ZUNA were fed positions
of an MNE ``Info``, which is that frame. REVE's position bank holds the numbers
of MNE's 10-05 template file itself, which is another frame.
"""

from __future__ import annotations

import json
import os
import warnings
from functools import lru_cache

import numpy as np

from eegfound.base import SpecError

#: MNE's template with the numbers of REVE's bank, by its new and its old name.
TEMPLATES = ("colin27_1005", "standard_1005")


@lru_cache(maxsize=1)
def _template() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return positions by upper-case name, and the matrix from head to template frame."""
    import mne

    name = next(n for n in TEMPLATES if n in mne.channels.get_builtin_montages())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        montage = mne.channels.make_standard_montage(name)
    own = {key.upper(): xyz for key, xyz in montage.get_positions()["ch_pos"].items()}
    to_head = mne.channels.compute_native_head_t(montage)["trans"]
    return own, np.linalg.inv(to_head)


@lru_cache(maxsize=4)
def _bank(path: str) -> dict[str, np.ndarray]:
    try:
        with open(path) as file:
            content = json.load(file)
        return {name.upper(): np.asarray(xyz, dtype=float) for name, xyz in content.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise SpecError(
            f"model_params={{'position_bank': {path!r}}} is no JSON file of name to [x, y, z] "
            f"in metres: {error}"
        ) from error


def template_positions(
    names: tuple[str, ...], head: np.ndarray, bank: str | os.PathLike[str] | None = None
) -> np.ndarray:
    """Return positions in the frame of MNE's 10-05 template.

    Parameters
    ----------
    names : tuple of str
        Electrodes.
    head : ndarray, shape (n_electrodes, 3)
        Their positions in MNE's head frame in metres, for names that neither
        bank nor template has.
    bank : path-like | None
        JSON file of name to ``[x, y, z]`` whose entries go first.

    Returns
    -------
    ndarray of float32, shape (n_electrodes, 3)
        Metres.
    """
    own, from_head = _template()
    known = own | (_bank(os.fspath(bank)) if bank is not None else {})
    moved = head @ from_head[:3, :3].T + from_head[:3, 3]
    return np.stack([known.get(name.upper(), moved[i]) for i, name in enumerate(names)]).astype(
        np.float32
    )
