"""Pipelines × subject-wise folds × seeds, interruptible and repeatable."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils.multiclass import type_of_target

from eegfound.base import SpecError, as_channel_info, epochs_to_array, is_epochs
from eegfound.benchmark.cells import CellStore, Record, run_cell
from eegfound.benchmark.folds import Fold, subject_folds
from eegfound.benchmark.identity import data_digest, describe, digest, seeded, versions
from eegfound.benchmark.memo import EmbeddingMemo, remember, warm
from eegfound.benchmark.metrics import RANKING, check_scoring
from eegfound.benchmark.progress import Progress
from eegfound.benchmark.results import BenchmarkResults
from eegfound.benchmark.tables import Problem, assemble


@dataclass
class Cell:
    """A pipeline and a fold, and the key under which the outcome is kept."""

    pipeline: str
    estimator: Any
    fold: Fold
    key: str


def run_benchmark(
    pipelines: Mapping[str, Any],
    X: Any,
    y: Any,
    groups: Any,
    *,
    cv: Any = "subject",
    seeds: Sequence[int] = (0,),
    scoring: str = "balanced_accuracy",
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    n_jobs: int = 1,
    progress: bool = True,
    info: Any = None,
    dataset: str | None = None,
    transductive: Iterable[str] = (),
    reference: str | None = None,
    precompute: bool = True,
) -> BenchmarkResults:
    """Compare pipelines on people they were not trained on.

    Each pipeline is cloned, given the seed, fitted on the training part of
    each fold only, and asked for the labels of the test part. A pipeline that
    fails is recorded with its error; the others go on.

    Parameters
    ----------
    pipelines : mapping of str to estimator
        Unfitted classifiers. Steps whose ``fit`` or ``predict`` takes
        ``groups`` get the subject of each epoch.
    X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
        Windows of EEG, in the unit that the pipelines expect.
    y : array-like, shape (n_epochs,)
        Labels of any kind (strings, integers).
    groups : array-like, shape (n_epochs,)
        Subject of each epoch.
    cv : {"subject", "loso"} | int | splitter | iterable of (train, test)
        How subjects are split, see
        :func:`eegfound.benchmark.folds.subject_folds`.
    seeds : sequence of int
        Every seed draws new folds (unless the split is fixed) and is given to
        every parameter called ``random_state``.
    scoring : str
        ``"balanced_accuracy"``, ``"accuracy"``, ``"f1_macro"``,
        ``"f1_weighted"``, ``"cohen_kappa"`` or, for two classes, ``"roc_auc"``.
    out : path-like | None
        Folder for finished folds, tables and the report. None keeps nothing.
    resume : bool
        True takes finished folds from ``out`` when data, pipeline,
        parameters, split, seed and versions are the same.
    n_jobs : int
        Worker processes; results do not depend on it.
    progress : bool
        True shows progress on standard error.
    info : ChannelInfo | mne.Info | None
        Channel facts for the report.
    dataset : str | None
        Name of the dataset (:func:`eegfound.datasets.list_datasets`), for
        licence and contamination record.
    transductive : iterable of str
        Pipelines to label as transductive beside those that say it themselves.
    reference : str | None
        Pipeline to compare with, fixed beforehand. None takes the best
        baseline that is not transductive.
    precompute : bool
        True encodes every epoch once per frozen encoder instead of once per
        fold; results are the same, and times are accounted as if it had not.

    Returns
    -------
    BenchmarkResults
        Tables, statistics, and a report.

    Raises
    ------
    SpecError
        If shapes disagree, or a split has a subject on both sides.
    KeyboardInterrupt
        On Ctrl-C. With ``out``, finished folds are kept and the same call
        goes on from there.

    Examples
    --------
    >>> from eegfound.benchmark import run_benchmark
    >>> from eegfound.datasets import load_sample
    >>> from sklearn.dummy import DummyClassifier
    >>> X, y, groups, info = load_sample(subjects=[0, 1, 2, 3])
    >>> results = run_benchmark({"dummy": DummyClassifier()}, X, y, groups, cv=2,
    ...                         dataset="sample", info=info, progress=False)
    >>> len(results.folds), len(results.subjects)
    (2, 4)
    """
    begin = time.time()
    X, y, groups, info = _read(X, y, groups, info)
    if not pipelines:
        raise SpecError("pipelines is empty: pass {'name': estimator}, or default_pipelines().")
    check_scoring(scoring, len(np.unique(y)))
    for name in (*transductive, *([reference] if reference else ())):
        if name not in pipelines:
            raise SpecError(f"{name!r} is not among the pipelines: {list(pipelines)}.")
    folds = subject_folds(y, groups, cv, seeds)
    facts: dict[str, Any] = {
        "data_digest": data_digest(X, y, groups),
        "split_digest": digest([fold.digest() for fold in folds]),
        "versions": versions(),
        "seeds": [int(seed) for seed in seeds],
        "cv": cv if isinstance(cv, str | int) else repr(cv),
        "scoring": scoring,
        "reference": reference,
        "started": datetime.fromtimestamp(begin, UTC).isoformat(timespec="seconds"),
    }
    cells = list(_plan(pipelines, folds, facts, values=scoring == RANKING))
    store = CellStore(out)
    done: dict[str, Record] = {}
    with Progress(len(cells), progress) as bar:
        for name in pipelines:
            bar.expect(name, sum(cell.pipeline == name for cell in cells))
        if resume:
            for cell in cells:
                record = store.load(cell.key)
                if record is not None:
                    done[cell.key] = record
                    bar.done(cell.pipeline, None, resumed=True)
        todo = [cell for cell in cells if cell.key not in done]
        try:
            for cell, record in _run(
                todo, X, y, groups, n_jobs, scoring == RANKING, precompute, bar
            ):
                store.save(cell.key, record)
                done[cell.key] = record
                bar.done(cell.pipeline, record["error"])
        except KeyboardInterrupt:
            kept = f"kept in {out}; the same call goes on from there" if out else "lost (out=None)"
            count = f"{len(done)} of {len(cells)}"
            print(f"benchmark: interrupted, {count} folds {kept}", file=sys.stderr)
            raise
    problem = Problem(y, groups, folds, scoring, info, X.shape, dataset, frozenset(transductive))
    facts["seconds"] = round(time.time() - begin, 1)
    outcomes = [(cell.pipeline, cell.fold, done[cell.key]) for cell in cells]
    results = assemble(problem, pipelines, outcomes, facts)
    if out is not None:
        results.save(out)
    return results


def _read(X: Any, y: Any, groups: Any, info: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    if is_epochs(X):
        X, found = epochs_to_array(X)
        info = found if info is None else info
    X = np.asarray(X)
    if groups is None:
        raise SpecError(
            "groups is None: pass the subject of each epoch, so that nobody is in training and "
            "test at once."
        )
    y, groups = np.asarray(y), np.asarray(groups)
    if not len(X) == len(y) == len(groups):
        raise SpecError(f"X, y and groups disagree: {len(X)}, {len(y)} and {len(groups)} epochs.")
    target = type_of_target(y)
    if target not in ("binary", "multiclass"):
        raise SpecError(
            f"y is {target}; the benchmark compares classifiers and needs at least two labels."
        )
    if len(np.unique(y)) < 2:
        raise SpecError(f"y has one label only ({y[0]!r}): nothing can be classified.")
    info = None if info is None else as_channel_info(info)
    if info is not None and X.ndim == 3 and X.shape[1] != info.n_channels:
        raise SpecError(f"X has {X.shape[1]} channels, info names {info.n_channels}.")
    return X, y, groups, info


def _plan(
    pipelines: Mapping[str, Any], folds: Sequence[Fold], facts: Mapping[str, Any], values: bool
) -> Iterator[Cell]:
    """Yield all cells, pipeline by pipeline."""
    common = digest(facts["data_digest"], facts["versions"], values)
    for name, estimator in pipelines.items():
        by_seed: dict[int, tuple[Any, str]] = {}
        for fold in folds:
            if fold.seed not in by_seed:
                own = seeded(estimator, fold.seed)
                by_seed[fold.seed] = own, digest(common, describe(own))
            own, identity = by_seed[fold.seed]
            yield Cell(name, own, fold, digest(identity, fold.seed, fold.digest()))


def _run(
    cells: Sequence[Cell],
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    n_jobs: int,
    values: bool,
    precompute: bool,
    bar: Progress,
) -> Iterator[tuple[Cell, Record]]:
    """Yield cells as they finish."""
    memo = EmbeddingMemo()
    estimators: dict[int, Any] = {}
    for cell in cells:
        if id(cell.estimator) not in estimators:
            own = remember(cell.estimator, memo) if precompute else cell.estimator
            estimators[id(cell.estimator)] = own
            if precompute and n_jobs != 1:
                bar.say(f"{cell.pipeline}: encoding")
                warm(own, X, y, groups)

    def call(cell: Cell) -> Any:
        own = clone(estimators[id(cell.estimator)])
        return delayed(_numbered)(cell.key, own, X, y, groups, cell.fold, values, memo)

    by_key = {cell.key: cell for cell in cells}
    jobs = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    for key, record in jobs(call(cell) for cell in cells):
        yield by_key[key], record


def _numbered(
    key: str, estimator: Any, X: Any, y: Any, groups: Any, fold: Fold, values: bool, memo: Any
) -> tuple[str, Record]:
    return key, run_cell(estimator, X, y, groups, fold, values=values, memo=memo)
