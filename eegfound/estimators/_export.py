"""Fitted estimators as one program that runs without the suite.

Files are compared with the estimator after writing; see
:class:`eegfound.estimators._program.Program` for what they hold.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError, unit_factor
from eegfound.estimators._program import Program

FORMATS = ("onnx", "torch")
#: Name of the file with the facts inside a ``torch.export`` archive, and their key in ONNX.
FACTS = "eegfound.json"
#: Largest difference after reading back, relative to the largest number of the output.
TOLERANCE = 1e-4


def check_format(format: str) -> None:
    """Refuse an unknown format, and ONNX without its packages.

    Raises
    ------
    SpecError
        With the way out.
    """
    if format not in FORMATS:
        raise SpecError(f"format={format!r} is not one of {FORMATS}.")
    if format == "onnx":
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise SpecError(
                f"format='onnx' needs the package {error.name!r}: pip install 'eegfound[onnx]', or "
                "use format='torch'."
            ) from error


def export_estimator(
    estimator: Any, path: Any, *, format: str = "onnx", n_times: int | None = None
) -> Path:
    """Write a fitted Transformer, Classifier or Regressor as a program.

    Parameters
    ----------
    estimator : FoundationEstimator
        Fitted.
    path : path-like
        File to write.
    format : {"onnx", "torch"}
        ONNX, or an archive that ``torch.export.load`` reads.
    n_times : int | None
        Samples of a window; None takes those of ``fit``.

    Returns
    -------
    Path
        The file. The program takes windows in which every electrode of
        ``fit`` is recorded: a channel of NaN makes its output NaN.

    Raises
    ------
    SpecError
        If something of the estimator cannot be expressed in a program.
    """
    estimator._check_fitted()
    check_format(format)
    handle, plan = estimator.encoder_, estimator.plan_
    if estimator.front_end_ is not None:
        raise SpecError(
            f"{handle.model} cannot be exported: its front end "
            f"({type(estimator.front_end_).__name__}) computes features outside torch."
        )
    n_times = estimator.n_times_in_ if n_times is None else int(n_times)
    network, head, kind = _parts(estimator)
    program = Program(
        plan, network, n_times=n_times, pooling=handle.pooling,
        layer=estimator._layer(handle), head=head,
    )  # fmt: skip
    plain = copy.copy(estimator)  # the numbers to compare with: float32 on the CPU
    for name, value in {
        "dtype": "float32",
        "device": "cpu",
        "compile": False,
        "cache": None,
    }.items():
        if hasattr(plain, name):
            setattr(plain, name, value)
    answers = {
        "embedding": "transform", "probabilities": "predict_proba", "prediction": "predict",
    }  # fmt: skip
    facts = {
        "eegfound": version("eegfound"), "model": handle.model, "size": handle.size,
        "weights": handle.weights, "fingerprint": handle.fingerprint, "pooling": handle.pooling,
        "layer": estimator.layer, "ch_names": list(plan.info.ch_names),
        "electrodes": list(plan.names), "sfreq": plan.info.sfreq, "unit": plan.unit,
        "n_times": n_times, "output": kind,
    }  # fmt: skip
    if kind == "probabilities":
        facts["classes"] = [str(label) for label in estimator.classes_]

    def expected(X: np.ndarray) -> np.ndarray:
        return np.asarray(getattr(plain, answers[kind])(X)).reshape(len(X), -1)

    return export_program(
        program, path, format=format, n_times=n_times, facts=facts, expected=expected
    )


def _parts(estimator: Any) -> tuple[Any, nn.Module | None, str]:
    """Return the network, what follows the read-out, and what comes out."""
    if not hasattr(estimator, "net_"):
        return estimator.encoder_.network, None, "embedding"
    module = estimator.net_.module_
    tuned = getattr(module, "network", None)
    if getattr(estimator, "reading_", "pooled") != "pooled" or getattr(tuned, "fills_missing", 0):
        raise SpecError(
            "Only heads that read the pooled embedding can be exported: use head='linear' or "
            "'mlp', and no adapter (tuning='conv_linear'). Or export a Transformer."
        )
    head = getattr(module, "head", module)
    network = estimator.encoder_.network if tuned is None else tuned
    if hasattr(estimator, "classes_"):
        return network, nn.Sequential(head, nn.Softmax(dim=1)), "probabilities"
    return network, nn.Sequential(head, _Unit(estimator)), "prediction"


class _Unit(nn.Module):
    """Brings scores to the unit of a regressor's targets."""

    scale: Tensor
    mean: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(estimator.target_scale_))
        self.register_buffer("mean", torch.as_tensor(estimator.target_mean_))

    def forward(self, scores: Tensor) -> Tensor:
        return scores * self.scale + self.mean


