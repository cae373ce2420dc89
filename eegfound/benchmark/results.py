"""The outcome of a benchmark: tidy tables and what must be known about them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eegfound.base import SpecError
from eegfound.benchmark import stats

_TABLES = ("folds", "subjects", "predictions")


@dataclass
class BenchmarkResults:
    """Scores of pipelines over folds and subjects.

    Attributes
    ----------
    folds : DataFrame
        One row per pipeline, seed and fold: ``score`` (the score asked for),
        further scores, ``fit_seconds``, ``predict_seconds``, ``memory_mb``,
        ``error``, ``warnings``.
    subjects : DataFrame
        One row per pipeline, seed and subject, from the predictions for the
        folds in which the subject was held out.
    predictions : DataFrame
        One row per pipeline, seed and held-out epoch.
    facts : dict
        Dataset, licence, versions, seeds, digests, chance level, weights.

    Examples
    --------
    >>> from eegfound.benchmark import run_benchmark
    >>> from eegfound.datasets import load_sample
    >>> from sklearn.dummy import DummyClassifier
    >>> X, y, groups, info = load_sample(subjects=[0, 1, 2])
    >>> results = run_benchmark({"dummy": DummyClassifier()}, X, y, groups, cv=3, progress=False)
    >>> float(results.table()["score"][0])
    0.5
    """

    folds: pd.DataFrame
    subjects: pd.DataFrame
    predictions: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> dict[str, str]:
        """First error of each pipeline that failed."""
        failed = self.folds[self.folds["error"].notna()]
        return failed.groupby("pipeline", sort=False)["error"].first().to_dict()

    @property
    def reference(self) -> str | None:
        """Pipeline the others are compared with: the best inductive baseline."""
        return self.facts.get("reference") or stats.choose_reference(self.summary())

    def summary(self) -> pd.DataFrame:
        """Return means, spreads and costs, best first (:func:`stats.summarize`)."""
        return stats.summarize(self.folds, self.subjects)

    def compare(self, reference: str | None = None) -> pd.DataFrame:
        """Compare every pipeline with a reference, subject by subject.

        Parameters
        ----------
        reference : str | None
            Name of a pipeline. None takes the best baseline that is not
            transductive.

        Returns
        -------
        DataFrame
            See :func:`eegfound.benchmark.stats.compare`; empty without a baseline.
        """
        name = reference or self.reference
        known = self.folds["pipeline"].unique()
        if name is not None and name not in known:
            raise SpecError(f"reference={name!r} is not a pipeline: {list(known)}.")
        if name is None:
            return stats.compare(self.folds.iloc[:0], self.subjects.iloc[:0], "")
        return stats.compare(self.folds, self.subjects, name)

    def table(self) -> pd.DataFrame:
        """Return the table for people: one row per pipeline, best first.

        Returns
        -------
        DataFrame
            Summary, chance level, comparison with the reference, and what is
            known about the pretraining data.
        """
        table = self.summary().merge(
            self.compare().drop(columns="reference"), on="pipeline", how="left"
        )
        table["chance"] = self.facts.get("chance", np.nan)
        table["pretraining"] = table["pipeline"].map(self.facts.get("pretraining", {})).fillna("")
        table["error"] = table["pipeline"].map(self.errors)
        return table

    def print(self) -> None:
        """Print the table and its reading to the terminal."""
        from eegfound.benchmark.display import print_results

        print_results(self)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a self-contained HTML report with figures.

        Parameters
        ----------
        path : path-like
            File to write.

        Returns
        -------
        Path
            The file.
        """
        from eegfound.benchmark.report import write_report

        return write_report(self, path)

    def to_csv(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write ``folds.csv``, ``subjects.csv``, ``predictions.csv``, ``comparison.csv``."""
        return self._write(folder, "csv")

    def to_parquet(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the tables as Parquet files."""
        return self._write(folder, "parquet")

    def _write(self, folder: str | os.PathLike[str], kind: str) -> list[Path]:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {name: getattr(self, name) for name in _TABLES} | {"comparison": self.compare()}
        written = []
        for name, table in tables.items():
            path = folder / f"{name}.{kind}"
            if kind == "csv":
                table.to_csv(path, index=False)
            else:
                table.to_parquet(path, index=False)
            written.append(path)
        return written

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write tables (CSV and Parquet), ``facts.json`` and ``report.html``.

        Parameters
        ----------
        folder : path-like
            Made where it does not exist.

        Returns
        -------
        list of Path
            The files.
        """
        written = [*self.to_csv(folder), *self.to_parquet(folder)]
        facts = Path(folder) / "facts.json"
        facts.write_text(json.dumps(self.facts, indent=1, ensure_ascii=False), encoding="utf-8")
        return [*written, facts, self.report(Path(folder) / "report.html")]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> BenchmarkResults:
        """Read what :meth:`save` wrote."""
        folder = Path(folder)
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return cls(**tables, facts=facts)
