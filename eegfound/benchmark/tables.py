"""From the records of cells to tidy tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from eegfound.base import ChannelInfo
from eegfound.benchmark.folds import Fold
from eegfound.benchmark.identity import describe
from eegfound.benchmark.metrics import METRICS, RANKING, chance, score
from eegfound.benchmark.provenance import kind_of, pretraining_status
from eegfound.benchmark.results import BenchmarkResults
from eegfound.benchmark.routing import is_transductive
from eegfound.datasets.catalog import get_card

Outcome = tuple[str, Fold, Mapping[str, Any]]


@dataclass
class Problem:
    """What the pipelines were asked to do."""

    y: np.ndarray
    groups: np.ndarray
    folds: Sequence[Fold]
    scoring: str
    info: ChannelInfo | None
    shape: tuple[int, ...]
    dataset: str | None
    transductive: frozenset[str]

    def __post_init__(self) -> None:
        self.classes, self.codes = np.unique(self.y, return_inverse=True)

    def scores(self, index: np.ndarray, predicted: np.ndarray, values: Any) -> dict[str, float]:
        """Return all scores for some epochs; ``score`` is the one asked for."""
        names = [*METRICS, *([RANKING] if self.scoring == RANKING else [])]
        n = len(self.classes)
        found = {m: score(m, self.codes[index], predicted, n, values) for m in names}
        return {"score": found[self.scoring], **found}


def assemble(
    problem: Problem,
    pipelines: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    facts: dict[str, Any],
) -> BenchmarkResults:
    """Return the results of all cells.

    Parameters
    ----------
    problem : Problem
        Labels, subjects and folds.
    pipelines : mapping of str to estimator
        The pipelines, unfitted.
    outcomes : sequence of (name, Fold, record)
        One entry per cell, in order.
    facts : dict
        What is known so far; completed here.

    Returns
    -------
    BenchmarkResults
        Tables and facts.
    """
    labels = {
        name: {
            "kind": kind_of(estimator),
            "transductive": name in problem.transductive or is_transductive(estimator),
        }
        for name, estimator in pipelines.items()
    }
    fold_rows = [_fold_row(problem, labels[outcome[0]], *outcome) for outcome in outcomes]
    predictions = _predictions(problem, outcomes)
    card = get_card(problem.dataset) if problem.dataset else None
    used: dict[str, list[dict[str, Any]]] = {}
    for name, _, record in outcomes:
        used[name] = used.get(name) or list(record["weights"])
    mean, limit = chance(
        problem.scoring,
        [(problem.codes[f.train], problem.codes[f.test]) for f in problem.folds],
        len(problem.classes),
    )
    facts |= {
        "chance": mean,
        "chance_limit": limit,
        "dataset": asdict(card) if card else None,
        "n_epochs": problem.shape[0],
        "n_subjects": len(np.unique(problem.groups)),
        "n_channels": problem.shape[1] if len(problem.shape) == 3 else 1,
        "sfreq": problem.info.sfreq if problem.info else None,
        "seconds_per_epoch": problem.shape[-1] / problem.info.sfreq if problem.info else None,
        "classes": {
            str(label): int(count)
            for label, count in zip(problem.classes, np.bincount(problem.codes))
        },
        "weights": used,
        "pretraining": {
            name: pretraining_status(items, card, np.unique(problem.groups))
            for name, items in used.items()
        },
        "pipelines": {name: describe(estimator) for name, estimator in pipelines.items()},
    }
    return BenchmarkResults(
        pd.DataFrame(fold_rows), _subject_rows(problem, labels, predictions), predictions, facts
    )


def _fold_row(
    problem: Problem, label: Mapping[str, Any], name: str, fold: Fold, record: Mapping[str, Any]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "pipeline": name, **label, "seed": fold.seed, "fold": fold.index,
        "n_train": len(fold.train), "n_test": len(fold.test),
    }  # fmt: skip
    if record["error"] is None:
        predicted = np.asarray(record["predictions"])
        row |= problem.scores(fold.test, predicted, record.get("values"))
    else:
        row |= dict.fromkeys(("score", *METRICS), math.nan)
    for cost in ("fit_seconds", "predict_seconds", "memory_mb"):
        row[cost] = record.get(cost, math.nan) if record["error"] is None else math.nan
    row["error"] = record["error"]
    row["warnings"] = "; ".join(record["warnings"])
    return row


def _predictions(problem: Problem, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    parts = []
    for name, fold, record in outcomes:
        if record["error"] is not None:
            continue
        part = {
            "pipeline": name,
            "seed": fold.seed,
            "fold": fold.index,
            "epoch": fold.test,
            "subject": problem.groups[fold.test],
            "y_true": problem.y[fold.test],
            "y_pred": problem.classes[np.asarray(record["predictions"])],
        }
        if "values" in record:
            part["value"] = np.asarray(record["values"])
        parts.append(pd.DataFrame(part))
    columns = ["pipeline", "seed", "fold", "epoch", "subject", "y_true", "y_pred"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _subject_rows(
    problem: Problem, labels: Mapping[str, Mapping[str, Any]], predictions: pd.DataFrame
) -> pd.DataFrame:
    rows = []
    for (name, seed, subject), own in predictions.groupby(
        ["pipeline", "seed", "subject"], sort=False
    ):
        predicted = np.searchsorted(problem.classes, own["y_pred"].to_numpy())
        values = own["value"].to_numpy() if "value" in own else None
        scores = problem.scores(own["epoch"].to_numpy(), predicted, values)
        rows.append(
            {"pipeline": name, **labels[name], "seed": seed, "subject": subject,
             "n_epochs": len(own), **scores}
        )  # fmt: skip
    columns = ["pipeline", "kind", "transductive", "seed", "subject", "n_epochs", "score", *METRICS]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
