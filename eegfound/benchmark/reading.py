"""What the numbers say, in sentences; used by the terminal and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from eegfound.benchmark.stats import MIN_PAIRS

if TYPE_CHECKING:
    from eegfound.benchmark.results import BenchmarkResults

#: Two-sided level at which a difference is called one.
ALPHA = 0.05
TRANSDUCTIVE_MARK = "†"
NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "cohen_kappa": "Cohen's kappa",
    "roc_auc": "area under the ROC curve",
}


def score_name(results: BenchmarkResults) -> str:
    """Return the name of the score in words."""
    scoring = str(results.facts.get("scoring", "score"))
    return NAMES.get(scoring, scoring)


def label(pipeline: str, transductive: bool) -> str:
    """Return the name of a pipeline, marked where it is transductive."""
    return f"{pipeline} {TRANSDUCTIVE_MARK}" if transductive else pipeline


def p_text(p: float) -> str:
    """Return a p-value as text."""
    if pd.isna(p):
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def verdict(row: pd.Series) -> str:
    """Say in a word how a pipeline stands to the reference.

    Only what both tests (over subjects and over folds) support after
    correction is called better or worse. With one seed the test over folds
    has few values and finds little.
    """
    if pd.isna(row["difference"]):
        return "-"
    if pd.isna(row["p_subjects_holm"]):
        return "too few subjects" if row["n_subjects"] < MIN_PAIRS else "no difference"
    agreed = row["p_subjects_holm"] < ALPHA and row["p_folds_holm"] < ALPHA
    if agreed:
        return "better" if row["difference"] > 0 else "worse"
    if row["p_subjects_holm"] < ALPHA:
        return "better over subjects" if row["difference"] > 0 else "worse over subjects"
    return "not distinguishable"


def sentences(results: BenchmarkResults) -> list[str]:
    """Return the reading of a benchmark.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.

    Returns
    -------
    list of str
        Ranking, comparison with the reference, and the limits of both.
    """
    table, reference = results.table(), results.reference
    told = []
    finished = table[table["score"].notna()]
    if finished.empty:
        return ["No pipeline finished; see the errors."]
    best = finished.iloc[0]
    told.append(
        f"Highest mean {score_name(results)}: {label(best['pipeline'], best['transductive'])} with "
        f"{best['score']:.3f} (SD {best['sd_folds']:.3f} over folds, {best['sd_subjects']:.3f} "
        f"over subjects); guessing gives {results.facts['chance']:.3f}, and 95 % of guessers stay "
        f"below {results.facts['chance_limit']:.3f}."
    )
    if reference is None:
        told.append("No baseline finished all folds, so nothing is compared.")
    else:
        told.append(_against(finished, reference, bool(results.facts.get("reference"))))
    if finished["transductive"].any():
        told.append(
            f"Pipelines marked {TRANSDUCTIVE_MARK} are transductive: they see all unlabelled "
            "epochs of a test subject together, which a pipeline that judges epoch by epoch cannot."
        )
    if "random weights" in set(finished["pretraining"]):
        told.append(
            "Pipelines with random weights show what an untrained encoder gives; they say nothing "
            "about the pretrained model."
        )
    seen = finished.loc[finished["pretraining"] == "seen in pretraining", "pipeline"]
    if len(seen):
        told.append(
            f"The signals of this dataset were in the pretraining data of {', '.join(seen)}: "
            "their scores may be too high."
        )
    if results.errors:
        told.append(f"Failed: {', '.join(results.errors)} (see the errors).")
    return told


def _against(finished: pd.DataFrame, reference: str, fixed: bool) -> str:
    others = finished[(finished["pipeline"] != reference) & (finished["kind"] == "foundation")]
    groups: dict[str, list[str]] = {}
    for _, row in others.iterrows():
        groups.setdefault(verdict(row), []).append(f"{row['pipeline']} ({row['difference']:+.3f})")
    chosen = "the reference fixed beforehand" if fixed else "the best baseline"
    if not groups:
        return f"Differences are to {reference}, {chosen}."
    words = {
        "better": "better than it", "worse": "worse than it",
        "better over subjects": "better over subjects (the test over folds does not show it)",
        "worse over subjects": "worse over subjects (the test over folds does not show it)",
        "not distinguishable": "not distinguishable from it",
        "no difference": "not distinguishable from it",
        "too few subjects": "too few subjects for a test", "-": "not compared",
    }  # fmt: skip
    listed = "; ".join(f"{', '.join(names)}: {words[key]}" for key, names in groups.items())
    return f"Against {reference}, {chosen} (mean difference over subjects): {listed}."
