"""Reading and writing weight files without ever running code from them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from eegfound.base import CheckpointError
from eegfound.models.spec import load_object

#: Marks safetensors files written by this suite.
FORMAT = "eegfound"
_NOT_WEIGHTS = {
    b"<!DOCTYPE": "an HTML page",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to (run `git lfs pull`)",
}


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 digest of a file as lower-case hex.

    A file is read again only when its stamps have changed: every fit of a
    search asks for the same checkpoint.
    """
    facts = os.stat(path)
    stamps = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    return _sha256_of(os.path.abspath(path), stamps)


@lru_cache(maxsize=64)
def _sha256_of(path: str, stamps: tuple[int, ...]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: str | os.PathLike[str], expected: str | None) -> str:
    """Compare a file with its published digest.

    Returns
    -------
    str
        The digest found.

    Raises
    ------
    CheckpointError
        If a digest is known and differs.
    """
    found = sha256_of(path)
    if expected and found != expected.lower():
        raise CheckpointError(
            f"{path} is not the published file: sha256 is {found}, expected {expected.lower()}. "
            "Delete it and fetch it again; if you mean to load your own weights, give the file "
            "another name and pass its path as checkpoint=."
        )
    return found


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a safetensors file of this suite says about itself.

    Returns
    -------
    dict
        Empty for files of any other kind.
    """
    if Path(path).suffix != ".safetensors":
        return {}
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 100_000_000:
                return {}
            header = json.loads(file.read(length))
            meta = header["__metadata__"]
            if meta["format"] != FORMAT:
                return {}
    except (ValueError, OSError, KeyError, TypeError):
        return {}
    try:
        facts = json.loads(meta["eegfound"])
        model, size, config = facts["model"], facts.get("size"), facts.get("config", {})
        well = isinstance(model, str) and isinstance(size, str | None) and isinstance(config, dict)
    except (ValueError, KeyError, TypeError, AttributeError):
        well = False
    if not well:
        raise CheckpointError(
            f"{path} calls itself a file of this suite, but what it says about its model "
            "cannot be read: it is damaged or was written by something else."
        )
    return facts


def read_tensors(path: str | os.PathLike[str], safe_globals: Sequence[str] = ()) -> Any:
    """Read a weight file on the CPU.

    Safetensors are read by name; everything else as a PyTorch file with
    ``weights_only=True``, which refuses to run code.

    Parameters
    ----------
    path : path-like
        ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt``.
    safe_globals : sequence of str
        Import paths of plain data classes the file may name.

    Returns
    -------
    object
        A state dict, or the dict around it that the publisher saved.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, truncated, not a weight file, or
        wants to run code (nothing is run).
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
    for magic, what in _NOT_WEIGHTS.items():
        if head.lstrip().startswith(magic):
            raise CheckpointError(f"{path} is {what}: fetch the file itself.")
    if size == 0 or not head.strip():
        raise CheckpointError(f"{path} is empty ({size} bytes): fetch it again.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, ValueError) as error:
            raise CheckpointError(
                f"{path} ({size} bytes) is truncated or not a safetensors file: {error}"
            ) from error
    allowed = [load_object(name) for name in safe_globals]
    try:
        with ExitStack() as stack:
            if allowed:
                stack.enter_context(torch.serialization.safe_globals(allowed))
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        told = re.search(r"(GLOBAL \S+|operand \d+)", str(error))
        is_pickle = head.startswith((b"\x80", b"PK"))
        if told and is_pickle and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"{path} is refused: it asks for {told[1]}, which is no plain data and could "
                "run code. Nothing was run. Ask its publisher for a state dict or a safetensors "
                "file."
            ) from error
        raise CheckpointError(
            f"{path} ({size} bytes) is truncated or not a PyTorch file: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def save_weights(
    path: str | os.PathLike[str], state: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Path:
    """Write a state dict in the suite's own format (safetensors).

    The file appears whole or not at all.

    Parameters
    ----------
    path : path-like
        Must end in ``.safetensors``.
    state : mapping of str to Tensor
        The tensors.
    metadata : mapping
        ``model``, ``size``, ``config`` and whatever is worth keeping (JSON).

    Returns
    -------
    Path
        The file written.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: the suite writes .safetensors files only.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.touch()
    mode = part.stat().st_mode  # as for any file; safetensors lets nobody else read its own
    try:
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in state.items()},
            part,
            metadata={"format": FORMAT, "eegfound": json.dumps(dict(metadata), sort_keys=True)},
        )
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def fingerprint(state: Mapping[str, Any]) -> str:
    """Return a digest of a state dict: names, shapes, types and bytes.

    Parameters
    ----------
    state : mapping of str to Tensor
        The tensors, in any order.

    Returns
    -------
    str
        32 hex digits.
    """
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
