"""What is known of the installed braindecode without importing it.

Importing braindecode takes seconds; listing models must not. Whether it is
there, which release it is and which of its model files exist is read from the
import system's finders and from the distributions' metadata.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

#: Oldest release whose models this bridge knows.
OLDEST = (1, 8)
INSTALL = "pip install 'eegfound-braindecode[braindecode]'"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Installation:
    """The braindecode of this environment.

    Attributes
    ----------
    version : str | None
        Release, None where braindecode is not installed.
    modules : frozenset of str
        Names of the files in ``braindecode/models``.
    problem : str
        Why no model can be used, and what to type; empty where nothing is
        known to be wrong.
    torchaudio : str
        Why torchaudio will probably not load, and what to type; empty where
        nothing hints at that. No model of this bridge needs it.
    """

    version: str | None
    modules: frozenset[str] = frozenset()
    problem: str = ""
    torchaudio: str = ""


def installation() -> Installation:
    """Look at the installed braindecode without importing it.

    Returns
    -------
    Installation
        Found anew at each call (a few milliseconds).
    """
    root = _find("braindecode")
    if root is None:
        return Installation(None, problem=f"braindecode is not installed: {INSTALL}")
    version = _version("braindecode") or "unknown"
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found and found < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Installation(
            version,
            problem=f"braindecode {version} is installed but {oldest} or newer is needed: "
            f"pip install -U 'braindecode>={oldest},<2'",
        )
    modules = frozenset(path.stem for path in (root / "models").glob("*.py"))
    return Installation(version, modules, torchaudio=_torchaudio_hint())


def torchaudio_fix() -> str:
    """Return the command that installs a torchaudio that fits a CPU build of torch."""
    version = (_version("torchaudio") or "").partition("+")[0]
    wanted = f"torchaudio=={version}" if version else "torchaudio"
    return f"pip install --force-reinstall --no-deps {wanted} --index-url {CPU_INDEX}"


def _torchaudio_hint() -> str:
    torch, torchaudio = _version("torch") or "", _version("torchaudio")
    if torchaudio is None:
        return "torchaudio is not installed (braindecode imports it): pip install torchaudio"
    if torch.endswith("+cpu") and not torchaudio.endswith("+cpu"):
        return (
            f"torchaudio {torchaudio} is not a CPU build but torch {torch} is, so torchaudio "
            f"probably does not load: {torchaudio_fix()}"
        )
    return ""


def _find(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
