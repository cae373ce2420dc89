"""``eegfound benchmark``: pipelines on subject-wise splits, honestly compared."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.base import SpecError
from eegfound.cli._output import print_json, say
from eegfound.cli.listing import Json


def numbers(text: str) -> list[int]:
    """Read ``"1-3,7"`` as ``[1, 2, 3, 7]``."""
    found: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise SpecError(f"{text!r} is not a list of numbers like 1-70,75.") from None
    return found


def names(text: str) -> list[str]:
    """Read ``"a, b"`` as ``["a", "b"]``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def benchmark(
    data: Annotated[str, typer.Option(help="Dataset by name, see `--list`.")] = "sample",
    subjects: Annotated[str, typer.Option(help="Subjects, e.g. 1-70 (default: all).")] = "",
    task: Annotated[str, typer.Option(help="Task of datasets with several.")] = "",
    models: Annotated[str, typer.Option(help="Models, or 'all' or 'none'.")] = "all",
    baselines: Annotated[str, typer.Option(help="Baselines, or 'all' or 'none'.")] = "all",
    pipelines: Annotated[
        str, typer.Option(help="Only these pipelines, by the names in the table.")
    ] = "",
    checkpoint: Annotated[
        str, typer.Option(help="Weights of the models; 'none' for random weights.")
    ] = "default",
    size: Annotated[str | None, typer.Option(help="Named size (one model).")] = None,
    band: Annotated[str, typer.Option(help="Pass band of baselines in Hz, e.g. 8-30.")] = "",
    cv: Annotated[str, typer.Option(help="'subject' (5 folds), 'loso', or folds.")] = "subject",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 1,
    scoring: Annotated[str, typer.Option(help="Score.")] = "balanced_accuracy",
    n_jobs: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and report.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take finished folds.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the datasets.")] = False,
    as_json: Json = False,
) -> None:
    """Compare pipelines on people they were not trained on.

    Interrupted runs with ``--out`` go on where they stopped.
    """
    from eegfound.benchmark import default_pipelines, run_benchmark
    from eegfound.datasets import list_datasets

    if list_all:
        print_json(list_datasets()) if as_json else say("\n".join(list_datasets()))
        return
    X, y, groups, info = _load(data, subjects, task)
    chosen = default_pipelines(
        None if models == "all" else [] if models == "none" else names(models),
        baselines if baselines in ("all", "none") else names(baselines),
        info=info,
        band=_band(band),
        n_classes=len(set(y)),
        checkpoint=None if checkpoint == "none" else checkpoint,
        size=size,
    )
    if pipelines:
        unknown = sorted(set(names(pipelines)) - set(chosen))
        if unknown:
            raise SpecError(f"--pipelines {unknown} are not among {list(chosen)}.")
        chosen = {name: chosen[name] for name in names(pipelines)}
    results = run_benchmark(
        chosen, X, y, groups,
        cv=int(cv) if cv.isdigit() else cv, seeds=range(seeds), scoring=scoring, out=out,
        resume=not fresh, n_jobs=n_jobs, info=info, dataset=data,
    )  # fmt: skip
    if as_json:
        print_json(results.table().reset_index().to_dict(orient="records"))
    else:
        results.print()
    if out is not None and not as_json:
        say(f"Tables and report in {out}")


def _load(data: str, subjects: str, task: str) -> Any:
    """Load a dataset with those options that its loader takes."""
    from eegfound.datasets import load_dataset
    from eegfound.datasets.catalog import get_card
    from eegfound.models import load_object

    options: dict[str, Any] = {}
    if subjects:
        options["subjects"] = numbers(subjects)
    if task:
        options["task"] = task
    card = get_card(data)
    if card.loader:
        takes = inspect.signature(load_object(card.loader)).parameters
        wrong = [f"--{name}" for name in options if name not in takes]
        if wrong:
            raise SpecError(f"{', '.join(wrong)}: the dataset {data!r} has no such choice.")
    return load_dataset(data, **options)


def _band(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        low, high = map(float, text.split("-"))
    except ValueError:
        raise SpecError(f"--band {text!r} is not of the form 8-30.") from None
    return low, high
