"""Resident memory while a Pretrainer reads a store much larger than an allowance.

A store of synthetic recordings is prepared once (noise: only its size matters), then a small
LaBraM trains over all of it in a process of its own. Printed are the anonymous memory (what the
process holds) and the resident memory including mapped pages of the store, at the start of the
training and over its quarters. Flat means that the later quarters hold no more than the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TIMES = 10
RATE, N_CHANNELS, MINUTES = 200, 19, 10.0


def memory_mb() -> dict[str, float]:
    """Return anonymous and resident memory of this process in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    table = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    table["VmRSS"] = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
    return {"own": int(table["RssAnon"]) / 1024, "resident": int(table["VmRSS"]) / 1024}


def make_store(folder: Path, megabytes: float) -> None:
    """Prepare recordings of noise of a total size."""
    import mne
    import numpy as np

    from eegfound.corpus import prepare_corpus
    from eegfound.testing.toy import ELECTRODES

    rng = np.random.default_rng(0)
    n_times = int(60 * MINUTES * RATE)
    count = max(2, round(megabytes * 1e6 / (4 * N_CHANNELS * n_times)))
    files = folder / "recordings"
    files.mkdir()
    for number in range(count):
        data = 2e-5 * rng.standard_normal((N_CHANNELS, n_times)).astype(np.float32)
        info = mne.create_info(list(ELECTRODES), RATE, "eeg")
        raw = mne.io.RawArray(data, info, verbose="error")
        raw.save(files / f"sub-{number:03d}_raw.fif", fmt="single", verbose="error")
    prepare_corpus(files, folder / "store", dataset="noise", subject="bids", verbose=False)
    for path in files.iterdir():
        path.unlink()


def train(store: str) -> None:
    """Train one pass and print the memory over its course as JSON."""
    from skorch.callbacks import Callback

    import eegfound as ef
    from eegfound.estimators._observers import watching

    class Watch(Callback):
        """Looks at the memory after every step."""

        def __init__(self) -> None:
            self.seen = []

        def on_batch_end(self, net, training=False, **kwargs) -> None:
            """Remember."""
            if net.stage == "masked" and training:
                self.seen.append(memory_mb())

    watch = Watch()
    with watching(watch):
        ef.make_pretrainer(
            "labram", size="tiny", max_epochs={"tokenizer": 1, "masked": 1}, train_batch_size=64,
            device="cpu", n_threads=1,
        ).fit(store)  # fmt: skip
    print(json.dumps(watch.seen))


def grow(allowance: float) -> None:
    """Prepare, train and print.

    Parameters
    ----------
    allowance : float
        A tenth of the store's size, in MB.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder, allowance * TIMES)
        store = folder / "store"
        size = sum(p.stat().st_size for p in store.rglob("*") if p.is_file()) / 1e6
        command = [sys.executable, __file__, str(store)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        print(done.stderr)
        raise SystemExit(1)
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    print(
        f"store of {size:.0f} MB ({size / allowance:.1f} times the allowance of "
        f"{allowance:g} MB), labram tiny, {len(seen)} steps"
    )
    quarter = max(1, len(seen) // 4)
    first = None
    for number in range(4):
        part = seen[number * quarter : (number + 1) * quarter] or seen[-1:]
        own, resident = (max(each[kind] for each in part) for kind in ("own", "resident"))
        first = own if first is None else first
        print(
            f"  quarter {number + 1}: own memory at most {own:.0f} MB ({own - first:+.0f} since "
            f"the first), resident {resident:.0f} MB"
        )
    grown = max(each["own"] for each in seen) - first
    verdict = "flat" if grown < allowance else "NOT FLAT"
    print(f"  {verdict}: grew by {grown:.0f} MB after the first quarter")


if __name__ == "__main__":
    train(sys.argv[1])