def export_program(
    program: Program, path: Any, *, format: str, n_times: int, facts: dict[str, Any],
    expected: Callable[[np.ndarray], np.ndarray],
) -> Path:  # fmt: skip
    """Write a program, read it back and compare it with the estimator.

    Parameters
    ----------
    program : Program
        What to write.
    path : path-like
        Where to.
    format : {"onnx", "torch"}
        ONNX, or an archive of ``torch.export``.
    n_times : int
        Samples of a window.
    facts : dict
        Stored in the file as JSON.
    expected : callable
        The estimator's own output for windows.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SpecError
        If the network cannot be expressed, or the file does not give the
        estimator's numbers; no file is left then.
    """
    path = Path(path)
    n_channels = program.plan.info.n_channels
    noise = np.random.default_rng(0).standard_normal((5, n_channels, n_times))
    windows = (1e-5 / unit_factor(program.plan.unit) * noise).astype(np.float32)
    n_epochs = torch.export.Dim("n_epochs", min=1, max=65536)
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            # With gradients networks take plain operations, without writing in place.
            traced = torch.export.export(
                program, (torch.from_numpy(windows[:3]),), dynamic_shapes=({0: n_epochs},),
                strict=False,
            )  # fmt: skip
    except Exception as error:  # torch.export raises of many kinds
        raise SpecError(
            f"{facts['model']} cannot be exported: torch.export says {_first_sentence(error)}."
        ) from error
    write, read = _WAYS[format]
    with _folder_beside(path) as folder:
        made = Path(folder) / path.name
        try:
            write(traced, made, facts)
            found = read(made)(windows)
        except Exception as error:  # converter and runtime raise of many kinds
            other = " Use format='torch'." if format == "onnx" else ""
            raise SpecError(
                f"{facts['model']} cannot be written in format={format!r}: "
                f"{_first_sentence(error)}.{other}"
            ) from error
        wanted = expected(windows)
        apart, scale = np.abs(found - wanted).max(), np.abs(wanted).max()
        if found.shape != wanted.shape or not apart <= TOLERANCE * scale:
            raise SpecError(
                f"The exported program differs from the estimator by {apart:.2g} (largest number "
                f"{scale:.2g}); nothing was written. Please report this."
            )
        os.replace(made, path)
    return path


def _first_sentence(error: Exception) -> str:
    """Return what went wrong without advice, colors and traces."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error).strip() or type(error).__name__)
    return text.splitlines()[0].split(". ")[0].rstrip(".")[:300]


def _folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder on the disk of ``path``."""
    if path.is_dir():
        raise SpecError(f"path={str(path)!r} is a folder: name a file in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-")
    except OSError as error:
        raise SpecError(f"path={str(path)!r} cannot be written: {error}.") from error


def _write_torch(traced: Any, path: Path, facts: dict[str, Any]) -> None:
    # torch asks for this ending while writing.
    named = path.with_suffix(".pt2")
    torch.export.save(traced, named, extra_files={FACTS: json.dumps(facts)})
    if named != path:
        os.replace(named, path)


def _read_torch(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    with path.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda X: module(torch.from_numpy(X)).numpy()


def _write_onnx(traced: Any, path: Path, facts: dict[str, Any]) -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            traced, dynamo=True, verbose=False, input_names=["X"], output_names=["output"]
        )
    assert made is not None
    made.model.metadata_props[FACTS] = json.dumps(facts)
    made.save(path)


def _read_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Not onnxruntime's default of every core there is.
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda X: session.run(None, {name: X})[0]


_WAYS: dict[str, tuple[Callable[..., None], Callable[[Path], Callable[..., np.ndarray]]]] = {
    "onnx": (_write_onnx, _read_onnx),
    "torch": (_write_torch, _read_torch),
}
