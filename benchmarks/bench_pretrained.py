"""Is a pretrained encoder worth anything? Frozen: pretrained, random, Riemann; unseen subjects.

For every model the same network is frozen with its pretrained weights and with several
random ones, drawn as its training draws them; behind each stands the same logistic regression,
with the same subject-wise folds, drawn several times where there are several ways. Two probes:
``plain`` reads the last layer with scikit-learn's default penalty; ``chosen`` takes the last
layer or the one half-way up, and the penalty, by folds of subjects inside each training set.
Subjects in a checkpoint's contamination record are left out, for everybody. Balanced accuracy:
mean, and standard deviation over all folds, for random weights over their seeds; baselines beside.

    python benchmarks/bench_pretrained.py [--models labram mmm=my.safetensors …]
        [--data eegmat adhd left_right] [--seeds 5] [--draws 3] [--out results.json]
    python benchmarks/bench_pretrained.py --trained OUT    # all that open_checkpoints.py made there
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import eegfound as ef
from eegfound.base import RandomWeightsWarning
from eegfound.benchmark.pipelines import baseline_pipelines
from eegfound.benchmark.routing import fit, respond
from eegfound.datasets import load_adhd, load_eegmat, load_eegmmidb
from eegfound.models import get_model, load_object
from eegfound.models.loading import build_random
from eegfound.models.randomness import seeded_torch
from eegfound.models.trained import TrainedWeights

FOLDS = 5
#: What the tables show.
LEGEND = (
    "Frozen encoder, standardized embeddings, logistic regression; five folds by subject, drawn "
    "several times where there are more subjects than folds. *Plain*: the last layer, C = 1. "
    "*Chosen*: the last layer or the one half-way up, and C, by three folds of subjects in each "
    "training set, alike for pretrained and random. Balanced accuracy, mean ± SD over "
    "folds; random weights, drawn as training draws them: mean ± SD over seeds. Baselines: "
    "pyriemann's tangent space, raw and recentred by subject (transductive), and band power."
)
PROBES = ("plain", "chosen")
#: Penalties that the inner folds choose from.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
BASELINES = ("band_power", "tangent_space", "tangent_space_recentred")
#: Name, band of the covariances, loader; windows of 4 s, of the first two 12 per recording at most.
TASKS = {
    "eegmat": ("eegmat", (4, 13), lambda: load_eegmat(windows_per_recording=12)),
    "adhd": ("adhd", (4, 30), lambda: load_adhd(windows_per_recording=12)),
    "left_right": ("eegmmidb", (8, 30), lambda: load_eegmmidb(task="left_right")),
    "sample": ("eegmat", (4, 13), ef.datasets.load_sample),
}
#: What training does to random weights before it begins, where it does.
STARTS = {"labram": "eegfound_labram.blocks:widen"}


def random_weights(model: str, size: str, seed: int) -> TrainedWeights:
    """Return random weights as training begins with them."""
    declared = get_model(model)
    network = build_random(declared, size, None, {}, seed)
    if model in STARTS:
        with seeded_torch(seed):
            load_object(STARTS[model])(network)
    state = network.state_dict()
    config = dict(declared.sizes[size])
    return TrainedWeights(state, {"model": model, "size": size, "config": config})


def folds(X: np.ndarray, y: np.ndarray, groups: np.ndarray, draws: int) -> Iterator[tuple]:
    """Yield training and test epochs of all subject-wise folds of all draws."""
    n_subjects = len(np.unique(groups))
    n_folds = min(FOLDS, n_subjects)
    for draw in range(draws if n_subjects > n_folds else 1):
        yield from StratifiedGroupKFold(n_folds, shuffle=True, random_state=draw).split(
            X, y, groups
        )


def score_baseline(
    pipeline: Any, X: np.ndarray, y: np.ndarray, groups: np.ndarray, draws: int
) -> list[float]:
    """Return the scores of a pipeline on every fold."""
    found = []
    for train, test in folds(X, y, groups, draws):
        fitted = fit(clone(pipeline), X[train], y[train], groups[train])
        told = respond(fitted, "predict", X[test], groups[test])
        found.append(float(balanced_accuracy_score(y[test], told)))
    return found


def take(X: np.ndarray, columns: slice) -> np.ndarray:
    """Return some columns."""
    return X[:, columns]


def probes(last: slice, middle: slice) -> dict[str, Any]:
    """Return the two linear probes over the columns of two layers that stand side by side."""
    plain = make_pipeline(
        FunctionTransformer(take, kw_args={"columns": last}),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )
    grid = {
        "functiontransformer__kw_args": [{"columns": last}, {"columns": middle}],
        "logisticregression__C": list(PENALTIES),
    }
    inner = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(plain, grid, scoring="roc_auc", cv=inner)
    return dict(zip(PROBES, (plain, search), strict=True))


def score_encoder(
    model: str, encoder: Any, X: np.ndarray, y: np.ndarray, groups: np.ndarray, draws: int
) -> dict[str, list[float]]:
    """Return the scores of a frozen encoder under each probe on every fold.

    Where nothing in the encoder is learned from data, windows are encoded once; a front end
    with statistics of its own is fitted to each training set.
    """
    fits_data = ef.get_model(model).front_end is not None
    found: dict[str, list[float]] = {name: [] for name in PROBES}
    both: np.ndarray | None = None
    for train, test in folds(X, y, groups, draws):
        if both is None or fits_data:
            both, last, middle = read(encoder, X, train)
        for name, probe in probes(last, middle).items():
            fitted = fit(probe, both[train], y[train], groups[train])
            told = fitted.predict(both[test])
            found[name].append(float(balanced_accuracy_score(y[test], told)))
    return found


def read(encoder: Any, X: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, slice, slice]:
    """Return what the encoder's end and its middle say, side by side, and their columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        end = clone(encoder).fit(X[train])
        last = end.transform(X)
        half = -(-end.encoder_.network.n_layers // 2)
        middle = clone(encoder).set_params(layer=half).fit(X[train]).transform(X)
    n = last.shape[1]
    return np.hstack([last, middle]), slice(0, n), slice(n, n + middle.shape[1])


def seen_subjects(encoder: Any, dataset: str) -> set[str]:
    """Return the subjects of a data set that went into a checkpoint."""
    record = {} if encoder.load_report_ is None else encoder.load_report_.record
    return {
        str(subject)
        for entry in record.get("datasets", ())
        if entry["name"] == dataset
        for subject in entry.get("subjects", ())
    }


def compare(task: str, models: dict[str, Any], seeds: int, draws: int) -> Iterator[dict]:
    """Yield one row per pipeline."""
    dataset, band, load = TASKS[task]
    X, y, groups, info = load()
    encoders = {
        model: ef.make_transformer(model, info=info, checkpoint=checkpoint, on_unknown="drop")
        for model, checkpoint in models.items()
    }
    sizes, seen = {}, set()
    for model, encoder in encoders.items():
        fitted = clone(encoder).fit(X[:2])
        sizes[model] = fitted.encoder_.size
        seen |= seen_subjects(fitted, dataset)
    kept = ~np.isin(groups.astype(str), sorted(seen))
    n_seen = len(np.unique(groups[~kept]))
    X, y, groups = X[kept], y[kept], groups[kept]
    if len(np.unique(groups)) < 2:
        print(f"{task}: no subjects left that no checkpoint has seen")
        return
    print(
        f"\n{task}: {len(X)} windows of {len(np.unique(groups))} subjects"
        + (f" ({n_seen} others went into pretraining)" if n_seen else " (set never seen)")
    )
    n_subjects = len(np.unique(groups))
    common = {"task": task, "n_windows": len(X), "n_subjects": n_subjects, "seen": n_seen}
    baselines = baseline_pipelines(BASELINES, info=info, band=band)
    for name in BASELINES:
        found = score_baseline(baselines[name], X, y, groups, draws)
        yield {**common, "pipeline": name, "weights": "", "probe": "", "scores": found}
    for model, encoder in encoders.items():
        drawn = {
            f"random {seed}": clone(encoder).set_params(
                checkpoint=random_weights(model, sizes[model], seed)
            )
            for seed in range(seeds)
        }
        for weights, each in {"pretrained": encoder, **drawn}.items():
            for probe, found in score_encoder(model, each, X, y, groups, draws).items():
                told = {"pipeline": model, "weights": weights, "probe": probe}
                yield {**common, **told, "scores": found}


def told(values: list[float]) -> str:
    """Return mean and spread."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


def summary(rows: list[dict], task: str) -> str:
    """Return a table: pretrained beside random, baselines beside both."""
    of_task = [row for row in rows if row["task"] == task]
    lines = [
        "| | pretrained | random (mean and SD over seeds) | difference | better than seeds |",
        "|---|---|---|---|---|",
    ]
    for row in of_task:
        if row["weights"] == "pretrained":
            mine = statistics.mean(row["scores"])
            random = [
                statistics.mean(other["scores"])
                for other in of_task
                if (other["pipeline"], other["probe"]) == (row["pipeline"], row["probe"])
                and other["weights"].startswith("random")
            ]
            lines.append(
                f"| {row['pipeline']}, {row['probe']} | {told(row['scores'])} | {told(random)} | "
                f"{mine - statistics.mean(random):+.3f} | "
                f"{sum(mine > value for value in random)} of {len(random)} |"
            )
    lines += [
        f"| {row['pipeline']} | {told(row['scores'])} | | | |"
        for row in of_task
        if not row["weights"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--trained", type=Path, help="folder of open_checkpoints.py")
    parser.add_argument("--data", nargs="*", choices=list(TASKS), default=list(TASKS)[:3])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--out", help="JSON file for all scores")
    args = parser.parse_args()
    models: dict[str, Any] = {}
    if args.trained:
        chosen = set(args.models or [])
        args.out = args.out or args.trained / f"evidence{'-'.join(['', *sorted(chosen)])}.json"
        for facts in sorted(args.trained.glob("*/facts.json")):
            if not chosen or facts.parent.name in chosen:
                (models[facts.parent.name],) = facts.parent.glob("*-open.safetensors")
    for entry in [] if args.trained else args.models or ["labram", "mmm", "dare", "specmoe"]:
        name, _, path = entry.partition("=")
        models[name] = path or "default"
    rows: list[dict] = []
    for task in args.data:
        for row in compare(task, models, args.seeds, args.draws):
            rows.append(row)
            who = f"  {row['pipeline']:24s} {row['weights']:12s} {row['probe']:7s}"
            print(f"{who} {told(row['scores'])}", flush=True)
        print(f"\n{summary(rows, task)}")
    if args.out:
        Path(args.out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
