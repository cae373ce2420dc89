"""Speed and memory of every model at the same work, beside braindecode's.

64 epochs of 22 electrodes and 4 s at 200 Hz in volts, from the array to the
embedding (rate, unit and front end included). Each row is a process of its own:
epochs per second (median, min-max over the rounds), the largest memory of the
process and how much of it came with encoding. Where braindecode has the model
and can be imported, its network runs in a second process on windows that are
already in its rate and unit. Weights are random: they cost the same.

    python benchmarks/bench_models.py [--models labram mmm …] [--threads 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

MOTOR = [
    "Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "CP3",
    "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz",
]  # fmt: skip
N_EPOCHS, SECONDS = 64, 4


def peak_mb() -> float:
    """Return the largest memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what ``getrusage`` tells begins with the parent's memory
        (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(job, rounds: int) -> dict:
    """Run a job some times after one warm-up; return rates and memory."""
    before = peak_mb()
    job()
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        rates.append(N_EPOCHS / (time.perf_counter() - start))
    return {"rates": rates, "peak": peak_mb(), "own": peak_mb() - before}


def ours(model: str, size: str | None, batch_size: int | None, threads: int, rounds: int) -> dict:
    """Time a Transformer of the suite."""
    import numpy as np

    import eegfound as ef

    X = 1e-5 * np.random.default_rng(0).standard_normal((N_EPOCHS, len(MOTOR), SECONDS * 200))
    X = X.astype(np.float32)
    info = ef.ChannelInfo(MOTOR, 200)
    enc = ef.make_transformer(
        model,
        size=size,
        checkpoint=None,
        info=info,
        n_threads=threads,
        on_unknown="drop",
        batch_size=batch_size,
    )
    enc.fit(X)
    parameters = sum(p.numel() for p in enc.encoder_.network.parameters())
    return timed(lambda: enc.transform(X), rounds) | {
        "parameters": parameters, "size": enc.encoder_.size, "features": enc.n_features_out_,
    }  # fmt: skip


def theirs(model: str, threads: int, rounds: int) -> dict:
    """Time braindecode's network of the same architecture, if there is one."""
    import torch
    from peers import braindecode_network

    torch.set_num_threads(threads)
    network, sfreq = braindecode_network(model, MOTOR, SECONDS)
    signal = torch.randn(N_EPOCHS, len(MOTOR), int(SECONDS * sfreq))

    def job() -> None:
        with torch.inference_mode():
            network(signal)

    return timed(job, rounds)


def child(*arguments: str) -> dict:
    """Run one row in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def line(name: str, row: dict) -> str:
    """Return a printed row."""
    if "error" in row:
        return f"{name:34} {row['error'][:110]}"
    rates = row["rates"]
    count = f"{row['parameters'] / 1e6:8.2f} M" if "parameters" in row else " " * 10
    return (
        f"{name:34} {count} {statistics.median(rates):9.2f} "
        f"({min(rates):.2f}-{max(rates):.2f}) epochs/s  "
        f"peak {row['peak']:6.0f} MB (+{row['own']:.0f})"
    )


def main() -> None:
    """Time all models one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--size", help="named size, for a single model")
    parser.add_argument("--batch-size", type=int, help="epochs per forward pass of ours")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--row", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.row:
        rest = (args.threads, args.rounds)
        if args.row == "ours":
            row = ours(args.models[0], args.size, args.batch_size, *rest)
        else:
            row = theirs(args.models[0], *rest)
        print(json.dumps(row))
        return
    import importlib.metadata

    from peers import PEERS

    import eegfound as ef

    print(
        f"{N_EPOCHS} epochs x {len(MOTOR)} ch x {SECONDS} s, {args.threads} thread(s), "
        f"{args.rounds} rounds, torch {importlib.metadata.version('torch')}"
    )
    common = ("--threads", str(args.threads), "--rounds", str(args.rounds))
    for model in args.models or ef.list_models():
        size = ("--size", args.size) if args.size else ()
        batch = ("--batch-size", str(args.batch_size)) if args.batch_size else ()
        mine = child("--row", "ours", "--models", model, *size, *batch, *common)
        print(line(f"{model} ({mine.get('size', '-')})", mine), flush=True)
        if model not in PEERS or "error" in mine:
            continue
        peer = child("--row", "theirs", "--models", model, *common)
        print(line(f"  braindecode's {PEERS[model]}", peer), flush=True)
        if "error" not in peer:
            ratio = statistics.median(mine["rates"]) / statistics.median(peer["rates"])
            print(f"  ratio of rates {ratio:.2f}, of peak memory {mine['peak'] / peer['peak']:.2f}")


if __name__ == "__main__":
    main()
