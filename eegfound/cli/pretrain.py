"""``eegfound pretrain``: train a model on unlabelled EEG, resumable."""

from __future__ import annotations

import ast
import os
import shlex
import sys
import time
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.base import SpecError, TrainingError
from eegfound.cli._output import console, errors, print_json, print_table, say
from eegfound.cli._subjects import subjects_of
from eegfound.cli.benchmark import names
from eegfound.cli.listing import Json


def pretrain(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, metrics, state and report.")],
    data: Annotated[
        str, typer.Option(help="Folder that `eegfound prepare` made, or a dataset by name.")
    ] = "sample",
    size: Annotated[str | None, typer.Option(help="Named size.")] = None,
    stages: Annotated[str, typer.Option(help="Only these stages (default: all).")] = "",
    recipe: Annotated[str | None, typer.Option(help="'paper' for the published one.")] = None,
    epochs: Annotated[
        str, typer.Option(help="Passes over the data: 50, or tokenizer=20,masked=50.")
    ] = "",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Windows per step.")] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows per forward pass (memory).")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds per window, for a prepared folder.")
    ] = None,
    hold_out: Annotated[
        str, typer.Option(help="Share of subjects to measure on, or their names; 0: none.")
    ] = "0.1",
    exclude_subjects: Annotated[
        str, typer.Option(help="Subjects that are not looked at, e.g. for a later test.")
    ] = "",
    checkpoint: Annotated[
        str, typer.Option(help="Weights to start from; 'none' for random weights.")
    ] = "none",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that load windows.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any parameter of the Pretrainer: weight_decay=0.05."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on: start over.")] = False,
    as_json: Json = False,
) -> None:
    """Pretrain a model, and tell what it reached on subjects it has not seen.

    Ctrl-C and the same command again: goes on, to the same weights. Several
    processes: `accelerate launch -m eegfound pretrain …`.
    """
    if not main_process():
        console.quiet = errors.quiet = True  # the first process tells it
        warnings.simplefilter("ignore")
    asked = {
        "size": size, "stages": names(stages) or None, "recipe": recipe,
        "max_epochs": epochs_of(epochs), "train_batch_size": batch_size,
        "micro_batch_size": micro_batch_size, "lr": lr, "window_seconds": window,
        "checkpoint": None if checkpoint == "none" else checkpoint, "dtype": dtype,
        "device": device, "n_workers": workers, "random_state": seed,
    }  # fmt: skip
    job: dict[str, Any] = {
        "model": model, "data": data, "hold_out": hold_out,
        "excluded": subjects_of(exclude_subjects),
        "params": _with_settings({k: v for k, v in asked.items() if v is not None}, setting or []),
    }  # fmt: skip
    from eegfound.pretraining.session import open_data

    try:
        if main_process():
            _run(job, out, fresh=fresh, as_json=as_json)
        else:
            _fit(job, out, open_data(job["data"], job["excluded"]))
    except TrainingError as error:
        say(f"Error: {error}", to=errors)
        raise typer.Exit(1) from error


