"""Put the trained checkpoints into their plugins: weights, loss curves, model card.

    python benchmarks/open_checkpoints.py OUT
    python benchmarks/bench_pretrained.py --trained OUT
    python benchmarks/model_cards.py OUT [--models labram …]

Writes ``weights/`` in each plugin's package. All that a card says is read from the weights'
own record, from what training measured and from the evidence; nothing is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from bench_pretrained import LEGEND, PROBES, summary

import eegfound as ef
from eegfound.benchmark.figures import as_svg
from eegfound.models.files import read_metadata, read_tensors
from eegfound.pretraining.report import measures_of
from eegfound.pretraining.report_figures import curves_figure

LIMIT = 6_000_000
#: Endings of measures that are what a plain guess reaches.
GUESSES = ("_trivial", "_zero", "_masked", "_neighbours", "_repeat")
#: What says best, for each model, whether its objective was learned: stage, measure, in words.
HEADLINES = {
    "labram": ("masked", "accuracy", "codes of hidden patches named rightly"),
    "mmm": ("reconstruction", "hidden", "squared error of hidden features"),
    "dare": ("dual-aligned", "reconstruction_in_space", "squared error of hidden channels"),
    "eegpt": ("dual", "reconstruction_in_space", "squared error of hidden channels"),
    "eegpt-ar": ("next-signal", "new_samples", "squared error of new samples"),
    "specmoe": ("expert-3", "total", "loss of signals with holes"),
    "neurolm": ("next-code", "accuracy", "codes of the next second named rightly"),
    "fome-style": ("masked", "spectrum", "error of hidden log-spectra"),
}
#: Sets by their short name in a record: what a card must say of them.
SETS = {
    "eegmmidb": (
        "EEG Motor Movement/Imagery Dataset (Schalk et al. 2004; PhysioNet, Goldberger et al. "
        "2000), ODC-BY 1.0, doi:10.13026/C28G6P"
    ),
    "adhd": (
        "EEG Data for ADHD / Control Children (Nasrabadi et al. 2020, IEEE DataPort), CC BY 4.0, "
        "doi:10.21227/rzfh-zn36"
    ),
}


def card(name: str, out: Path, rows: list[dict]) -> str:
    """Return the model card of one checkpoint."""
    facts = json.loads((out / name / "facts.json").read_text())
    path = weights_of(out / name)
    told, tensors = read_metadata(path), read_tensors(path)
    record = told["record"]
    n_numbers = sum(tensor.numel() for tensor in tensors.values())
    model = ef.get_model(name)
    minutes = max(row["seconds"] for part in metrics(out / name).values() for row in part) / 60
    lines = [
        f"# {path.stem}",
        "",
        f"Weights of {model.name}, size `{told['size']}`, trained by this project's own code on "
        "openly licensed EEG. They are small and saw little: meant to make the default a "
        "*pretrained* encoder that works offline, not to stand in for published weights.",
        "",
        "| | |",
        "|---|---|",
        f"| parameters, file | {n_numbers:,}, {path.stat().st_size / 1e6:.1f} MB |",
        f"| fingerprint of the weights | `{told['fingerprint']}` |",
        f"| training | {told['n_steps']:,} steps in {minutes:.0f} minutes of one thread |",
        f"| command | `python benchmarks/open_checkpoints.py OUT --models {name}` |",
        "| licence | CC BY 4.0; name the sources below |",
        "",
        "## Data",
        "",
        "| set | subjects | recordings | hours |",
        "|---|---|---|---|",
        *(
            f"| {SETS.get(each['name'], each['name'])} | {len(each['subjects'])} | "
            f"{each['n_recordings']} | {each['hours']:.2f} |"
            for each in record["datasets"]
        ),
        "",
        *(
            f"`{each['name']}`, subjects: {', '.join(map(str, each['subjects']))}.\n"
            for each in record["datasets"]
        ),
        f"Of these, measured after every pass and not trained on: {', '.join(record['held_out'])}.",
        "",
        f"Left out altogether, for what stands below: {', '.join(facts['unseen'])}. Nothing of "
        "EEGMAT was used. The same record is in the file; `run_benchmark` reads it and marks "
        "results on these subjects.",
        "",
        "## Recipe",
        "",
        f"{told['recipe']['max_epochs']} passes over the data in all stages together "
        f"({', '.join(f'`{stage}`' for stage in told['stages'])}){differing(told['recipe'])}. "
        "Everything else as the plugin declares it for its stages:",
        "",
        *(
            f"- `{stage}`: {', '.join(f'{key} {value}' for key, value in used.items())}"
            for stage, used in told["settings"].items()
        ),
        "",
        "## Objective on subjects that were not trained on",
        "",
        "| stage | measure | reached | learned nothing | other plain guesses |",
        "|---|---|---|---|---|",
    ]
    for stage, values in facts["on_unseen"].items():
        for key, value in values.items():
            if key.rpartition("_")[0] in values and key.endswith(GUESSES):
                continue
            beside = values.get(f"{key}_trivial")
            others = [
                f"{guess[1:]} {values[key + guess]:.4g}"
                for guess in GUESSES[1:]
                if key + guess in values
            ]
            lines.append(
                f"| {stage} | {key} | {value:.4g} | {'' if beside is None else f'{beside:.4g}'} | "
                f"{', '.join(others)} |"
            )
    lines += ["", "Loss curves:", ""]
    for stage in told["stages"]:
        lines += [f"![{stage}]({path.stem}-{stage}.svg)", ""]
    lines += ["## What they are worth", "", *evidence(name, rows)]
    return "\n".join(lines).rstrip() + "\n"


def overview(trained: list[str], out: Path, rows: list[dict]) -> str:
    """Return one line per model: its objective, and what its embeddings are worth."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = [
        f"| model | on unseen subjects | reached | learned nothing | best plain guess | "
        f"{' | '.join(tasks)} | mean |",
        f"|---|---|---|---|---|{'---|' * len(tasks)}---|",
    ]
    for name in trained:
        stage, measure, words = HEADLINES[name]
        values = json.loads((out / name / "facts.json").read_text())["on_unseen"][stage]
        mine = [row for row in rows if row["pipeline"] == name]
        told = [told_differences([row for row in mine if row["task"] == task]) for task in tasks]
        told.append(told_differences(mine))
        lines.append(
            f"| {name} | {words} | {values[measure]:.3g} | {values[f'{measure}_trivial']:.3g} | "
            f"{best_guess(values, measure)} | {' | '.join(told)} |"
        )
    return "\n".join(lines)


