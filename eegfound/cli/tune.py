"""``eegfound tune``: search over pipelines and their parameters, resumable."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.base import SpecError
from eegfound.cli._output import errors, print_json, print_table, say
from eegfound.cli.benchmark import _band, _load, names
from eegfound.cli.listing import Json


def tune(
    data: Annotated[str, typer.Option(help="Dataset by name, see `benchmark --list`.")] = "sample",
    subjects: Annotated[str, typer.Option(help="Subjects, e.g. 1-70 (default: all).")] = "",
    task: Annotated[str, typer.Option(help="Task of datasets with several.")] = "",
    models: Annotated[str, typer.Option(help="Models, or 'all' or 'none'.")] = "none",
    baselines: Annotated[str, typer.Option(help="Baselines, or 'none'.")] = "tangent_space",
    tunings: Annotated[
        str, typer.Option(help="frozen, head, partial, full, lora, readout, …")
    ] = "frozen",
    heads: Annotated[str, typer.Option(help="logistic, lda, svm, ridge, knn.")] = "logistic",
    montages: Annotated[
        str, typer.Option(help="as recorded, nan, interpolate, nearest, zero.")
    ] = "as recorded",
    checkpoint: Annotated[
        str, typer.Option(help="Weights of the models; 'none' for random weights.")
    ] = "default",
    size: Annotated[str | None, typer.Option(help="Named size (one model).")] = None,
    cache: Annotated[str, typer.Option(help="Embedding cache: a folder, or 'default'.")] = "",
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs of training.")] = None,
    band: Annotated[str, typer.Option(help="Pass band of baselines in Hz, e.g. 8-30.")] = "",
    n_trials: Annotated[int, typer.Option(min=1, help="Trials of the whole study.")] = 40,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds for this run.")] = None,
    sampler: Annotated[str, typer.Option(help="tpe, random or gp.")] = "tpe",
    prune: Annotated[bool, typer.Option(help="Stop bad trials early.")] = True,
    storage: Annotated[
        str, typer.Option(help="sqlite:///…, postgresql://…, journal:… (default: in --out).")
    ] = "",
    study_name: Annotated[str, typer.Option(help="Name of the study.")] = "tune",
    cv: Annotated[str, typer.Option(help="'subject' or 'loso'.")] = "subject",
    folds: Annotated[int, typer.Option(min=2, help="Folds of subjects.")] = 5,
    scoring: Annotated[str, typer.Option(help="Score of scikit-learn.")] = "balanced_accuracy",
    test_subjects: Annotated[str, typer.Option(help="Subjects held out for the test.")] = "",
    held_out: Annotated[float, typer.Option(help="Or: share of subjects held out.")] = 0.2,
    compare: Annotated[str, typer.Option(help="Untuned baselines for the test.")] = "tangent_space",
    jobs: Annotated[int, typer.Option(help="Folds at the same time.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for study and results.")] = None,
    as_json: Json = False,
) -> None:
    """Tune pipelines by cross-validation over subjects, and test the best one once.

    Ctrl-C and the same command again: goes on. Run it in several shells with
    one --storage: they share the trials.
    """
    from eegfound.benchmark.pipelines import baseline_pipelines
    from eegfound.search.pipelines import choose_pipeline
    from eegfound.search.session import run_session, write_session
    from eegfound.search.suggest import suggest_space

    chosen = _models(models)
    if size is not None and len(chosen) != 1:
        raise SpecError(f"--size {size} belongs to one model, but there are {chosen}.")
    own: dict[str, Any] = {"checkpoint": None if checkpoint == "none" else checkpoint}
    own |= {"size": size} if size else {}
    own |= {"cache": True if cache == "default" else cache} if cache else {}
    X, y, groups, info = _load(data, subjects, task)
    estimator = choose_pipeline(
        chosen, _inductive(baselines), info=info, heads=names(heads), tunings=names(tunings),
        montages=names(montages), band=_band(band), params=own,
        tuning_params={"early_stopping": True} | ({"max_epochs": epochs} if epochs else {}),
    )  # fmt: skip
    others = baseline_pipelines([*_inductive(compare)], info=info, band=_band(band))
    untuned = {f"{name} (untuned)": pipeline for name, pipeline in others.items()}
    untuned |= _chance()
    _check_scoring(scoring)
    _check_out(out)
    if not storage and out is not None:
        storage = f"sqlite:///{out / 'study.db'}"
    with _Progress(n_trials, quiet=as_json) as progress:
        outcome, search = run_session(
            estimator, suggest_space(estimator, X), X, y, groups,
            untuned=untuned, held_out=names(test_subjects) or held_out, cv=cv, folds=folds,
            scoring=scoring, seed=seed, progress=progress, n_trials=n_trials, timeout=timeout,
            sampler=sampler, pruner="median" if prune else None, storage=storage or None,
            study_name=study_name if storage else None, n_jobs=jobs,
        )  # fmt: skip
    if out is not None:
        write_session(out, outcome, search)
    _show(outcome, scoring, out, as_json)


def _check_scoring(name: str) -> None:
    from sklearn.metrics import get_scorer_names

    if name not in get_scorer_names():
        raise SpecError(f"--scoring {name} is not one of {get_scorer_names()}.")


def _check_out(out: Path | None) -> None:
    """Make the folder now: hours later it would be too late to learn that one cannot."""
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise SpecError(f"--out {out} is no folder that can be written to: {error}") from error


def _models(text: str) -> list[str]:
    from eegfound.models import list_models

    return list_models() if text == "all" else [] if text == "none" else names(text)


def _inductive(text: str) -> list[str]:
    """Return baselines by name; those that look at all test epochs together are refused."""
    from eegfound.baselines import get_baseline

    found = [] if text == "none" else names(text)
    wrong = [name for name in found if get_baseline(name).transductive]
    if wrong:
        raise SpecError(
            f"{wrong} are transductive; their scores must not be mixed with those of other "
            "pipelines in one search."
        )
    return found


def _chance() -> dict[str, Any]:
    from sklearn.dummy import DummyClassifier

    return {"class frequencies": DummyClassifier(strategy="prior")}


class _Progress:
    """A bar with the best score so far on a terminal, lines elsewhere; on stderr."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.total, self.quiet = total, quiet
        self._bar: Any = None

    def __deepcopy__(self, memo: Any) -> _Progress:
        return self  # there is one terminal

    def __enter__(self) -> _Progress:
        from eegfound.datasets.progress import interactive

        if not self.quiet and interactive():
            from rich.progress import Progress

            self._bar = Progress(console=errors, transient=True)
            self._task = self._bar.add_task("first trial", total=self.total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, study: Any, trial: Any) -> None:
        from eegfound.search.workers import standing

        finished = standing(study.get_trials(deepcopy=False))
        values = [t.value for t in finished if t.state.name == "COMPLETE" and t.value is not None]
        best = f"best {max(values):.3f}" if values else "no score yet"
        if self._bar is not None:
            self._bar.update(self._task, completed=len(finished), description=best)
        elif not self.quiet:
            what = trial.params.get("chosen", "")
            state = trial.state.name.lower()
            # What a pruned trial reported last may be a loss.
            own = f" {trial.value:.3f}" if state == "complete" else ""
            say(f"trial {len(finished)}/{self.total}: {what}{own} {state}; {best}", to=errors)


def _show(outcome: Any, scoring: str, out: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    from eegfound.search.session import OPTIMISTIC

    if as_json:
        print_json({**asdict(outcome), "note": OPTIMISTIC})
        return
    rows = [[name, value] for name, value in outcome.best_params.items()]
    print_table("Best parameters", ["parameter", "value"], rows)
    say(
        f"{outcome.n_trials} trials ({outcome.n_pruned} pruned, {outcome.n_failed} failed); "
        f"{scoring} of the best over its folds: {outcome.search_score:.3f}"
    )
    say(OPTIMISTIC)
    if outcome.scores:
        held = outcome.held_out_subjects
        shown = ", ".join(held[:12]) + (", …" if len(held) > 12 else "")
        print_table(
            f"{scoring} on {len(held)} subject(s) held out ({shown})",
            ["pipeline", scoring],
            [[name, f"{value:.3f}"] for name, value in outcome.scores.items()],
        )
    else:
        say("No subject was held out: there is no honest score. Use --held-out 0.2.")
    if out is not None:
        say(f"Study, trials and the fitted pipeline are in {out}")
