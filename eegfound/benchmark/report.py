"""A benchmark as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eegfound.benchmark import figures, reading

if TYPE_CHECKING:
    from eegfound.benchmark.results import BenchmarkResults


def write_report(results: BenchmarkResults, path: str | os.PathLike[str]) -> Path:
    """Write the report.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.
    path : path-like
        HTML file to write.

    Returns
    -------
    Path
        The file.
    """
    from jinja2 import Environment

    template = files("eegfound.benchmark") / "data" / "report.html.j2"
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"p": reading.p_text, "num": _number}
    text = environment.from_string(template.read_text(encoding="utf-8")).render(_context(results))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _context(results: BenchmarkResults) -> dict[str, Any]:
    table = results.table()
    table["label"] = [
        reading.label(name, mark) for name, mark in zip(table["pipeline"], table["transductive"])
    ]
    table["verdict"] = [
        "reference" if row["pipeline"] == results.reference else reading.verdict(row)
        for _, row in table.iterrows()
    ]
    failed = pd.notna(table["error"])
    warned = results.folds.groupby("pipeline", sort=False)["warnings"].unique()
    return {
        "facts": results.facts,
        "card": results.facts.get("dataset"),
        "score_name": reading.score_name(results),
        "reference": results.reference,
        "n_compared": int(table["p_subjects"].notna().sum()),
        "n_folds": int(results.folds["fold"].nunique()),
        "sentences": reading.sentences(results),
        "rows": table[~failed | table["score"].notna()].to_dict("records"),
        "errors": results.errors,
        "warnings": {name: [w for w in told if w] for name, told in warned.items() if any(told)},
        "figures": _figures(results),
    }


def _figures(results: BenchmarkResults) -> list[dict[str, str]]:
    if results.folds["score"].isna().all():
        return []
    drawn = [
        (
            "Every subject",
            "Every dot is a subject, the diamond the mean over folds with its standard deviation. "
            "The band reaches from the score of guessing to what 95 % of guessers do not exceed.",
            figures.score_figure(results),
        ),
        (
            "Differences to the reference",
            "Mean over subjects with its bootstrap interval; p from Wilcoxon's signed-rank test "
            "over subjects after Holm's correction.",
            figures.difference_figure(results),
        ),
        (
            "Subject by subject",
            "Every dot is a subject. Above the diagonal the pipeline scores higher than the "
            "reference.",
            figures.paired_figure(results),
        ),
        (
            "Cost",
            "Every dot is a fold, the diamond their mean; logarithmic axes. Embeddings that were "
            "looked up count with the time it took to compute them.",
            figures.cost_figure(results),
        ),
    ]
    return [
        {"title": title, "caption": caption, "svg": figures.as_svg(figure)}
        for title, caption, figure in drawn
        if figure is not None
    ]


def _number(value: Any, form: str = ".3f") -> str:
    return "-" if value is None or pd.isna(value) else format(value, form)
