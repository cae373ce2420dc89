"""One epoch of full fine-tuning: ours, and braindecode's ``EEGClassifier`` on the same net.

Windows of 22 electrodes and 4 s at the model's rate, batches of 64, AdamW, float32, random
weights. Each row is a process of its own, ours and braindecode's in turn for ``--rounds``
rounds; a round's time is the median over the epochs after the first (skorch's own clock),
memory the largest of the process. ``eegpt-32`` is EEGPT with patches that overlap by half,
braindecode's default.

    python benchmarks/bench_finetune.py [--models labram eegpt eegpt-32] [--threads 1]
                                        [--windows 64] [--epochs 3] [--rounds 3]
                                        [--memory-mb 512]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import warnings

from bench_models import MOTOR, peak_mb

BATCH, SECONDS = 64, 4
RATES = {"labram": 200.0, "eegpt": 256.0, "eegpt-32": 256.0}


def data(model: str, windows: int):
    """Return windows in volts and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (windows, len(MOTOR), int(SECONDS * RATES[model]))
    return 1e-5 * rng.standard_normal(shape).astype(np.float32), np.arange(windows) % 2


def ours(model: str, args) -> dict:
    """Fine-tune with the suite."""
    import eegfound as ef

    X, y = data(model, args.windows)
    params = {"model_params": {"stride": 32}} if model == "eegpt-32" else {}
    clf = ef.make_classifier(
        model.removesuffix("-32"), checkpoint=None, info=ef.ChannelInfo(MOTOR, RATES[model]),
        tuning="full", train_batch_size=BATCH, max_epochs=args.epochs, n_threads=args.threads,
        activation_memory_mb=args.memory_mb, on_unknown="drop", **params,
    ).fit(X, y)  # fmt: skip
    return {
        "seconds": clf.net_.history[1:, "dur"], "peak": peak_mb(),
        "parameters": clf.n_trained_parameters_, "passes": clf.net_.windows_per_pass_,
    }  # fmt: skip


def theirs(model: str, args) -> dict:
    """Fine-tune with braindecode."""
    import torch
    from peers import import_braindecode_models

    models = import_braindecode_models()
    from braindecode import EEGClassifier

    torch.set_num_threads(args.threads)
    X, y = data(model, args.windows)
    X = X * 1e6
    chs_info = [{"ch_name": name.upper(), "kind": "eeg"} for name in MOTOR]
    common = {
        "n_times": X.shape[-1], "n_outputs": 2, "sfreq": RATES[model], "chs_info": chs_info,
        "n_chans": len(MOTOR),
    }  # fmt: skip
    if model == "labram":
        inner = models.Labram(**common, use_mean_pooling=True, init_values=0.1)

        class Named(torch.nn.Module):
            """braindecode's network asks for the names in every call."""

            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                return self.inner(x, ch_names=[name.upper() for name in MOTOR])

        network = Named()
    else:
        stride = 32 if model == "eegpt-32" else 64
        network = models.EEGPT(**common, patch_stride=stride, chan_proj_type="none")
    net = EEGClassifier(
        network, criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=5e-4,
        batch_size=BATCH, max_epochs=args.epochs, train_split=None, verbose=0,
    )  # fmt: skip
    net.fit(X, y)
    return {
        "seconds": net.history[1:, "dur"], "peak": peak_mb(),
        "parameters": sum(p.numel() for p in network.parameters()),
    }  # fmt: skip


def child(who: str, model: str, args) -> dict:
    """Run one row in a process of its own."""
    command = [sys.executable, __file__, "--row", who, "--models", model]
    for name in ("threads", "windows", "epochs", "memory_mb"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def merge(told: dict, row: dict) -> dict:
    """Return a row with one round more; once failed, it stays so."""
    if "error" in told or "error" in row:
        return told if "error" in told else row
    return {
        **row, "seconds": [*told.get("seconds", []), row["seconds"]],
        "peak": max(row["peak"], told.get("peak", 0)),
    }  # fmt: skip


def line(name: str, row: dict, windows: int) -> str:
    """Return a printed row."""
    if "error" in row:
        return f"{name:28} {row['error'][:110]}"
    seconds = [statistics.median(epochs) for epochs in row["seconds"]]
    extra = f"  ({row['passes']} windows a pass)" if "passes" in row else ""
    return (
        f"{name:28} {row['parameters'] / 1e6:6.2f} M  {statistics.median(seconds):7.2f} s per "
        f"{windows} windows ({min(seconds):.2f}-{max(seconds):.2f})  peak {row['peak']:6.0f} MB"
        f"{extra}"
    )


def main() -> None:
    """Time all rows one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(RATES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-mb", type=float, default=512, help="ours: activation_memory_mb")
    parser.add_argument("--row", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.row:
        row = (ours if args.row == "ours" else theirs)(args.models[0], args)
        print(json.dumps({k: list(v) if k == "seconds" else v for k, v in row.items()}))
        return
    for model in args.models:
        mine, peer = {}, {}
        for _ in range(args.rounds):
            for told, who in ((mine, "ours"), (peer, "theirs")):
                told.update(merge(told, child(who, model, args)))
        print(line(f"{model}, ours", mine, args.windows), flush=True)
        print(line("  braindecode", peer, args.windows), flush=True)
        if "error" not in mine and "error" not in peer:
            faster = [
                statistics.median(b) / statistics.median(a)
                for a, b in zip(mine["seconds"], peer["seconds"], strict=True)
            ]
            spread = f"({min(faster):.2f}-{max(faster):.2f})"
            less = mine["peak"] / peer["peak"]
            print(f"  {statistics.median(faster):.2f}x as fast {spread}, {less:.2f} of the memory")


if __name__ == "__main__":
    main()
