"""A search over a frozen LaBraM-Base with the embedding cache, beside what one would do without.

Optuna searches twice: by ``OptunaSearchCV``, and by a loop of one's own over
``cross_val_score``, where scikit-learn cuts the epochs into folds for every trial.

On the bundled sample, five subject-wise folds and four settings of the head. Every
scenario runs in a fresh process, with random weights, and the epochs that pass the
network are counted there and in its workers (copies that fill a batch up count once).
The cache is right if that is exactly the number of epochs, and cheap if a search
takes at most 1.15 times one plain ``transform`` plus the head fits alone.

    python benchmarks/bench_cache.py [--quick] [--skip none,memory]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import optuna
import torch
from eegfound_labram import LaBraMTransformer
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import eegfound as ef
from eegfound.cache import cache_info
from eegfound.search import OptunaSearchCV

GRID = {"svc__C": [0.1, 1, 10, 100]}
FOLDS, TRIALS, BOUND = 5, 40, 1.15
COUNTED = "BENCH_CACHE_COUNTED"
TOGETHER = "BENCH_CACHE_TOGETHER"


class Counted(LaBraMTransformer):
    """LaBraM whose forward passes write down which epochs they were given."""

    def _load_encoder(self):
        handle = super()._load_encoder()
        if not handle.network._forward_pre_hooks:
            handle.network.register_forward_pre_hook(_note)
        return handle


def _note(_, arguments) -> None:
    rows = {hashlib.sha1(row.numpy().tobytes()).hexdigest() for row in arguments[0].signal}
    with open(os.environ[COUNTED], "a") as file:
        file.write(" ".join(rows) + "\n")


def sample(quick: bool):
    X, y, groups, info = ef.datasets.load_sample()
    keep = np.isin(groups, np.unique(groups)[: 10 if quick else None])
    return X[keep], y[keep], groups[keep], info


def search(pipe, X, y, groups, n_jobs=1):
    grid = GridSearchCV(pipe, GRID, cv=GroupKFold(FOLDS), n_jobs=n_jobs, error_score="raise")
    return grid.fit(X, y, groups=groups)


def optuna_search(pipe, X, y, groups) -> None:
    space = {"svc__C": optuna.distributions.FloatDistribution(1e-2, 1e3, log=True)}
    found = OptunaSearchCV(
        pipe, space, n_trials=TRIALS, cv=GroupKFold(FOLDS), random_state=0, error_score="raise"
    )
    found.fit(X, y, groups=groups)


def optuna_loop(pipe, X, y, groups) -> None:

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        tried = clone(pipe).set_params(svc__C=trial.suggest_float("C", 1e-2, 1e3, log=True))
        return cross_val_score(tried, X, y, groups=groups, cv=GroupKFold(FOLDS)).mean()

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=TRIALS)


def scenario(name: str, place: str, quick: bool) -> dict[str, float]:
    """Run one scenario in this process; only the search itself is timed."""
    warnings.simplefilter("ignore")
    X, y, groups, info = sample(quick)
    head = make_pipeline(StandardScaler(), SVC())

    def warm_up(seconds=0.0):
        # Without a cache: what that costs for the first time, counts.
        encoder = LaBraMTransformer(info=info, checkpoint=None)
        make_pipeline(encoder, StandardScaler(), SVC()).fit(X[::40], y[::40])
        time.sleep(seconds)  # or one worker would take all of these

    def pipe(cache=None, memory=None):
        encoder = Counted(info=info, checkpoint=None, cache=cache)
        return make_pipeline(encoder, StandardScaler(), SVC(), memory=memory)

    # Imports, building the network and its first pass are nobody's fault: done before
    # the clock starts, in every scenario alike.
    if name.endswith("heads"):
        E = LaBraMTransformer(info=info, checkpoint=None).fit_transform(X)
    else:
        warm_up()
    if name == "two jobs":
        joblib.Parallel(n_jobs=2)(joblib.delayed(warm_up)(0.5) for _ in range(8))
    if os.environ.get(TOGETHER):
        meet(Path(os.environ[TOGETHER]))
    begin = time.time()
    if name == "plain":
        Counted(info=info, checkpoint=None).fit_transform(X)
    elif name == "heads":
        search(head, E, y, groups)
    elif name == "optuna heads":
        optuna_search(head, E, y, groups)
    elif name == "loop heads":
        optuna_loop(head, E, y, groups)
    elif name == "none":
        search(pipe(), X, y, groups)
    elif name == "memory":
        search(pipe(memory=place), X, y, groups)
    elif name == "optuna":
        optuna_search(pipe(place), X, y, groups)
    elif name == "loop":
        optuna_loop(pipe(place), X, y, groups)
    else:
        search(pipe(place), X, y, groups, n_jobs=2 if name == "two jobs" else 1)
    return {"begin": begin, "end": time.time()}


def meet(folder: Path) -> None:
    """Wait until two processes are ready to begin."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)


def start(name: str, place: Path, counted: Path, quick: bool, **more: str) -> subprocess.Popen:
    command = [sys.executable, __file__, "--scenario", name, "--place", str(place)]
    return subprocess.Popen(
        command + ["--quick"] * quick, stdout=subprocess.PIPE, text=True,
        env={**os.environ, COUNTED: str(counted), **more},
    )  # fmt: skip


