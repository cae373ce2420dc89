"""What a golden vector is made of: rules for weights and inputs, and the case.

Golden files store a description and outputs. Weights and inputs are generated
from the description by the rules here, so a file of a few kilobytes can pin a
network of any size.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import SpecError

_PREFIX = "manifest_"


def seeded(salt: str, tag: str) -> np.random.Generator:
    """Return the random generator that belongs to a tag.

    Parameters
    ----------
    salt : str
        Word that makes one set of goldens different from another.
    tag : str
        What is drawn: a key of a state dict, or ``"input"``.

    Returns
    -------
    numpy.random.Generator
        Always in the same state for the same two words.
    """
    return np.random.default_rng(zlib.crc32(f"{salt}:{tag}".encode()))


def fill(key: str, shape: Sequence[int], salt: str) -> np.ndarray:
    """Generate the tensor that a golden vector's network has under ``key``.

    Parameters
    ----------
    key : str
        Name in the state dict.
    shape : sequence of int
        Shape of the tensor.
    salt : str
        The golden vector's salt.

    Returns
    -------
    ndarray of float32
        Tables and tokens have spread 0.5, matrices ``1 / sqrt(fan-in)``, gains
        lie around 1, everything else has spread 0.1.

    Examples
    --------
    >>> from eegfound.testing.golden import fill
    >>> fill("head.bias", (2,), "public").shape
    (2,)
    """
    shape = tuple(shape)
    x = seeded(salt, key).standard_normal(shape, dtype=np.float32)
    last = key.split(".")[-1]
    if last == "running_var":
        return 1 + np.float32(0.1) * np.abs(x)
    if last == "running_mean":
        return np.float32(0.1) * x
    if last.endswith(("embed", "token")):
        return x * np.float32(0.5)
    if len(shape) >= 2:
        return x / np.float32(np.sqrt(prod(shape[1:])))
    if last == "weight":
        return 1 + np.float32(0.1) * x
    return np.float32(0.1) * x


def draw_input(
    shape: Sequence[int], salt: str, *, scale: float = 1.0, tag: str = "input"
) -> np.ndarray:
    """Generate a golden vector's input.

    Parameters
    ----------
    shape : sequence of int
        Shape of the input.
    salt, tag : str
        See :func:`seeded`.
    scale : float
        Standard deviation.

    Returns
    -------
    ndarray of float32
        Gaussian noise.
    """
    x = seeded(salt, tag).standard_normal(tuple(shape), dtype=np.float32)
    return x * np.float32(scale)


def statistics(array: Any) -> np.ndarray:
    """Summarize an array too large to store.

    Parameters
    ----------
    array : array-like
        Any shape.

    Returns
    -------
    ndarray of float64, shape (3,)
        Mean, population standard deviation, and Euclidean norm.
    """
    flat = np.asarray(array, dtype=np.float64).ravel()
    return np.array([flat.mean(), flat.std(), np.sqrt(np.square(flat).sum())])


def fill_network(
    network: Any, salt: str, *, prefix: str = "", skip: Iterable[str] = ()
) -> dict[str, tuple[int, ...]]:
    """Give a torch module the weights of a golden vector, tensor by tensor.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; integer buffers stay as constructed.
    salt : str
        The golden vector's salt.
    prefix : str
        Put before the module's own keys.
    skip : iterable of str
        ``fnmatch`` patterns of (prefixed) keys to leave as constructed.

    Returns
    -------
    dict of str to tuple
        Every key of the state dict, with its prefix, and its shape.
    """
    import torch

    skip = tuple(skip)
    shapes = {}
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            key = prefix + name
            shapes[key] = tuple(tensor.shape)
            if tensor.is_floating_point() and not any(fnmatch(key, p) for p in skip):
                tensor.copy_(torch.from_numpy(np.asarray(fill(key, tensor.shape, salt))))
    return shapes


@dataclass(frozen=True)
class GoldenCase:
    """What a plugin may know of a golden vector: never its stored outputs.

    Attributes
    ----------
    name : str
        File name without suffix.
    meta : dict
        The description stored in the file (``meta`` or ``config``; of a JSON
        golden its text entries).
    salt : str
        Salt of weights and input.
    inputs : dict
        Stored values that the plugin declared as inputs (noise, masks, ...).
    shapes : dict of str to tuple
        Names and shapes of the outputs asked for.
    manifests : dict of str to dict
        The folder's manifests by name: key of the state dict to shape.
    """

    name: str
    meta: Mapping[str, Any]
    salt: str = "public"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    manifests: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict, repr=False)

    def manifest(self, name: str | None = None) -> Mapping[str, tuple[int, ...]] | None:
        """Return key and shape of every tensor, or None where no manifest is.

        Parameters
        ----------
        name : str | None
            Name of the manifest; None is the case's own.
        """
        return self.manifests.get(self.name if name is None else name)

    def nearest_manifest(self) -> Mapping[str, tuple[int, ...]] | None:
        """Return the manifest whose name is the longest beginning of the case's."""
        names = [name for name in self.manifests if self.name.startswith(name)]
        return self.manifests[max(names, key=len)] if names else None

    def fill(self, key: str, shape: Sequence[int]) -> np.ndarray:
        """Generate a weight; see :func:`fill`."""
        return fill(key, shape, self.salt)

    def input(self, shape: Sequence[int], scale: float = 1.0, tag: str = "input") -> np.ndarray:
        """Generate the input; see :func:`draw_input`."""
        return draw_input(shape, self.salt, scale=scale, tag=tag)

    def cut(self, name: str, array: Any) -> np.ndarray:
        """Cut an output down to the leading part that the file stores.

        Parameters
        ----------
        name : str
            Name of the stored array.
        array : array-like
            The whole output.

        Returns
        -------
        ndarray
            ``array`` unchanged where the number of axes differs.
        """
        array = np.asarray(array)
        shape = self.shapes.get(name, array.shape)
        if len(shape) != array.ndim:
            return array
        return array[tuple(slice(n) for n in shape)]


