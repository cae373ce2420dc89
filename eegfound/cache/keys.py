"""What an embedding depends on, as a digest: other content, other key.

The *recipe* holds everything but the epoch: the plan from the user's array to
the network, the encoder's tensors and code, the read-out, the arithmetic, the
fitted front end, the libraries and the processor. The key of an epoch is a
digest of the recipe and of the epoch's own bytes and presence mask.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class NotCacheable(Exception):
    """Nothing says reliably when this embedding would be another one."""


def digest(value: Any) -> bytes:
    """Return 32 bytes that differ wherever two values do.

    Dataclasses and other objects count with every field and attribute they
    have, arrays with all their numbers, floats to the last bit.

    Parameters
    ----------
    value : object
        Plain data, arrays, dataclasses, or objects made of such.

    Raises
    ------
    NotCacheable
        If the value holds something whose content cannot be read.
    """
    state = hashlib.sha256()
    _feed(state, value, ())
    return state.digest()


def digest_once(value: Any) -> bytes:
    """Return :func:`digest` of a frozen dataclass, which remembers it."""
    known = vars(value)  # whose fields alone are digested
    if "_digest" not in known:
        known["_digest"] = digest(value)
    return known["_digest"]


def _tell(state: Any, kind: str, data: bytes) -> None:
    """Add a typed, length-prefixed piece: no two sequences of pieces look alike."""
    state.update(f"{kind}:{len(data)}:".encode())
    state.update(data)


def _feed(state: Any, value: Any, inside: tuple[int, ...]) -> None:
    if value is None or isinstance(value, bool | int | float | complex | str):
        _tell(state, type(value).__name__, _plain(value))
    elif isinstance(value, bytes | bytearray):
        _tell(state, "bytes", bytes(value))
    elif isinstance(value, os.PathLike):
        _tell(state, "path", os.fspath(value).encode())
    elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        array = np.ascontiguousarray(value)
        _tell(state, "array", f"{array.dtype.str}{np.shape(value)}".encode())
        _tell(state, "data", array.tobytes())
    elif isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        if "<" in value.__qualname__:
            raise NotCacheable(f"{value.__qualname__} has no name of its own")
        _tell(state, "name", f"{value.__module__}:{value.__qualname__}".encode())
    elif id(value) in inside:
        _tell(state, "again", str(inside.index(id(value))).encode())
    elif isinstance(value, Mapping):
        # Sorted by content: the order of a mapping says nothing.
        items = (
            [(key.encode(), key) for key in sorted(value)]
            if all(type(key) is str for key in value)
            else sorted(((digest(key), key) for key in value), key=lambda item: item[0])
        )
        _tell(state, "mapping", str(len(items)).encode())
        for key_digest, key in items:
            _tell(state, "key", key_digest)
            _feed(state, value[key], (*inside, id(value)))
    elif isinstance(value, set | frozenset):
        _tell(state, "set", b"".join(sorted(digest(item) for item in value)))
    elif isinstance(value, list | tuple | np.ndarray):
        if all(type(item) is str for item in value):  # names of channels: many, and often
            _tell(state, "lengths", ",".join(str(len(item)) for item in value).encode())
            _tell(state, "strings", "".join(value).encode())
            return
        if all(type(item) is int for item in value):
            _tell(state, "integers", ",".join(map(str, value)).encode())
            return
        _tell(state, "sequence", str(len(value)).encode())
        for item in value:
            _feed(state, item, (*inside, id(value)))
    else:
        _feed_object(state, value, (*inside, id(value)))


def _plain(value: Any) -> bytes:
    return value.hex().encode() if isinstance(value, float) else repr(value).encode()


def _feed_object(state: Any, value: Any, inside: tuple[int, ...]) -> None:
    kind = type(value)
    _tell(state, "object", f"{kind.__module__}:{kind.__qualname__}".encode())
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _tell(state, "field", field.name.encode())
            _feed(state, getattr(value, field.name), inside)
    elif vars_of(value) is not None:
        _feed(state, vars_of(value), inside)
    else:
        try:
            _tell(state, "pickle", pickle.dumps(value, protocol=5))
        except Exception as error:  # anything may refuse in any way
            raise NotCacheable(f"the content of {value!r} cannot be read: {error}") from error


def vars_of(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an ordinary object, None of one that keeps them elsewhere."""
    if type(value).__module__.partition(".")[0] in {"numpy", "torch"}:
        return None  # their state is not in their attributes
    slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())]
    return None if slots else getattr(value, "__dict__", None)


def epoch_keys(recipe: bytes, contents: Sequence[bytes], presence: np.ndarray) -> list[bytes]:
    """Return the key of every epoch.

    Parameters
    ----------
    recipe : bytes
        Digest of everything but the epoch.
    contents : sequence of bytes
        What tells the numbers of each epoch.
    presence : ndarray of bool, shape (n_epochs, n_used)
        Which of the used channels were recorded.

    Returns
    -------
    list of bytes
        32 bytes each. An epoch's key depends on that epoch alone.
    """
    return [
        hashlib.sha256(recipe + present.tobytes() + content).digest()
        for content, present in zip(contents, np.packbits(presence, axis=1))
    ]
