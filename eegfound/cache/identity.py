"""What else decides about the last digit: code, libraries, processor.

Code counts by its source: that of the network's own modules and those beside
them, of the front end's, and of the parts of this suite between the user's
array and the embedding. So an edited plugin misses, whatever version it claims.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import platform
import sys
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

from eegfound.cache.keys import NotCacheable
from eegfound.cache.process import started_at

#: Raised by hand where numbers change for a reason that no source or version shows.
NUMERICS = 1
#: Modules of the suite that every embedding passes.
CORE = (
    "eegfound.base.arrays",
    "eegfound.base.units",
    "eegfound.estimators._batches",
    "eegfound.estimators._compiled",
    "eegfound.estimators._encode",
    "eegfound.estimators._inputs",
    "eegfound.estimators._pooling",
    "eegfound.estimators._precision",
    "eegfound.estimators._streaming",
    "eegfound.models.network",
    "eegfound.preprocessing.resampling",
    "eegfound.preprocessing.signal_step",
)
#: Packages of the suite that networks and front ends are made of.
BLOCKS = ("eegfound.features", "eegfound.nn", "eegfound.nn.slices")
#: Packages that count by their version.
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "mne")
#: Clocks of files and processes agree to about this many seconds.
_SLACK = 0.1


def libraries() -> dict[str, str]:
    """Return the versions of what computes."""
    return {name: _version_of(name) for name in LIBRARIES} | {"python": platform.python_version()}


@lru_cache
def _version_of(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def hardware(device: str) -> dict[str, Any]:
    """Return what the processor and torch's switches may change in the last digits.

    Parameters
    ----------
    device : str
        Torch device.
    """
    import torch

    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "matmul": torch.get_float32_matmul_precision(),
        "device": torch.device(device).type,
    }
    if torch.device(device).type == "cuda":
        facts |= {
            "gpu": torch.cuda.get_device_name(torch.device(device)),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
    return facts


@lru_cache
def processor() -> str:
    """Return the model of the processor: libraries choose their kernels by it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def code_of(*objects: Any) -> str:
    """Return a digest of the source that a network or front end runs, and of the core's.

    Parameters
    ----------
    *objects : object
        Networks (with all their submodules) and front ends; None is left out.

    Raises
    ------
    NotCacheable
        If there is no source to read, or it was changed after it was imported.
    """
    classes: set[type] = set()
    for thing in objects:
        classes |= _classes(thing)
    names = {c.__module__ for c in classes}
    own = {n for n in names if n.partition(".")[0] not in _STANDARD}
    loose = sorted(
        (c for c in classes if c.__module__ in own and _file(c.__module__) is None),
        key=lambda c: c.__qualname__,
    )
    files = {path for name in own.union(CORE, BLOCKS) for path in _files(name)}
    state = hashlib.sha256(_digest_of(frozenset(files)))
    for kind in loose:  # classes typed into a notebook
        state.update(_typed_source(kind))
    return state.hexdigest()


def _classes(thing: Any) -> frozenset[type]:
    """Return the classes that a network or a front end is made of."""
    if thing is None:
        return frozenset()
    if not hasattr(thing, "modules"):
        parts = (thing, *vars(thing).values())
    elif thing in _seen:
        return _seen[thing]
    else:
        parts = tuple(thing.modules())
    found = frozenset(base for part in parts for base in type(part).__mro__)
    if hasattr(thing, "modules"):
        _seen[thing] = found
    return found


#: A search asks for the same network hundreds of times.
_seen: weakref.WeakKeyDictionary[Any, frozenset[type]] = weakref.WeakKeyDictionary()
_STANDARD = {"builtins", "torch", "numpy", "scipy", "sklearn", "collections", "typing", "abc"}


def _typed_source(kind: type) -> bytes:
    try:
        return f"{kind.__qualname__}\n{inspect.getsource(kind)}".encode()
    except (OSError, TypeError) as error:
        raise NotCacheable(f"the source of {kind.__qualname__} cannot be read ({error})") from error


@lru_cache
def _file(module: str) -> Path | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    return Path(path) if path and Path(path).suffix == ".py" else None


@lru_cache
def _files(module: str) -> tuple[Path, ...]:
    """Return a module's file and, in a package, those beside it."""
    if module in (*CORE, *BLOCKS):
        importlib.import_module(module)
    path = _file(module)
    if path is None:
        return ()
    if module in CORE or not (path.parent / "__init__.py").exists():
        return (path,)
    return tuple(sorted(path.parent.glob("*.py")))


@lru_cache
def _digest_of(files: frozenset[Path]) -> bytes:
    """Return a digest of files by name and content; read once per process."""
    state = hashlib.sha256()
    for path in sorted(files):
        try:
            if os.stat(path).st_mtime > started_at() + _SLACK:
                raise NotCacheable(
                    f"{path} was changed after this process started, which runs the older code: "
                    "restart it"
                )
            data = path.read_bytes()
        except OSError as error:
            raise NotCacheable(f"{path} cannot be read ({error})") from error
        state.update(f"{path.parent.name}/{path.name}:{len(data)}:".encode())
        state.update(data)
    return state.digest()
