"""One embedding as bytes that know whether they are whole."""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np

_HEAD = struct.Struct("<4sB")
_MAGIC = b"EFe1"
_SUM = 16


def pack(key: bytes, value: np.ndarray) -> bytes:
    """Return the bytes of an embedding.

    Parameters
    ----------
    key : bytes
        Under which it is kept; the checksum covers it, so that an embedding
        found under another key is not taken for whole.
    value : ndarray of float32
        The embedding of one epoch, of any shape.

    Returns
    -------
    bytes
        Magic, shape, little-endian float32 numbers, checksum.
    """
    body = (
        _HEAD.pack(_MAGIC, value.ndim)
        + struct.pack(f"<{value.ndim}I", *value.shape)
        + np.ascontiguousarray(value, dtype="<f4").tobytes()
    )
    return body + _checksum(key, body)


def unpack(key: bytes, blob: Any) -> np.ndarray | None:
    """Return the embedding in ``blob``, or None unless it is whole and belongs to ``key``."""
    if not isinstance(blob, bytes) or len(blob) < _HEAD.size + _SUM:
        return None
    body = blob[:-_SUM]
    if _checksum(key, body) != blob[-_SUM:]:
        return None
    magic, ndim = _HEAD.unpack_from(body)
    start = _HEAD.size + 4 * ndim
    if magic != _MAGIC or len(body) < start:
        return None
    shape = struct.unpack_from(f"<{ndim}I", body, _HEAD.size)
    if len(body) != start + 4 * math.prod(shape):
        return None
    return np.frombuffer(body, dtype="<f4", offset=start).reshape(shape).astype(np.float32)


def _checksum(key: bytes, body: bytes) -> bytes:
    return hashlib.sha256(key + body).digest()[:_SUM]
