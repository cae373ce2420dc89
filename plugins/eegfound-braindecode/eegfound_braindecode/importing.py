"""Importing braindecode on first use, also where torchaudio does not load.

braindecode imports torchaudio, whose wheel on PyPI is linked against CUDA: beside
a CPU build of torch its binary does not load, and ``import braindecode`` fails
with an ``OSError``. None of the models offered here calls torchaudio. So, where
only torchaudio is at fault, placeholders stand in for it *while braindecode is
imported* and are taken away again; anything of braindecode that does call
torchaudio afterwards fails with the reason and the remedy. A warning says so
once. ``EEGFOUND_BRAINDECODE_TORCHAUDIO=require`` turns the stand-in off.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from eegfound.base import PluginError
from eegfound_braindecode.installation import INSTALL, installation, torchaudio_fix

VARIABLE = "EEGFOUND_BRAINDECODE_TORCHAUDIO"
_lock = threading.RLock()


class BraindecodeUnavailableError(PluginError, ImportError):
    """braindecode is missing or cannot be imported; the message says what to type."""


class TorchaudioWarning(UserWarning):
    """torchaudio does not load; braindecode was imported without it."""


def braindecode_models() -> ModuleType:
    """Return ``braindecode.models``, importing it on the first call.

    Returns
    -------
    module
        ``braindecode.models``.

    Raises
    ------
    BraindecodeUnavailableError
        If braindecode is missing, too old, or fails to import for another
        reason than torchaudio (or because of it, where the stand-in is off).
    """
    with _lock:
        if "braindecode.models" in sys.modules:
            return sys.modules["braindecode.models"]
        found = installation()
        if found.problem:
            raise BraindecodeUnavailableError(f"{found.problem}.")
        fault = torchaudio_fault()
        if fault is None:
            return _import_models(found.version)
        if os.environ.get(VARIABLE, "").lower() == "require":
            raise BraindecodeUnavailableError(
                f"braindecode {found.version} cannot be imported because torchaudio does not load "
                f"({fault}). Install a build that fits your torch, for a CPU build: "
                f"{torchaudio_fix()}. Or unset {VARIABLE}: no model offered here needs torchaudio."
            )
        with _stand_in(fault):
            module = _import_models(found.version)
        warnings.warn(
            f"torchaudio does not load ({fault}). braindecode was imported without it; the "
            "models offered here do not use it and give the same numbers. Other parts of "
            "braindecode that need it will fail until it is repaired, for a CPU build of torch "
            f"with: {torchaudio_fix()}",
            TorchaudioWarning,
            stacklevel=2,
        )
        return module


def torchaudio_fault() -> str | None:
    """Import torchaudio and return in one line why that fails, None where it works."""
    before = set(sys.modules)
    try:
        importlib.import_module("torchaudio")
    except Exception as error:  # a missing binary, a missing package, an unfitting ABI
        _forget("torchaudio", keep=before)
        return _one_line(error)
    return None


def _import_models(version: str | None) -> ModuleType:
    before = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about things that nobody here can change
            return importlib.import_module("braindecode.models")
    except Exception as error:  # its dependencies can fail in any way
        _forget("braindecode", keep=before)
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        remedy = f"pip install {missing}, or {INSTALL}" if missing else INSTALL
        raise BraindecodeUnavailableError(
            f"braindecode {version} is installed but cannot be imported ({_one_line(error)}). "
            f"Repair the installation: {remedy}."
        ) from error


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _forget(package: str, *, keep: set[str]) -> None:
    """Drop modules that a failed import left half done."""
    for name in list(sys.modules):
        if name.split(".")[0] == package and name not in keep:
            del sys.modules[name]


@contextmanager
def _stand_in(fault: str) -> Iterator[None]:
    """Put placeholders in torchaudio's place for the length of a block."""
    names = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")
    for name in names:
        module = ModuleType(name, "Placeholder: torchaudio does not load here.")
        module.__spec__ = ModuleSpec(name, None, is_package=name == "torchaudio")
        module.__path__ = []
        module.__getattr__ = _placeholders(name, fault)  # type: ignore[method-assign]
        sys.modules[name] = module
        if "." in name:
            setattr(sys.modules["torchaudio"], name.split(".")[1], module)
    try:
        yield
    finally:
        _forget("torchaudio", keep=set())


def _placeholders(module: str, fault: str) -> Any:
    """Return a module's ``__getattr__`` that makes a class for every name asked for."""

    def make(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
            raise BraindecodeUnavailableError(
                f"{module}.{name} was called, but torchaudio does not load ({fault}). For a CPU "
                f"build of torch: {torchaudio_fix()}. Then start Python again."
            )

        return type(name, (), {"__new__": refuse, "__module__": module})

    return make
