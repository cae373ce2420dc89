"""The source code that an embedding depends on.

Code counts by its text: that of the packages which network and front end come
from, and of the parts of this suite between the user's array and the embedding.
So an edited plugin misses, whatever version it claims.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import sys
import weakref
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

from eegfound.cache.keys import NotCacheable
from eegfound.cache.process import started_at

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
#: What counts by its version instead.
_LIBRARIES = {"torch", "numpy", "scipy", "sklearn", "mne", *sys.stdlib_module_names}
#: Clocks of files and processes agree to about this many seconds.
_SLACK = 0.1


def code_of(*objects: Any) -> str:
    """Return a digest of the source that networks and front ends run, and of the core's.

    Parameters
    ----------
    *objects : object
        Networks (with all their submodules), front ends (with all they hold),
        import paths of what makes these; None is left out.

    Raises
    ------
    NotCacheable
        If there is no source to read, or it was changed after it was imported.
    """
    names = {name for thing in objects for name in _modules_of(thing)}
    own = {name for name in names if name.partition(".")[0] not in _LIBRARIES}
    files: set[str] = set()
    for name in own.union(CORE, BLOCKS):
        found = _files(name)
        if not found:
            raise NotCacheable(
                f"the source of {name} cannot be read: put what is typed into a console or a "
                "notebook into a module"
            )
        files.update(found)
    return _digest_of(frozenset(map(_state_of, files)))


def _modules_of(thing: Any) -> frozenset[str]:
    """Return the names of the modules that a network, a front end or a path comes from."""
    if isinstance(thing, str):
        return frozenset([thing.partition(":")[0]])
    if not hasattr(thing, "modules"):
        return frozenset(_names_in(thing, set()))
    if thing not in _seen:
        _seen[thing] = frozenset(
            name for part in thing.modules() for value in (part, *vars(part).values())
            if value is part or isinstance(value, FunctionType)
            for name in _names_in(value, set(), deep=False)
        )  # fmt: skip
    return _seen[thing]


#: A search asks for the same network hundreds of times.
_seen: weakref.WeakKeyDictionary[Any, frozenset[str]] = weakref.WeakKeyDictionary()


def _names_in(value: Any, seen: set[int], deep: bool = True) -> Iterator[str]:
    """Yield the modules of an object's classes and functions, and of those in what it holds."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, FunctionType | type):
        yield value.__module__
    for base in type(value).__mro__:
        yield base.__module__
    # What the suite's own objects hold (plans, facts about channels) is data.
    suite = type(value).__module__.startswith("eegfound.")
    if not deep or suite or isinstance(value, type | FunctionType):
        return
    held: list[Any] = [*value] if isinstance(value, list | tuple | set | frozenset) else []
    held += value.values() if isinstance(value, dict) else getattr(value, "__dict__", {}).values()
    for part in held:
        yield from _names_in(part, seen)


@lru_cache
def _files(name: str) -> tuple[str, ...]:
    """Return the files of source that count with a module; looked for once per process."""
    if name in (*CORE, *BLOCKS):
        importlib.import_module(name)
    module = sys.modules.get(name)
    if name == "__main__" and getattr(module, "__spec__", None) is not None:  # python -m
        name = module.__spec__.name  # type: ignore[union-attr]
    given = getattr(module, "__file__", None)
    if not given or Path(given).suffix != ".py":
        return ()
    path, top = Path(given), name.partition(".")[0]
    if name in CORE:
        return (given,)
    if top == "eegfound":  # the rest of the suite is not made for one network
        return (given, *map(str, path.parent.glob("*.py")))
    if path.name == "__init__.py" or "." in name:
        roots = {*getattr(sys.modules.get(top), "__path__", ()), str(path.parent)}
        return (given, *(file for root in roots for file in _tree(root)))
    return _imported_from_beside(given)


def _tree(root: str) -> Iterator[str]:
    """Yield the source in a package's folder; folders without any are not looked into."""
    for folder, folders, files in os.walk(root):
        sources = [file for file in files if file.endswith(".py")]
        if not sources and folder != root:
            folders.clear()
        yield from (os.path.join(folder, file) for file in sources)


def _imported_from_beside(path: str) -> tuple[str, ...]:
    """Return a lone module's file, and those in its folder that it imports, however far."""
    folder = os.path.dirname(path)
    found, left = {path}, [path]
    while left and os.path.basename(folder) not in ("site-packages", "dist-packages"):
        for name in _imports(left.pop()):
            inside = os.path.join(folder, name)
            package = os.path.isfile(os.path.join(inside, "__init__.py"))
            beside = [*_tree(inside)] if package else [f"{inside}.py"]
            new = [file for file in beside if file not in found and os.path.isfile(file)]
            found.update(new)
            left += new
    return tuple(found)


def _imports(path: str) -> set[str]:
    """Return the first names of all that a file imports, wherever in it."""
    try:
        nodes = [*ast.walk(ast.parse(Path(path).read_bytes()))]
    except (OSError, SyntaxError, ValueError):
        return set()
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names}


#: Files and how they were when they were first seen.
_first: dict[str, tuple[int, int]] = {}


def _state_of(path: str) -> tuple[str, int, int]:
    """Return a file and what changes with it; looked at every time, as files change any time."""
    try:
        facts = os.stat(path)
    except OSError as error:
        raise NotCacheable(f"{path} cannot be read ({error})") from error
    state = facts.st_mtime_ns, facts.st_size
    changed = facts.st_mtime > started_at() + _SLACK or _first.setdefault(path, state) != state
    if changed and any(getattr(m, "__file__", None) == path for m in [*sys.modules.values()]):
        raise NotCacheable(
            f"{path} was changed after this process started, which runs the older code: restart it"
        )
    return path, *state


@lru_cache(maxsize=64)
def _digest_of(files: frozenset[tuple[str, int, int]]) -> str:
    """Return a digest of files by name and content; read once per process and state."""
    state = hashlib.sha256()
    for path, *_ in sorted(files):
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise NotCacheable(f"{path} cannot be read ({error})") from error
        state.update(f"{Path(path).parent.name}/{Path(path).name}:{len(data)}:".encode())
        state.update(data)
    return state.hexdigest()
