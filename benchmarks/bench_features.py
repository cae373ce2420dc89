"""Time vectorised features against a loop over channels.

Run it with one thread: ``OMP_NUM_THREADS=1 python benchmarks/bench_features.py``.
Prints the median of several runs and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from scipy.signal import welch

from eegfound.features import CLASSIC_BANDS, DE_BANDS, BandPower, DifferentialEntropy

SFREQ = 200


def entropy_loop(X: np.ndarray) -> np.ndarray:
    """Differential entropy channel by channel, as one would write it first."""
    n = SFREQ
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / (n - 1))
    freqs = np.arange(n // 2 + 1) * SFREQ / n
    out = np.empty((len(X), X.shape[1], X.shape[2] // n, len(DE_BANDS)))
    for i, epoch in enumerate(X):
        for j, channel in enumerate(epoch):
            for k in range(X.shape[2] // n):
                power = np.abs(np.fft.rfft(channel[k * n : (k + 1) * n] * window)) ** 2
                for b, (low, high) in enumerate(DE_BANDS.values()):
                    out[i, j, k, b] = np.log2(100 * power[(freqs >= low) & (freqs <= high)].mean())
    return out.mean(axis=2).reshape(len(X), -1)


def entropy_channel_loop(X: np.ndarray) -> np.ndarray:
    """Differential entropy with all windows of one channel at once: the stronger rival."""
    n = SFREQ
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / (n - 1))
    freqs = np.arange(n // 2 + 1) * SFREQ / n
    masks = [(freqs >= low) & (freqs <= high) for low, high in DE_BANDS.values()]
    out = np.empty((len(X), X.shape[1], len(DE_BANDS)))
    for i, epoch in enumerate(X):
        for j, channel in enumerate(epoch):
            power = np.abs(np.fft.rfft(channel.reshape(-1, n) * window)) ** 2
            for b, mask in enumerate(masks):
                out[i, j, b] = np.log2(100 * power[:, mask].mean(axis=1)).mean()
    return out.reshape(len(X), -1)


def power_loop(X: np.ndarray) -> np.ndarray:
    """Log band power channel by channel."""
    out = np.empty((len(X), X.shape[1], len(CLASSIC_BANDS)))
    for i, epoch in enumerate(X):
        for j, channel in enumerate(epoch):
            freqs, density = welch(channel, SFREQ, nperseg=2 * SFREQ)
            for b, (low, high) in enumerate(CLASSIC_BANDS.values()):
                inside = (freqs >= low) & (freqs < high)
                out[i, j, b] = np.log(density[inside].sum() * freqs[1])
    return out.reshape(len(X), -1)


def median_seconds(function, X, repeats: int) -> float:
    """Return the median wall time of ``function(X)``."""
    function(X)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(X)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=64)
    parser.add_argument("--channels", type=int, default=22)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    shape = (options.epochs, options.channels, options.seconds * SFREQ)
    X = 10 * np.random.default_rng(0).standard_normal(shape)
    entropy = DifferentialEntropy(sfreq=SFREQ, unit="uV").fit(X)
    power = BandPower(sfreq=SFREQ, unit="uV").fit(X)
    print(f"{shape[0]} epochs x {shape[1]} channels x {options.seconds} s at {SFREQ} Hz")
    for name, step, rival in (
        ("DifferentialEntropy vs loop over windows", entropy.transform, entropy_loop),
        ("DifferentialEntropy vs loop over channels", entropy.transform, entropy_channel_loop),
        ("BandPower vs loop over channels", power.transform, power_loop),
    ):
        np.testing.assert_allclose(step(X), rival(X), rtol=1e-6)
        ours, theirs = (median_seconds(f, X, options.repeats) for f in (step, rival))
        print(f"{name}: {1e3 * ours:.1f} ms vs {1e3 * theirs:.1f} ms, {theirs / ours:.1f}x")


if __name__ == "__main__":
    main()
