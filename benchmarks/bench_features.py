"""Time vectorised features against a loop over channels, and against torcheeg.

Run it with one thread: ``OMP_NUM_THREADS=1 python benchmarks/bench_features.py``.
Prints the median of several runs and the ratio. torcheeg has two entropies, ``V1``
(windows, Fourier transform: ours, one bin lower) and one with a band-pass filter;
they take one epoch at a time and are left out where torcheeg cannot be imported
(``pip install torcheeg``).
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


def torcheeg_entropies(seconds: int) -> dict:
    """Return torcheeg's differential entropies of an array of epochs, by name.

    Raises
    ------
    ImportError
        If torcheeg, or something that it imports, is not installed.
    """
    from peers import stand_in_for_torchaudio

    stand_in_for_torchaudio()
    from torcheeg.transforms import BandDifferentialEntropy, BandDifferentialEntropyV1

    common = {
        "sampling_rate": SFREQ, "band_dict": {k: list(v) for k, v in DE_BANDS.items()},
    }  # fmt: skip
    filtered = BandDifferentialEntropy(**common)
    windows = BandDifferentialEntropyV1(**common, num_window=seconds)

    def mean_of_windows(X: np.ndarray) -> np.ndarray:
        found = np.stack([windows(eeg=epoch)["eeg"] for epoch in X])
        return found.reshape(*X.shape[:2], seconds, -1).mean(axis=2)

    return {
        "BandDifferentialEntropyV1": mean_of_windows,
        "BandDifferentialEntropy": lambda X: np.stack([filtered(eeg=x)["eeg"] for x in X]),
    }


def compare_torcheeg(X: np.ndarray, seconds: int, repeats: int) -> None:
    """Time our entropy and torcheeg's of the same epochs."""
    try:
        rivals = torcheeg_entropies(seconds)
    except ImportError as error:
        print(f"torcheeg: left out ({error})")
        return
    ours = DifferentialEntropy(sfreq=SFREQ, unit="uV").fit(X)
    # Channels of other amplitudes, so that there is something to agree on.
    X = X * np.geomspace(0.2, 5, X.shape[1])[:, None]
    for dtype in (np.float64, np.float32):
        given = X.astype(dtype)
        for name, theirs in rivals.items():
            agree = np.corrcoef(ours.transform(given).ravel(), theirs(given).ravel())[0, 1]
            mine, other = (median_seconds(f, given, repeats) for f in (ours.transform, theirs))
            print(
                f"DifferentialEntropy vs torcheeg's {name}, {given.dtype}: {1e3 * mine:.1f} ms vs "
                f"{1e3 * other:.1f} ms, {other / mine:.1f}x (correlation of values {agree:.3f})"
            )


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
    compare_torcheeg(X, options.seconds, options.repeats)


if __name__ == "__main__":
    main()
