"""A step of masked modelling: our Pretrainer, and a loop as a reference script writes it.

Both make the same steps in turn, in one process: real windows of 4 s (the bundled sample, 19
electrodes, or any dataset by name), the same weights to begin with, the same masks, batches and
learning rate. The plain side (``plain_labram.py``) sends the mask and its complement through the
whole network one after the other, writes attention out and takes torch's default AdamW. Ours is
``LaBraMPretrainer.fit`` as it is: objective, sums over parts, measures, clipping, optimizer.
Neither side's time holds the loading of windows. Printed are windows per second (median, min-max
over steps), the ratio of each step (median, min-max) for the first pass over the data and for the
later ones, and how far the losses of the two sides are apart. With one thread CPU time is taken,
which other programs disturb less than the clock.

    python benchmarks/bench_pretraining.py [--size base] [--windows 64] [--batch 32] [--micro 32]
                                           [--plain-passes 32] [--epochs 3] [--data sample]

``--memory`` instead trains over a prepared store ten times larger than ``--allowance`` (MB) and
prints the resident memory along the way.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import statistics
import time
import warnings

import numpy as np
import plain_labram
import torch
from skorch.callbacks import Callback

import eegfound as ef
from eegfound.datasets import load_dataset
from eegfound.estimators._observers import watching
from eegfound.nn.codebook import unit
from eegfound.pretraining.batches import Purpose, seeds

CLIP = 3.0


class PlainBeside(Callback):
    """After each of our steps, makes the same one the plain way.

    Parameters
    ----------
    passes : int
        Windows per forward pass of the plain side.
    clock : callable
        Seconds.
    """

    def __init__(self, passes: int, clock) -> None:
        self.passes, self.clock = passes, clock
        self.ours, self.plain, self.losses, self.epochs = [], [], [], []

    def on_train_begin(self, net, **kwargs) -> None:
        """Give both sides a codebook whose rows are far apart: no code hangs on a rounding."""
        if net.stage != "masked":
            return
        quantizer = net.module_.tokenizer.quantize
        rows = torch.randn(
            quantizer.embedding.weight.shape, generator=torch.Generator().manual_seed(0)
        )
        with torch.no_grad():
            quantizer.embedding.weight.copy_(unit(rows))
            quantizer.embedding.initted.fill_(1)
        self.objective = copy.deepcopy(net.module_)
        trained = dict(self.objective.named_parameters())
        exempt = self.objective.no_weight_decay()
        groups = [[], []]
        for name, parameter in trained.items():
            if parameter.requires_grad:
                groups[parameter.ndim <= 1 or name in exempt].append(parameter)
        options = net.optimizer_.param_groups[0]
        self.parameters = groups[0] + groups[1]
        self.optimizer = torch.optim.AdamW(
            [{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}],
            lr=options["lr"], betas=options["betas"], weight_decay=options["weight_decay"],
        )  # fmt: skip

    def on_batch_begin(self, net, batch=None, training=False, **kwargs) -> None:
        """Start the clock."""
        self.began = self.clock()

    def on_batch_end(self, net, batch=None, training=False, **kwargs) -> None:
        """Stop it, and let the plain side make the step."""
        if not training or net.stage != "masked":
            return
        self.ours.append((self.clock() - self.began) / batch.n_windows)
        signal, noise = [], []
        for part in batch.parts:
            windows = part.batch("cpu")
            n, n_channels, n_times = windows.signal.shape
            step = net.position_.step - 1
            drawn, _ = seeds(
                net.random_state, Purpose.TRAINING, net.stage_number, step, part.number
            )
            noise.append(
                torch.rand(
                    (n, n_channels * (n_times // 200)),
                    generator=torch.Generator().manual_seed(drawn),
                )
            )
            signal.append(windows.signal)
        for group in self.optimizer.param_groups:
            group["lr"] = net.position_.lr
        began = self.clock()
        loss = self.step(torch.cat(signal), windows.rows, torch.cat(noise))
        self.plain.append((self.clock() - began) / batch.n_windows)
        self.losses.append(abs(loss - kwargs["loss"]))
        self.epochs.append(net.position_.epoch)

    def step(self, signal, rows, noise) -> float:
        """Make one plain step and return its loss."""
        from eegfound_labram.objective import mask_from_noise

        masks, n, total = mask_from_noise(noise), len(signal), 0.0
        self.optimizer.zero_grad()
        for at in range(0, n, self.passes):
            chosen = slice(at, min(n, at + self.passes))
            loss = plain_labram.masked_loss(self.objective, signal[chosen], rows, masks[chosen])
            loss = loss * ((chosen.stop - at) / n)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        return total


def compare(args: argparse.Namespace) -> None:
    """Train, and print both sides."""
    options = {} if args.data == "sample" else {"subjects": [1]}
    X, _, _, info = load_dataset(args.data, **options)
    X = X[np.random.default_rng(0).choice(len(X), min(len(X), args.windows), replace=False)]
    X = X[..., : int(4 * info.sfreq)]
    # The first pass also warms up; its first step is left out.
    beside = PlainBeside(
        args.plain_passes, time.process_time if args.threads == 1 else time.perf_counter
    )
    pretrainer = ef.make_pretrainer(
        "labram", size=args.size, info=info, max_epochs={"tokenizer": 1, "masked": args.epochs},
        train_batch_size=args.batch, micro_batch_size=args.micro, validation_fraction=0,
        gradient_clip=CLIP, lr=1e-4, lr_schedule="constant", device="cpu",
        n_threads=args.threads, on_unknown="drop",
    )  # fmt: skip
    with watching(beside):
        pretrainer.fit(X)
    network = pretrainer.objective_.network
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    print(
        f"labram {args.size}: {count / 1e6:.1f} M trained parameters, {len(X)} windows x "
        f"{X.shape[1]} ch x 4 s of {args.data!r}, batches of {args.batch}, {args.threads} "
        f"thread(s), torch {importlib.metadata.version('torch')}, float32"
    )
    epochs = np.array(beside.epochs)
    epochs[0] = -1
    for name, where in (("first pass", epochs == 0), ("later passes", epochs > 0)):
        if not where.any():
            continue
        ours, plain = np.array(beside.ours)[where], np.array(beside.plain)[where]
        ratios = plain / ours
        print(
            f"  {name:12} ({where.sum()} steps): eegfound {line(ours)}, plain loop {line(plain)} "
            f"windows/s; ratio {statistics.median(ratios):.2f} "
            f"({ratios.min():.2f}-{ratios.max():.2f})"
        )
    print(f"  largest difference of a step's loss: {max(beside.losses):.1e}")


def line(seconds) -> str:
    """Return rates: median and range."""
    rates = 1 / seconds
    return f"{np.median(rates):.2f} ({rates.min():.2f}-{rates.max():.2f})"


def main() -> None:
    """Compare a step of both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32, help="windows per optimizer step")
    parser.add_argument("--micro", type=int, default=32, help="of ours, per forward pass")
    parser.add_argument("--plain-passes", type=int, default=32, help="of the plain side")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--allowance", type=float, default=64, help="MB, for --memory")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    if args.memory:
        from pretraining_memory import grow

        grow(args.allowance)
        return
    compare(args)


if __name__ == "__main__":
    main()
