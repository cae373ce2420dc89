"""Reading compact, lossless recordings (``*.npz.bz2`` and ``*.npz.xz``).

Such a file is a compressed ``npz`` archive of

``d``
    Integer codes, shape (n_channels, n_times), differenced ``order`` times
    along time.
``order``
    Number of differences.
``scale``, ``offset``
    One number per channel: ``value = code * scale + offset``.
``events``
    Integers, shape (n_events, 3): first sample, duration in samples, code.
``meta``
    JSON text with ``ch_names``, ``sfreq``, ``subject``, ``codes`` or ``label``.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import SpecError


def read_packed(path: str | Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Read one packed recording.

    Parameters
    ----------
    path : path-like
        File that ends in ``.npz.bz2`` or ``.npz.xz``.

    Returns
    -------
    data : ndarray, shape (n_channels, n_times)
        Values in the unit of the file: microvolts, unless ``meta["unit_note"]``
        says otherwise.
    events : ndarray of int, shape (n_events, 3)
        First sample, duration in samples, code.
    meta : dict
        Channel names, rate, subject and further facts.

    Raises
    ------
    SpecError
        If the file is not such a recording.
    """
    path = Path(path)
    try:
        compressed = path.read_bytes()
        decompress = lzma.decompress if path.suffix == ".xz" else bz2.decompress
        with np.load(io.BytesIO(decompress(compressed)), allow_pickle=False) as archive:
            codes = archive["d"].astype(np.int64)
            for _ in range(int(archive["order"])):
                codes = codes.cumsum(axis=1)
            data = codes * archive["scale"][:, np.newaxis] + archive["offset"][:, np.newaxis]
            return data, archive["events"], json.loads(str(archive["meta"]))
    except (OSError, EOFError, lzma.LZMAError, KeyError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise SpecError(f"{path.name} is not a packed recording, or is damaged: {error}") from error
