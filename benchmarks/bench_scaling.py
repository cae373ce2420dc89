"""Time and memory of embedding 10^2 … 10^5 epochs from a file on disk.

A float32 array lies in a ``.npy`` file and is opened with ``mmap_mode="r"``.
Each size runs in a process of its own. Prints the file, seconds, epochs per
second, and by how much the process's largest memory (resident, pages of the
file included) grew over what it had with the network loaded, with and without
the embeddings themselves. Time should grow with the number of epochs, memory
without embeddings should not.

    python benchmarks/bench_scaling.py [--model dare --size nano] [--max 100000]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from bench_models import MOTOR, peak_mb

N_CHANNELS = 8


def write(path: Path, n_epochs: int, n_times: int) -> None:
    """Write noise the size of EEG, a part at a time."""
    rng = np.random.default_rng(0)
    shape = (n_epochs, N_CHANNELS, n_times)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, n_epochs, 1000):
        part = array[first : first + 1000]
        part[:] = 1e-5 * rng.standard_normal(part.shape, dtype=np.float32)
    array.flush()


def row(path: str, model: str, size: str | None, sfreq: float, threads: int) -> dict:
    """Embed one file and return what it took."""
    import eegfound as ef

    warnings.simplefilter("ignore")
    X = np.load(path, mmap_mode="r")
    encoder = ef.make_transformer(
        model, size=size, checkpoint=None, n_threads=threads,
        info=ef.ChannelInfo(MOTOR[5 : 5 + N_CHANNELS], sfreq),
    )  # fmt: skip
    few = np.array(X[:64])
    encoder.fit(few).transform(few)
    before = peak_mb()
    start = time.perf_counter()
    out = encoder.transform(X)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "grown": peak_mb() - before, "out": out.nbytes / 2**20}


def main() -> None:
    """Run all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dare")
    parser.add_argument("--size", default="nano")
    parser.add_argument("--max", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    args = parser.parse_args()
    from eegfound.models import get_model

    sfreq = get_model(args.model).input.sfreq
    if args.row:
        print(json.dumps(row(args.row, args.model, args.size, sfreq, args.threads)))
        return
    n_times = int(sfreq)
    print(
        f"{args.model} ({args.size}), {N_CHANNELS} ch x 1 s at {sfreq:g} Hz in float32 on disk, "
        f"{args.threads} thread(s)"
    )
    common = ("--model", args.model, "--size", args.size, "--threads", str(args.threads))
    first = None
    for n_epochs in (10**k for k in range(2, 1 + int(math.log10(args.max)))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "X.npy"
            write(path, n_epochs, n_times)
            done = subprocess.run(
                [sys.executable, __file__, "--row", str(path), *common],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found = json.loads(done.stdout.strip().splitlines()[-1])
            megabytes = path.stat().st_size / 2**20
        rate = n_epochs / found["seconds"]
        first = first or rate
        print(
            f"  {n_epochs:7d} epochs, file {megabytes:7.1f} MB: {found['seconds']:8.2f} s, "
            f"{rate:7.0f} epochs/s ({rate / first:.2f} of the first), memory +{found['grown']:.0f} "
            f"MB, of which embeddings {found['out']:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
