"""Golden vectors: compare what a model computes with what its reference did.

A folder of golden vectors holds ``.npz`` (or ``.json``) files with outputs of
a reference implementation. A file whose description has ``from_file`` stores
further outputs of that other file's case: it has its description and inputs. A plugin that declares
``golden="package.golden:reproduce"`` computes them again from the description,
salt, inputs and masks alone; the stored outputs are only seen here, where the
two are compared.

The module of ``reproduce`` may also define

``INPUTS``
    names (``fnmatch`` patterns, ``"array"`` or ``"case:array"``) of stored
    values that are inputs, or a function ``(case_name, shapes) -> names``;
``TOLERANCES``
    such patterns and the :class:`Tolerance` (or largest difference) each one
    gets, the first that matches counts, or a function ``(case) -> patterns``.
    Everything else gets 1e-5; whole numbers, truth values and text must be
    equal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import SpecError
from eegfound.testing.golden_case import (
    GoldenCase,
    describe,
    draw_input,
    fill,
    fill_network,
    golden_files,
    read_manifests,
    read_values,
    seeded,
    statistics,
)
from eegfound.testing.golden_compare import ArrayResult, Tolerance, compare

__all__ = [
    "ArrayResult", "GoldenCase", "GoldenResult", "GoldenSkippedError", "Tolerance", "as_dict",
    "draw_input", "exit_code", "fill", "fill_network", "format_results", "run_folder", "seeded",
    "statistics",
]  # fmt: skip


class GoldenSkippedError(Exception):
    """Raised by ``reproduce`` for a case that needs a file nobody has here."""


@dataclass(frozen=True)
class GoldenResult:
    """How one golden file was reproduced.

    Attributes
    ----------
    case : str
        File name without suffix.
    arrays : tuple of ArrayResult
        One per stored output.
    seconds : float
        Wall-clock time.
    error : str
        Why nothing could be compared.
    skipped : str
        Why it was left out.
    """

    case: str
    arrays: tuple[ArrayResult, ...] = ()
    seconds: float = 0.0
    error: str = ""
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """Whether every array is within tolerance (a skipped case is no miss)."""
        return bool(self.skipped) or (
            not self.error and bool(self.arrays) and all(array.ok for array in self.arrays)
        )


@dataclass(frozen=True)
class _Plugin:
    reproduce: Callable[[GoldenCase], Mapping[str, Any]]
    inputs: Any = ()
    tolerances: Any = field(default_factory=dict)

    def input_names(self, case: str, values: Mapping[str, Any]) -> set[str]:
        names = self.inputs
        if callable(names):
            names = names(case, {name: np.shape(value) for name, value in values.items()})
        return {value for value in values if any(_fits(p, case, value) for p in names)}

    def tolerance(self, case: GoldenCase, name: str) -> Tolerance:
        bounds = self.tolerances(case) if callable(self.tolerances) else self.tolerances
        for pattern, bound in bounds.items():
            if _fits(pattern, case.name, name):
                return bound if isinstance(bound, Tolerance) else Tolerance(float(bound))
        return Tolerance()


def _fits(pattern: str, case: str, name: str) -> bool:
    of_case, _, of_name = pattern.rpartition(":")
    return fnmatch(name, of_name) and (not of_case or fnmatch(case, of_case))


def run_folder(
    model: str,
    folder: str | os.PathLike[str],
    on_result: Callable[[GoldenResult], None] | None = None,
) -> list[GoldenResult]:
    """Let a model reproduce every golden vector of a folder.

    Parameters
    ----------
    model : str
        Name of a registered model whose plugin declares ``golden=``.
    folder : path-like
        Folder with ``.npz`` and ``.json`` goldens and ``manifest_*.json``.
    on_result : callable | None
        Called with each result as soon as it is there.

    Returns
    -------
    list of GoldenResult
        One per file, in order of file names. A file that cannot be read and
        a case that raises are misses with their reason; the others go on.

    Raises
    ------
    SpecError
        If the folder is missing or has no goldens, or if the model declares
        no ``golden``.
    """
    from eegfound.models import get_model

    path = Path(folder)
    plugin = _load(get_model(model))
    if not path.is_dir():
        raise SpecError(f"{path} is not a folder: pass the folder that holds the golden vectors.")
    files = golden_files(path)
    if not files:
        raise SpecError(
            f"{path} holds no golden vectors: .npz or .json files other than index.json and "
            "manifest_*.json are expected."
        )
    manifests = read_manifests(path)
    results = []
    for file in files:
        results.append(_run(plugin, file, manifests))
        if on_result is not None:
            on_result(results[-1])
    return results


def _load(model: Any) -> _Plugin:
    if not model.golden:
        raise SpecError(
            f"The plugin of {model.name!r} reproduces no golden vectors: its FoundationModel "
            "declares no golden='package.golden:reproduce'."
        )
    module_name, _, attribute = model.golden.partition(":")
    module = import_module(module_name)
    reproduce = getattr(module, attribute or "reproduce", None)
    if not callable(reproduce):
        raise SpecError(f"{model.name}: {model.golden} is not a function.")
    return _Plugin(reproduce, getattr(module, "INPUTS", ()), getattr(module, "TOLERANCES", {}))


def _run(plugin: _Plugin, file: Path, manifests: Mapping[str, Any]) -> GoldenResult:
    started = time.perf_counter()

    def result(**what: Any) -> GoldenResult:
        return GoldenResult(file.stem, seconds=time.perf_counter() - started, **what)

    try:
        values = read_values(file)
        meta, salt = describe(values)
        given = plugin.input_names(file.stem, values)
        inputs = {name: values[name] for name in given}
        source = meta.get("from_file")
        if source is not None:  # more outputs of a case that another file describes
            described = read_values(file.with_name(f"{source}.npz"))
            meta = describe(described)[0] | meta
            theirs = plugin.input_names(str(source), described)
            inputs = {name: described[name] for name in theirs} | inputs
        # Text beside the arrays is description, not output.
        stored = {
            name: value
            for name, value in values.items()
            if name not in given and not (np.ndim(value) == 0 and isinstance(_item(value), str))
        }
        case = GoldenCase(
            name=file.stem,
            meta=meta,
            salt=salt,
            inputs=inputs,
            shapes={name: np.shape(value) for name, value in stored.items()},
            manifests=manifests,
        )
        if not stored:
            return result(error="the file stores no outputs to compare with")
        ours = plugin.reproduce(case)
        arrays = tuple(
            compare(name, value, ours[name], plugin.tolerance(case, name))
            if name in ours
            else ArrayResult(name, False, None, "", "not reproduced by the plugin")
            for name, value in stored.items()
        )
    except GoldenSkippedError as reason:
        return result(skipped=str(reason))
    except Exception as error:  # one broken case must not hide the others
        text = " ".join(str(error).split())
        return result(error=f"{type(error).__name__}: {text}")
    return result(arrays=arrays)


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic) else value


def exit_code(results: Sequence[GoldenResult]) -> int:
    """Return 0 if something was compared and nothing missed, else 1."""
    compared = any(not result.skipped for result in results)
    return 0 if compared and all(result.ok for result in results) else 1


def as_dict(result: GoldenResult) -> dict[str, Any]:
    """Return a result as plain values for JSON (infinite differences as None)."""
    return {
        "case": result.case,
        "ok": result.ok,
        "seconds": round(result.seconds, 3),
        "error": result.error,
        "skipped": result.skipped,
        "arrays": [
            {
                "name": array.name,
                "ok": array.ok,
                "max_abs_diff": array.max_abs_diff
                if array.max_abs_diff is not None and np.isfinite(array.max_abs_diff)
                else None,
                "tolerance": array.tolerance,
                "detail": array.detail,
            }
            for array in result.arrays
        ],
    }


def format_results(results: Iterable[GoldenResult]) -> str:
    """Return a table of all arrays: largest difference, tolerance, pass or miss."""
    results = list(results)
    lines = []
    width = max((len(a.name) for r in results for a in r.arrays), default=0)
    for result in results:
        verdict = "skipped" if result.skipped else "pass" if result.ok else "MISS"
        lines.append(f"{result.case}: {verdict} ({result.seconds:.1f} s)")
        if result.error or result.skipped:
            lines.append(f"  {result.error or result.skipped}")
        for array in result.arrays:
            difference = "-" if array.max_abs_diff is None else f"{array.max_abs_diff:.1e}"
            text = (
                f"  {array.name:{width}}  max |diff| {difference:>7}  "
                f"tolerance {array.tolerance or '-':<6}  "
                f"{'pass' if array.ok else 'MISS'}  {array.detail}"
            )
            lines.append(text.rstrip())
    arrays = [array for result in results for array in result.arrays]
    misses = sum(not array.ok for array in arrays)
    broken = sum(bool(result.error) for result in results)
    skipped = sum(bool(result.skipped) for result in results)
    lines.append(
        f"{len(results)} files, {len(arrays)} arrays: "
        + ("all within tolerance" if exit_code(results) == 0 else
           f"{misses} arrays missed, {broken} files failed")
        + (f", {skipped} files skipped" if skipped else "")
    )  # fmt: skip
    return "\n".join(lines)
