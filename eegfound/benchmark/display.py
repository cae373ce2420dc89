"""The table of a benchmark in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from eegfound.benchmark import reading

if TYPE_CHECKING:
    from eegfound.benchmark.results import BenchmarkResults

#: Terminals of this width (characters) get all columns.
_WIDE = 110
_SHORT = {
    "": "-",
    "random weights": "random",
    "seen in pretraining": "SEEN",
    "other subjects seen in pretraining": "other subjects",
    "not in the pretraining record": "not seen",
}
_STYLE = {"foundation": "bold", "chance": "dim"}


def print_results(results: BenchmarkResults) -> None:
    """Print the table, its reading and the errors to standard output.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table, facts = results.table(), results.facts
    card = facts.get("dataset") or {}
    console = Console()
    wide = console.width >= _WIDE
    shown = Table(
        title=f"{card.get('title', 'Benchmark')}: {facts['n_subjects']} subjects, "
        f"{facts['n_epochs']} epochs, {reading.score_name(results)}",
        title_justify="left",
        caption=f"± SD over folds; guessing {facts['chance']:.3f}; Δ: mean difference over "
        f"subjects to {results.reference or '-'}; p: Wilcoxon over subjects"
        + (", p folds: corrected t" if wide else "")
        + "; Holm",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    shown.add_column("pipeline", overflow="fold")
    heads = ["mean ± SD", "Δ", "p"]
    heads += ["p folds", "SD subj.", "fit s", "ms/epoch", "MB"] if wide else []
    for head in heads:
        shown.add_column(head, justify="right", no_wrap=True)
    with_encoders = bool((table["pretraining"] != "").any())
    if with_encoders:
        shown.add_column("pretraining", overflow="fold")
    for _, row in table.iterrows():
        name = reading.label(row["pipeline"], row["transductive"])
        cells = _numbers(row, row["pipeline"] == results.reference)[: len(heads)]
        extra = [_SHORT.get(row["pretraining"], row["pretraining"])] if with_encoders else []
        shown.add_row(escape(name), *cells, *extra, style=_STYLE.get(row["kind"]))
    console.print(shown)
    for sentence in reading.sentences(results):
        console.print(f"• {escape(sentence)}", highlight=False)
    for name, error in results.errors.items():
        console.print(f"[red]{escape(name)}:[/red] {escape(error)}", highlight=False)
    if card.get("licence"):
        console.print(f"[dim]Data: {escape(card['title'])}, {card['licence']}.[/dim]")


def _numbers(row: pd.Series, is_reference: bool) -> list[str]:
    if pd.isna(row["score"]):
        return ["failed", *[""] * 7]
    compared = pd.notna(row["difference"])
    return [
        f"{row['score']:.3f} ± {row['sd_folds']:.3f}",
        f"{row['difference']:+.3f}" if compared else "ref" if is_reference else "",
        reading.p_text(row["p_subjects_holm"]) if compared else "",
        reading.p_text(row["p_folds_holm"]) if compared else "",
        f"{row['sd_subjects']:.3f}",
        f"{row['fit_seconds']:.2f}",
        f"{row['predict_ms_per_epoch']:.2f}",
        f"{row['memory_mb']:.0f}",
    ]