def finish(process: subprocess.Popen) -> dict[str, float]:
    told, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a scenario failed with exit code {process.returncode}")
    return json.loads(told.splitlines()[-1])


def passes(counted: Path) -> list[str]:
    return counted.read_text().split() if counted.exists() else []


class Run:
    """Folder, counts and times of the scenarios."""

    def __init__(self, quick: bool, folder: Path):
        self.quick, self.folder = quick, folder
        self.results: dict[str, tuple[float, int, int]] = {}

    def __call__(self, label: str, name: str, place: str) -> float:
        counted = self.folder / f"{label}.counted"
        told = finish(start(name, self.folder / place, counted, self.quick))
        return self.note(label, told["end"] - told["begin"], counted)

    def note(self, label: str, seconds: float, counted: Path) -> float:
        seen = passes(counted)
        self.results[label] = (seconds, len(seen), len(set(seen)))
        print(f"  {label:34s} {seconds:8.2f} s   {len(seen):6d} passes", flush=True)
        return seconds

    def killed(self, n_epochs: int) -> None:
        """Kill a search when half of the epochs are encoded, and start it again."""
        counted, place = self.folder / "killed.counted", self.folder / "killed"
        first = start("cache", place, counted, self.quick)
        while len(passes(counted)) < n_epochs // 2:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        kept, before = cache_info(place).entries, len(passes(counted))
        told = finish(start("cache", place, counted, self.quick))
        self.note("cache, after a kill half-way", told["end"] - told["begin"], counted)
        again = len(passes(counted)) - n_epochs
        print(f"    kept {kept} of {before} at the kill; {again} in flight passed again")

    def together(self) -> None:
        """Two processes that share the cache and nothing else."""
        counted, place = self.folder / "two.counted", self.folder / "two"
        door = self.folder / "door"
        door.mkdir()
        more = {TOGETHER: str(door)}
        both = [start("cache", place, counted, self.quick, **more) for _ in range(2)]
        told = [finish(process) for process in both]
        seconds = max(t["end"] for t in told) - min(t["begin"] for t in told)
        self.note("cache, two processes", seconds, counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 of the 28 subjects")
    parser.add_argument("--skip", default="", help="scenarios to leave out: none, memory")
    parser.add_argument("--scenario", help=argparse.SUPPRESS)
    parser.add_argument("--place", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scenario:
        print(json.dumps(scenario(options.scenario, options.place, options.quick)))
        return
    X, _, groups, _ = sample(options.quick)
    n = len(X)
    print(
        f"{n} epochs of {X.shape[1]} electrodes and {X.shape[2]} samples, "
        f"{len(np.unique(groups))} subjects, {FOLDS} folds x {len(GRID['svc__C'])} settings, "
        f"LaBraM-Base, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(options.quick, Path(folder))
        # What is compared runs one after the other, three times over: a shared machine
        # changes its pace.
        plain, ratios = [], {"GridSearchCV": [], "GridSearchCV, 2 jobs": [], "Optuna": []}
        for nth in ("once", "twice", "thrice"):
            once = run(f"plain transform, {nth}", "plain", "-")
            heads = run(f"head fits alone, {nth}", "heads", "-")
            grid = run(f"GridSearchCV, cache, {nth}", "cache", f"grid-{nth}")
            jobs = run(f"GridSearchCV, cache, 2 jobs, {nth}", "two jobs", f"jobs-{nth}")
            trials = run(f"Optuna, heads alone, {nth}", "optuna heads", "-")
            tuned = run(f"Optuna, cache, {nth}", "optuna", f"optuna-{nth}")
            plain.append(once)
            for name, seconds, alone in zip(
                ratios, (grid, jobs, tuned), (heads, heads, trials), strict=True
            ):
                ratios[name].append(seconds / (once + alone))
        run("GridSearchCV, cache, tomorrow", "cache", "grid-once")
        run.killed(n)
        run.together()
        by_loop_heads = run("own loop, heads alone", "loop heads", "-")
        by_loop = run("own loop, cache", "loop", "loop")
        for name, label in (("memory", "Pipeline(memory=...)"), ("none", "no cache")):
            if name not in options.skip.split(","):
                run(f"GridSearchCV, {label}", name, "memory")
        exact = [
            name for name, (_, count, distinct) in run.results.items()
            if "cache" in name and "no cache" not in name and "kill" not in name
            and "tomorrow" not in name and not count == distinct == n
        ]  # fmt: skip
        print("\nwith the cache, of one plain transform plus the heads alone, same round:")
        for name, found in ratios.items():
            middle = statistics.median(found)
            print(
                f"  {name:22} {middle:.2f} ({min(found):.2f}-{max(found):.2f})"
                f"{'' if middle <= BOUND else f'  MORE than {BOUND}'}"
            )
        by_loop /= statistics.median(plain) + by_loop_heads
        print(f"  own loop, one run      {by_loop:.2f}")
        print(f"every epoch exactly once: {'yes' if not exact else f'NO: {exact}'}")
        if exact:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