def read_manifests(folder: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """Read ``manifest_<name>.json`` files, with or without types beside shapes.

    Raises
    ------
    SpecError
        If one of them is not a manifest.
    """
    found = {}
    for path in sorted(folder.glob(f"{_PREFIX}*.json")):
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem.removeprefix(_PREFIX)] = {
                key: tuple(int(n) for n in (shape[0] if _has_dtype(shape) else shape))
                for key, shape in entries.items()
            }
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise SpecError(f"{path} is not a manifest (key to shape): {error}") from error
    return found


def _has_dtype(entry: Any) -> bool:
    return len(entry) == 2 and isinstance(entry[1], str)


def golden_files(folder: Path) -> list[Path]:
    """Return the files of a folder that hold outputs, in order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_file() and _holds_outputs(path))


def _holds_outputs(path: Path) -> bool:
    if path.suffix == ".json":
        return path.stem != "index" and not path.stem.startswith(("manifest", "."))
    return path.suffix == ".npz" and not path.name.startswith(".")


def read_values(path: Path) -> dict[str, Any]:
    """Read all that a golden file stores.

    Raises
    ------
    SpecError
        If the file is damaged, or would have to run code to be read.
    """
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {"value": content}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib, numpy and json each have errors of their own
        kind = "an .npz archive of plain arrays" if path.suffix == ".npz" else "a JSON file"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"{path.name} cannot be read as {kind}: {reason}") from error


def describe(values: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Find description and salt among the values of a golden file.

    Returns
    -------
    meta : dict
        Of ``meta`` and ``config``, which are JSON; other text entries as they
        are.
    salt : str
        ``"public"`` where the file names none.
    """
    meta: dict[str, Any] = {}
    for name, value in values.items():
        text = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        if not isinstance(text, str):
            continue
        if name in ("meta", "config"):
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = text
            meta |= parsed if isinstance(parsed, dict) else {name: parsed}
        else:
            meta.setdefault(name, text)
    return meta, str(meta.get("salt", "public"))
