"""Embeddings of LaBraM (base) and EEGPT (large): the suite beside braindecode.

Same weights, same windows (22 electrodes, 4 s), same threads, all in one
process, in turn and in random order. Ours goes from volts to the embedding,
braindecode's network gets windows that are prepared already: all at once, as its
classifier would do with skorch's batches of 128, and as many at once as it is
fastest with (tried before, in float32). Prints epochs per second (median,
min-max over rounds), the share of this machine's own matrix product peak, the
agreement of embeddings, fresh memory pages in a pass, and the ratios, for
float32, bfloat16 and ``dtype="auto"``. braindecode computes in float32, and in
bfloat16 where its network is cast to that. Where the processor has no bfloat16
instructions, the suite computes in float32 with rounded weights and braindecode
emulates (timed once, on few windows). Needs braindecode.

    python benchmarks/bench_encoding.py [--models labram eegpt] [--threads 1] [--rounds 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from bench_models import MOTOR
from peers import braindecode_twin

import eegfound as ef
from eegfound.estimators._precision import has_bfloat16
from eegfound.nn import linear

NAMES = [name.upper() for name in MOTOR]
SECONDS, SFREQ = 4, {"labram": 200.0, "eegpt": 256.0}
EPOCHS = {"labram": 64, "eegpt": 16}
DTYPES = ("float32", "bfloat16", "auto")
#: Windows at once that braindecode's network is tried with.
PEER_BATCHES = (4, 8, 16, 64)
#: Windows of what may be slow to emulate.
FEW = 4


def gemm_peak(dtype: torch.dtype, n: int = 1024) -> float:
    """Return the best rate of a square matrix product in FLOP/s, by whatever library."""
    a, b = torch.randn(1, n, n).to(dtype), torch.randn(n, n).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(5):
            for multiply in (torch.matmul, linear):
                start = time.perf_counter()
                multiply(a, b)
                best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def flops(model: str, network: torch.nn.Module) -> float:
    """Return floating-point operations of one epoch in the blocks' matrix products."""
    width, depth = network.width, network.n_layers
    if model == "labram":
        sequences, tokens = 1, 1 + len(NAMES) * SECONDS
    else:
        sequences, tokens = int(SECONDS * 4), len(NAMES) + network.n_summary
    each = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    return depth * sequences * each


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the smallest cosine between rows."""
    n = min(len(a), len(b))
    a, b = a[:n].astype(float), b[:n].astype(float)
    along = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(along.min())


def page_faults() -> int:
    """Return how many fresh pages of memory this process was given so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def fastest(jobs: dict[int, Callable[[], object]], rounds: int = 4) -> int:
    """Return the key of the job with the smallest median time, the first round not counted."""
    times: dict[int, list[float]] = {key: [] for key in jobs}
    for _ in range(rounds):
        for key, job in jobs.items():
            start = time.perf_counter()
            job()
            times[key].append(time.perf_counter() - start)
    return min(times, key=lambda key: statistics.median(times[key][1:]))


def compare(model: str, threads: int, rounds: int) -> None:
    """Time one model on both sides and print its table."""
    rng = np.random.default_rng(0)
    n_epochs, sfreq = EPOCHS[model], SFREQ[model]
    X = 1e-5 * rng.standard_normal((n_epochs, len(NAMES), int(SECONDS * sfreq)))
    X = X.astype(np.float32)
    info = ef.ChannelInfo(NAMES, sfreq)
    encoders = {
        dtype: ef.make_transformer(
            model, checkpoint=None, info=info, dtype=dtype, n_threads=threads
        ).fit(X[:1])
        for dtype in DTYPES
    }  # fmt: skip
    plain = encoders["float32"]
    network, plan = plain.encoder_.network, plain.plan_
    twin, embed = braindecode_twin(model, network, NAMES, SECONDS)
    signal = torch.from_numpy(plan.apply(X, plan.check(X)))
    half, _ = braindecode_twin(model, network, NAMES, SECONDS)
    half, rounded = half.to(torch.bfloat16), signal.to(torch.bfloat16)

    def run_peer(net: torch.nn.Module, x: torch.Tensor, size: int) -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([embed(net, part).float() for part in x.split(size)]).numpy()

    size = fastest({n: partial(run_peer, twin, signal, n) for n in PEER_BATCHES if n <= n_epochs})
    jobs = {
        ("eegfound", dtype): lambda enc=enc: enc.transform(X) for dtype, enc in encoders.items()
    }
    rivals = {"float32": size}
    if size < n_epochs:
        rivals["float32, all at once"] = n_epochs
    for rival, n in rivals.items():
        jobs["braindecode", rival] = partial(run_peer, twin, signal, n)
    if has_bfloat16("cpu"):
        jobs["braindecode", "bfloat16"] = partial(run_peer, half, rounded, size)
    outputs = {key: job() for key, job in jobs.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    pages: dict[tuple[str, str], list[int]] = {key: [] for key in jobs}
    for _ in range(rounds):
        for index in rng.permutation(len(jobs)):
            key = list(jobs)[index]
            before, start = page_faults(), time.perf_counter()
            jobs[key]()
            times[key].append((time.perf_counter() - start) / n_epochs)
            pages[key].append(page_faults() - before)
    if ("braindecode", "bfloat16") not in jobs:
        start = time.perf_counter()
        outputs["braindecode", "bfloat16"] = run_peer(half, rounded[:FEW], FEW)
        times["braindecode", "bfloat16"] = [(time.perf_counter() - start) / FEW]

    print(f"\n{model} ({plain.encoder_.size}), {n_epochs} epochs x {len(NAMES)} ch x {SECONDS} s")
    print(f"  braindecode's network in float32 is fastest with {size} windows at once")
    reference, work = outputs["braindecode", "float32"], flops(model, network)
    peak = gemm_peak(torch.float32)
    for key in sorted(times):
        rates = [1 / t for t in times[key]]
        middle = statistics.median(rates)
        print(
            f"  {' '.join(key):32} {middle:7.2f} epochs/s ({min(rates):.2f}-{max(rates):.2f}), "
            f"{100 * middle * work / peak:3.0f} % of the float32 peak, "
            f"cosine to braindecode float32 {cosine(outputs[key], reference):.6f}"
            + (f", {statistics.median(pages[key]):.0f} page faults" if key in pages else "")
        )
    precision = encoders["auto"].encoder_.precision("auto", "cpu", lambda p: torch.ones(1, 1))
    print(f"  dtype='auto' is {precision.name} here")
    for rival in (*rivals, "bfloat16"):
        theirs = times["braindecode", rival]
        for dtype in DTYPES:
            mine = times["eegfound", dtype]
            told = f"ratio of ours in {dtype:8} to braindecode in {rival:20}"
            if len(theirs) == len(mine):
                ratios = [b / a for a, b in zip(mine, theirs)]
                told += f" {statistics.median(ratios):6.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            else:
                told += f" {statistics.median(theirs) / statistics.median(mine):6.2f}"
            print(f"  {told}")


def main() -> None:
    """Compare all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["labram", "eegpt"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    print(
        f"{args.threads} thread(s), {args.rounds} rounds in random order, torch "
        f"{torch.__version__}, bfloat16 in hardware: {has_bfloat16('cpu')}, float32 peak "
        f"{gemm_peak(torch.float32) / 1e9:.0f} GFLOP/s, bfloat16 "
        f"{gemm_peak(torch.bfloat16) / 1e9:.0f}"
    )
    for model in args.models:
        compare(model, args.threads, args.rounds)


if __name__ == "__main__":
    main()