def main_process() -> bool:
    """Say whether this process is the one that prints and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def _run(job: dict[str, Any], out: Path, *, fresh: bool, as_json: bool) -> None:
    from eegfound.cli._training_progress import Progress
    from eegfound.estimators._observers import watching
    from eegfound.pretraining.session import DIGEST, finish, open_data, outcome, prepare_folder

    _say_alone()
    words = {name: value for name, value in job.items() if name != "params"}
    data = open_data(job["data"], job["excluded"])
    prepare_folder(out, words | job["params"] | {DIGEST: data.digest()}, fresh=fresh)
    began = time.monotonic()
    with Progress(quiet=as_json) as progress, watching(progress):
        pretrainer = _fit(job, out, data)
    run = {
        "seed": pretrainer.seed_, "precision": pretrainer.dtype, "device": pretrainer.device,
        "processes": os.environ.get("WORLD_SIZE", "1"), "data": data.name,
        "this run": f"{time.monotonic() - began:.0f} s",
    }  # fmt: skip
    command = shlex.join(["eegfound", *sys.argv[1:]])
    files = finish(pretrainer, data, out, run, command)
    rows = outcome(pretrainer)
    if as_json:
        print_json({
            "reached": [vars(row) | {"is_better": row.is_better} for row in rows],
            "files": files, "record": pretrainer.record_, "fingerprint": pretrainer.fingerprint_,
            "n_steps": pretrainer.n_steps_,
        })  # fmt: skip
        return
    _show(rows, pretrainer)
    say(f"Report in {files['report']}")
    say(f"Weights: make_transformer({job['model']!r}, checkpoint={str(files['weights'])!r})")


def _fit(job: dict[str, Any], out: Path, data: Any) -> Any:
    from eegfound.estimators import make_pretrainer
    from eegfound.pretraining.session import METRICS, STATE

    wanted = hold_out_of(job["hold_out"])
    share = wanted if isinstance(wanted, float) else data.held_out(wanted)
    own = {
        "info": data.info, "validation_fraction": share, "resume_dir": out / STATE,
        "metrics_file": out / METRICS,
    }  # fmt: skip
    params = {"on_unknown": "drop"} | job["params"] | own
    pretrainer = make_pretrainer(job["model"], **params)
    pretrainer._terms = data.terms
    return pretrainer.fit(data.X, groups=data.groups)


def _with_settings(params: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Add what ``--set`` says to the parameters."""
    from inspect import signature

    from eegfound.estimators import FoundationPretrainer

    known = set(signature(FoundationPretrainer).parameters)
    own = {
        "model", "info", "validation_fraction", "resume_dir", "metrics_file", "callbacks",
        "accelerator",
    }  # fmt: skip
    for text in settings:
        key, value = setting_of(text)
        if key in own:
            raise SpecError(f"--set {key} is not for the command line; see `eegfound pretrain -h`.")
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise SpecError(f"--set {key}: the Pretrainer has no such parameter.{hint}")
        params[key] = value
    return params


def _say_alone() -> None:
    """Tell who launched several processes on CPUs and got one that others are left out."""
    environment = os.environ
    if "MASTER_PORT" in environment and "WORLD_SIZE" not in environment:
        say(
            "accelerate launch started a single process. Several on CPUs: accelerate launch "
            "--multi_gpu --num_processes 2 -m eegfound pretrain … --device cpu",
            to=errors,
        )


def _show(rows: Any, pretrainer: Any) -> None:
    from eegfound.pretraining.report import number_text

    held = pretrainer.record_.get("held_out", [])
    if not rows:
        say("No subject was held out: nothing can be said about new ones. Use --hold-out 0.1.")
        return
    shown = ", ".join(held[:8]) + (", …" if len(held) > 8 else "")
    whom = f"{len(held)} subject(s) held out ({shown})" if held else "windows held out"
    print_table(
        f"After {pretrainer.n_steps_} steps, on {whom}",
        ["stage", "measure", "held out", "trivial", "of the trivial"],
        [
            [
                row.stage, row.measure, number_text(row.value), number_text(row.trivial),
                number_text(row.ratio, 3) + (" (not better)" if row.is_better is False else ""),
            ]
            for row in rows
        ],
    )  # fmt: skip


def epochs_of(text: str) -> int | dict[str, int] | None:
    """Read ``"50"`` as 50, and ``"tokenizer=20,masked=50"`` as a dict."""
    if not text:
        return None
    try:
        if "=" not in text:
            return int(text)
        pairs = (part.split("=", 1) for part in names(text))
        return {stage.strip(): int(count) for stage, count in pairs}
    except ValueError:
        raise SpecError(f"--epochs {text!r} is neither 50 nor tokenizer=20,masked=50.") from None


def setting_of(text: str) -> tuple[str, Any]:
    """Read ``"key=value"``; values are Python's literals, or else words."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip().isidentifier():
        raise SpecError(f"--set {text!r} is not of the form weight_decay=0.05.")
    try:
        return key.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return key.strip(), value.strip()


def hold_out_of(text: str) -> float | list[str]:
    """Read a share, ``"0.1"``, or subjects, ``"3,7"``."""
    try:
        share = float(text)
    except ValueError:
        return subjects_of(text)
    if 0 <= share < 1:
        return share
    return subjects_of(text)