def best_guess(values: Mapping[str, float], measure: str) -> str:
    """Return what the best guess that needs no training reaches, and whether it wins."""
    known = {values[measure + guess]: guess[1:] for guess in GUESSES if measure + guess in values}
    sign = 1 if measure == "accuracy" else -1
    best = max(known, key=lambda value: sign * value)
    verdict = ", **better**" if sign * best > sign * values[measure] else ""
    return f"{best:.3g} ({known[best]}{verdict})"


def told_differences(rows: list[dict]) -> str:
    """Return by how much pretrained is better than random on average over tasks, each probe."""
    told = []
    for probe in (probe for probe in PROBES if any(row["probe"] == probe for row in rows)):
        differences = []
        for task in dict.fromkeys(row["task"] for row in rows):
            means = {
                row["weights"]: statistics.mean(row["scores"])
                for row in rows
                if row["task"] == task and row["probe"] == probe
            }
            pretrained = means.pop("pretrained")
            differences.append(pretrained - statistics.mean(means.values()))
        told.append(f"{statistics.mean(differences):+.3f}")
    return ", ".join(told)


def differing(recipe: Mapping[str, Any]) -> str:
    """Return what was not left to the model's defaults, as the end of a sentence."""
    usual = ("max_epochs", "dtype", "early_stopping", "random_state", "validation_fraction")
    return "".join(f", `{key}={recipe[key]!r}`" for key in recipe if key not in usual)


def weights_of(folder: Path) -> Path:
    """Return the trained encoder in a folder of open_checkpoints.py."""
    return next(folder.glob("*-open.safetensors"))


def metrics(folder: Path) -> Mapping[str, list[dict]]:
    """Return the rows of the metrics file by stage."""
    by_stage: dict[str, list[dict]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        by_stage.setdefault(row["stage"], []).append(row)
    return by_stage


def evidence(name: str, rows: list[dict]) -> list[str]:
    """Return the tables of the frozen encoder beside random weights and Riemann."""
    lines = [LEGEND, ""]
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task and row["pipeline"] == name]
        if not mine:
            continue
        beside = [row for row in rows if row["task"] == task and not row["weights"]]
        seen = mine[0]["seen"]
        what = "set never seen" if not seen else f"{seen} others of the set went into pretraining"
        lines += [
            f"`{task}`, {mine[0]['n_windows']} windows of {mine[0]['n_subjects']} unseen subjects "
            f"({what}), {len(mine[0]['scores'])} folds:", "",
            summary([*mine, *beside], task), "",
        ]  # fmt: skip
    return lines


def curves(folder: Path) -> Mapping[str, str]:
    """Return the loss curves of each stage as SVG."""
    drawn = {}
    for stage, rows in metrics(folder).items():
        figure = curves_figure(rows, measures_of(rows)[:6])
        if figure is not None:
            drawn[stage] = as_svg(figure)
    return drawn


def ship(name: str, out: Path, rows: list[dict]) -> Path:
    """Copy weights, card and curves into the plugin."""
    path = weights_of(out / name)
    if path.stat().st_size > LIMIT:
        raise SystemExit(f"{path} has more than {LIMIT / 1e6:g} MB.")
    package = ef.get_model(name).transformer.partition(":")[0].partition(".")[0]
    target = Path(str(files(package))) / "weights"
    target.mkdir(exist_ok=True)
    for old in target.glob(f"{path.stem}*"):
        old.unlink()
    shutil.copyfile(path, target / path.name)
    (target / f"{path.stem}.md").write_text(card(name, out, rows))
    for stage, svg in curves(out / name).items():
        (target / f"{path.stem}-{stage}.svg").write_text(svg)
    return target / path.name


def main() -> None:
    """Ship what was trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="*")
    args = parser.parse_args()
    known = {}  # several runs for some models each have the same baselines
    for path in sorted(args.out.glob("evidence*.json")):
        for row in json.loads(path.read_text()):
            known[row["task"], row["pipeline"], row["weights"], row["probe"]] = row
    rows = list(known.values())
    trained = [path.parent.name for path in sorted(args.out.glob("*/facts.json"))]
    for name in args.models or trained:
        print(ship(name, args.out, rows))
    told = {row["pipeline"] for row in rows}
    print(overview([name for name in trained if name in told], args.out, rows))


if __name__ == "__main__":
    main()
