"""``eegfound prepare``: folders of recordings to a store for pretraining."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.base import SpecError
from eegfound.cli._output import errors, print_json, print_table, say
from eegfound.cli._subjects import subjects_of
from eegfound.cli.listing import Json

#: Failures that are named one by one.
_MOST = 20


def prepare(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings, or folders of recordings.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the store.")] = None,
    dataset: Annotated[str, typer.Option(help="Name of the set, kept in the record.")] = "",
    subject: Annotated[
        str | None,
        typer.Option(help="folder, bids, file, or a regular expression with one group."),
    ] = None,
    exclude_subjects: Annotated[
        str, typer.Option(help="Subjects that must not go in, e.g. 3,7,10-12 or S001-S003.")
    ] = "",
    licence: Annotated[str | None, typer.Option(help="Terms of the set.")] = None,
    citation: Annotated[str | None, typer.Option(help="What its users must cite.")] = None,
    sfreq: Annotated[
        float | None, typer.Option(help="Rate of the store in Hz (default: of each file).")
    ] = None,
    band: Annotated[str, typer.Option(help="Pass band in Hz, e.g. 0.1-75.")] = "",
    notch: Annotated[str, typer.Option(help="Lines to take out in Hz, e.g. 50,100.")] = "",
    unit: Annotated[
        str | None, typer.Option(help="Unit of the numbers (uV, …), or volts per number.")
    ] = None,
    rename: Annotated[
        Path | None, typer.Option(help="JSON file: channel name to electrode.")
    ] = None,
    max_abs: Annotated[
        str, typer.Option(help="Microvolts from which on it is an artefact, or 'none'.")
    ] = "1000",
    flat_seconds: Annotated[
        str, typer.Option(help="Seconds without change that are an artefact, or 'none'.")
    ] = "2",
    min_seconds: Annotated[float, typer.Option(help="Shortest recording and stretch.")] = 4.0,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    info: Annotated[Path | None, typer.Option(help="Show what a store holds.")] = None,
    as_json: Json = False,
) -> None:
    """Prepare recordings for pretraining: read, clean and store them once.

    Ctrl-C, or a kill, and the same command again: goes on. Files that cannot be
    prepared are named and skipped (exit code 1 then). Several sets go into one
    store, one command each.
    """
    from eegfound.corpus import prepare_corpus

    if info is not None:
        _info(info, as_json)
        return
    if not files:
        raise SpecError("Name files or folders to prepare, or a store to look at with --info.")
    if out is None:
        raise SpecError("--out names the folder of the store: say it.")
    if not dataset:
        raise SpecError(
            "--dataset names the set in the record of what a model has seen (eegmmidb, my_lab): "
            "say it."
        )
    done = prepare_corpus(
        files, out, dataset=dataset, subject=subject,
        exclude_subjects=subjects_of(exclude_subjects), licence=licence,
        citation=citation, sfreq=sfreq, band=_band(band),
        notch=_numbers(notch, "--notch") or None, unit=_unit(unit), rename=_rename(rename),
        max_abs=_or_none(max_abs, "--max-abs", 1e-6),
        flat_seconds=_or_none(flat_seconds, "--flat-seconds", 1.0),
        min_seconds=min_seconds, n_jobs=jobs,
    )  # fmt: skip
    for failure in done.failures[:_MOST]:
        say(f"skipped {failure['file']}: {failure['reason']}", to=errors)
    if len(done.failures) > _MOST:
        say(f"… and {len(done.failures) - _MOST} more: --info {out} names them", to=errors)
    if as_json:
        print_json(_facts(out) | {"files": done.n_files, "new": done.n_new})
    else:
        say(str(done))
        _show(out)
    if done.failures:
        raise typer.Exit(1)


def _info(path: Path, as_json: bool) -> None:
    from eegfound.corpus import Corpus

    if as_json:
        print_json(_facts(path))
        return
    _show(path)
    corpus = Corpus(path)
    failures = corpus.failures
    for file, reason in zip(failures["file"], failures["reason"]):
        say(f"not prepared: {file}: {reason}")
    for file, names in zip(corpus.index["file"], corpus.index["also_known_as"]):
        if len(names):
            say(f"kept once: {file} is also {', '.join(names)}")


def _facts(path: Path) -> dict[str, Any]:
    from eegfound.corpus import Corpus

    corpus = Corpus(path)
    return {
        "path": str(path),
        "record": corpus.record(),
        "summary": corpus.summary().to_dict("records"),
        "failures": corpus.failures.to_dict("records"),
    }


def _show(path: Path) -> None:
    from eegfound.corpus import Corpus

    corpus = Corpus(path)
    if not len(corpus):
        say(f"{path} holds no recording.")
        return
    rows = [
        (
            row["dataset"], row["subjects"], row["recordings"],
            f"{row['usable_hours']:.2f} of {row['hours']:.2f}", row["sfreq"], row["channels"],
            f"{row['bytes'] / 1e6:.3g} MB", row["licence"],
        )
        for row in corpus.summary().to_dict("records")
    ]  # fmt: skip
    print_table(
        f"{path}: {corpus.hours:.2f} h of {len(corpus.subjects)} subjects",
        ("set", "subjects", "files", "hours", "Hz", "channels", "size", "licence"),
        rows,
    )


def _band(text: str) -> tuple[float | None, float | None] | None:
    if not text:
        return None
    found = re.fullmatch(r"\s*([\d.]*)\s*-\s*([\d.]*)\s*", text)
    if not found or not (found[1] or found[2]):
        raise SpecError(
            f"--band {text}: give two frequencies in Hz, such as 0.1-75 (0.5- is open)."
        )
    low, high = (_number(edge, "--band") if edge else None for edge in found.groups())
    return low, high


def _numbers(text: str, option: str) -> list[float]:
    return [_number(part, option) for part in text.split(",") if part.strip()]


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SpecError(f"{option}: {text!r} is not a number.") from error


def _or_none(text: str, option: str, factor: float) -> float | None:
    return None if text.lower() == "none" else _number(text, option) * factor


def _unit(text: str | None) -> str | float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _rename(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"--rename {path}: not a JSON file of names: {error}") from error
    if not isinstance(found, dict):
        raise SpecError(f"--rename {path}: needs one object, channel name to electrode.")
    return found
