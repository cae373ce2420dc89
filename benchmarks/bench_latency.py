"""Time from one epoch to its embedding or class, beside the bare network.

One epoch of 22 electrodes and 4 s at a time, in random order: the network's
forward pass alone (windows prepared, nothing checked), ``transform`` and
``predict`` of the suite with one and two threads, and braindecode's network
where it can be imported. Prints p50 and p99 in milliseconds and what ours adds
to the bare network at p50.

    python benchmarks/bench_latency.py [--models labram eegpt] [--rounds 200]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from bench_models import MOTOR
from peers import PEERS, braindecode_network

import eegfound as ef
from eegfound.models.network import SignalBatch

SECONDS = 4


def jobs_of(model: str, size: str | None, sfreq: float) -> tuple[str, dict]:
    """Return the network's size and what to time, by name."""
    n_times = int(SECONDS * sfreq)
    X = 1e-5 * np.random.default_rng(0).standard_normal((16, len(MOTOR), n_times))
    X, y = X.astype(np.float32), np.arange(16) % 2
    common = {
        "size": size, "checkpoint": None, "info": ef.ChannelInfo(MOTOR, sfreq),
        "on_unknown": "drop",
    }  # fmt: skip
    encoder = ef.make_transformer(model, **common).fit(X)
    network, plan = encoder.encoder_.network, encoder.plan_
    rows = torch.tensor(plan.rows)
    signal = torch.from_numpy(plan.apply(X[:1], plan.check(X[:1])))
    jobs = {}
    if encoder.front_end_ is None:

        def bare() -> None:
            with torch.inference_mode():
                network(SignalBatch(signal.clone(), rows, plan.names))

        jobs["bare network"] = bare
    for threads in (1, 2):
        mine = ef.make_transformer(model, **common, n_threads=threads).fit(X)
        jobs[f"transform, {threads} thread(s)"] = lambda mine=mine: mine.transform(X[:1])
    classifier = ef.make_classifier(model, **common, n_threads=1, max_epochs=2).fit(X, y)
    jobs["predict, 1 thread(s)"] = lambda: classifier.predict(X[:1])
    if model in PEERS and encoder.encoder_.size in ("base", "large"):
        try:
            peer, rate = braindecode_network(model, MOTOR, SECONDS)
        except ImportError as error:
            print(f"braindecode: left out ({error})")
        else:
            window = torch.randn(1, len(MOTOR), int(SECONDS * rate))

            def theirs() -> None:
                with torch.inference_mode():
                    peer(window)

            jobs["braindecode's network"] = theirs
    return encoder.encoder_.size, jobs


def main() -> None:
    """Time all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["labram", "eegpt"])
    parser.add_argument("--size", help="named size, for a single model")
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    for model in args.models:
        size, jobs = jobs_of(model, args.size, ef.get_model(model).input.sfreq)
        times: dict[str, list[float]] = {name: [] for name in jobs}
        for turn in range(args.rounds + 5):
            for index in rng.permutation(len(jobs)):
                name = list(jobs)[index]
                torch.set_num_threads(1)
                start = time.perf_counter()
                jobs[name]()
                if turn >= 5:
                    times[name].append(1e3 * (time.perf_counter() - start))
        print(
            f"\n{model} ({size}), one epoch of {len(MOTOR)} ch x {SECONDS} s, {args.rounds} rounds"
        )
        base = np.median(times.get("bare network", [np.nan]))
        for name, each in times.items():
            p50, p99 = np.percentile(each, [50, 99])
            print(f"  {name:26} p50 {p50:8.2f} ms  p99 {p99:8.2f} ms  {p50 - base:+8.2f} ms")


if __name__ == "__main__":
    main()
