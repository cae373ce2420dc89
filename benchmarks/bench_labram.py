"""LaBraM-Base embeddings: the suite beside braindecode, in one run.

Same weights, same threads, the same 64 epochs of 22 electrodes and 4 s, the two
in turn in random order. Prints epochs per second (median, min-max over rounds),
the ratio, and the share of the machine's own GEMM peak, for float32 and
bfloat16. Needs braindecode (``pip install braindecode``).

    python benchmarks/bench_labram.py [--threads 1] [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from peers import braindecode_labram

import eegfound as ef

MOTOR = [
    "FZ",
    "FC3",
    "FC1",
    "FCZ",
    "FC2",
    "FC4",
    "C5",
    "C3",
    "C1",
    "CZ",
    "C2",
    "C4",
    "C6",
    "CP3",
    "CP1",
    "CPZ",
    "CP2",
    "CP4",
    "P1",
    "PZ",
    "P2",
    "POZ",
]
N_EPOCHS, N_TIMES = 64, 800
#: Multiply-adds of one epoch in the matrix products of LaBraM-Base, times two.
TOKENS = 1 + len(MOTOR) * N_TIMES // 200
FLOPS = 12 * (2 * TOKENS * 12 * 200**2 + 4 * TOKENS**2 * 200)


def gemm_peak(dtype: torch.dtype) -> float:
    """Return the best rate of a square matrix product in FLOP/s."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def main() -> None:
    """Time both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")

    rng = np.random.default_rng(0)
    X = (1e-5 * rng.standard_normal((N_EPOCHS, len(MOTOR), N_TIMES))).astype(np.float32)
    info = ef.ChannelInfo(MOTOR, 200)

    def ours(dtype: str):
        enc = ef.make_transformer(
            "labram", checkpoint=None, info=info, dtype=dtype, n_threads=args.threads
        )
        return enc.fit(X)

    encoders = {"float32": ours("float32"), "bfloat16": ours("bfloat16")}
    peer = braindecode_labram(encoders["float32"].encoder_.network, MOTOR, N_TIMES)
    signal = torch.from_numpy(X * 1e4)
    peers = {"float32": (peer, signal)}
    half = braindecode_labram(encoders["float32"].encoder_.network, MOTOR, N_TIMES)
    peers["bfloat16"] = (half.to(torch.bfloat16), signal.to(torch.bfloat16))

    def run_peer(kind: str) -> np.ndarray:
        model, x = peers[kind]
        with torch.inference_mode():
            return model(x, ch_names=MOTOR).float().numpy()

    jobs = {
        **{("eegfound", kind): lambda enc=enc: enc.transform(X) for kind, enc in encoders.items()},
        **{("braindecode", kind): lambda kind=kind: run_peer(kind) for kind in peers},
    }
    outputs = {key: job() for key, job in jobs.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    for _ in range(args.rounds):
        for index in rng.permutation(len(jobs)):
            key = list(jobs)[index]
            start = time.perf_counter()
            jobs[key]()
            times[key].append(time.perf_counter() - start)

    reference = outputs["braindecode", "float32"]
    print(f"LaBraM-Base, {N_EPOCHS} epochs x {len(MOTOR)} ch x 4 s, {args.threads} thread(s), "
          f"{args.rounds} rounds in random order, torch {torch.__version__}")  # fmt: skip
    for kind in ("float32", "bfloat16"):
        peak = gemm_peak(getattr(torch, kind))
        print(f"{kind}: GEMM peak {peak / 1e9:.0f} GFLOP/s")
        for who in ("eegfound", "braindecode"):
            rates = [N_EPOCHS / t for t in times[who, kind]]
            middle = statistics.median(rates)
            print(
                f"  {who:12} {middle:6.1f} epochs/s ({min(rates):.1f}-{max(rates):.1f}), "
                f"{100 * middle * FLOPS / peak:3.0f} % of the peak, "
                f"cosine to float32 braindecode >= {cosine(outputs[who, kind], reference):.6f}"
            )
        ratios = [b / a for a, b in zip(times["eegfound", kind], times["braindecode", kind])]
        base = [b / a for a, b in zip(times["eegfound", kind], times["braindecode", "float32"])]
        print(f"  ratio to braindecode in {kind}: {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f}-{max(ratios):.2f}); in float32: {statistics.median(base):.2f} "
              f"({min(base):.2f}-{max(base):.2f})")  # fmt: skip


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the smallest cosine between rows."""
    along = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(along.min())


if __name__ == "__main__":
    main()
