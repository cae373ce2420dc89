"""A step of masked modelling: ours, and a loop as a reference script writes it.

Real windows of the bundled sample (19 electrodes, 4 s), the same weights and the same masks
on both sides, in turn and in random order, each side in passes of the size that is best for it.
The plain side (``plain_labram.py``) sends the mask and its complement through the whole network
one after the other, writes attention out and takes torch's default AdamW. Ours is the objective
of the suite and the step of its Pretrainer. Prints windows per second (median, min-max over
rounds), the ratio, and how far losses and gradients are apart.

    python benchmarks/bench_pretraining.py [--size base] [--batch 32] [--passes 4 8 32]
                                           [--rounds 5] [--threads 1]
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

import eegfound as ef
from eegfound.datasets import load_dataset
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

CLIP = 3.0


def real_windows(model: str, n: int) -> SignalBatch:
    """Return windows of the bundled sample in the network's rate and unit."""
    X, _, _, info = load_dataset("sample")
    X = X[np.random.default_rng(0).choice(len(X), n, replace=n > len(X))]
    encoder = ef.make_transformer(model, checkpoint=None, info=info, on_unknown="drop").fit(X[:2])
    plan = encoder.plan_
    presence = plan.check(X)
    used = np.flatnonzero(presence.all(axis=0))
    signal = np.ascontiguousarray(plan.apply(X, presence)[:, used])
    return SignalBatch(torch.from_numpy(signal), torch.tensor([plan.rows[i] for i in used]))


def part(batch: SignalBatch, chosen: slice) -> SignalBatch:
    """Return some windows of a batch."""
    return SignalBatch(batch.signal[chosen], batch.rows)


class Side:
    """One way to make a step, with weights and an optimizer of its own."""

    def __init__(self, objective, windows: SignalBatch, noise, passes: int, **adamw) -> None:
        self.objective, self.windows, self.noise = copy.deepcopy(objective), windows, noise
        self.passes, self.seconds = passes, []
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, **adamw)

    def loss(self, chosen: slice):
        """Return the loss of some windows."""
        raise NotImplementedError

    def step(self) -> float:
        """Make one step and return its loss."""
        start, n, total = time.perf_counter(), len(self.noise), 0.0
        self.optimizer.zero_grad()
        for at in range(0, n, self.passes):
            chosen = slice(at, min(n, at + self.passes))
            loss = self.loss(chosen) * ((chosen.stop - at) / n)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)
        return total


class Ours(Side):
    """The suite's objective."""

    name = "eegfound"

    def loss(self, chosen: slice):
        """Return the loss of some windows."""
        return self.objective(part(self.windows, chosen), noise=self.noise[chosen]).total


class Plain(Side):
    """The plain loop."""

    name = "plain loop"

    def loss(self, chosen: slice):
        """Return the loss of some windows."""
        masks = mask_from_noise(self.noise[chosen])
        return plain_labram.masked_loss(
            self.objective, self.windows.signal[chosen], self.windows.rows, masks
        )


def mask_from_noise(noise):
    """Hide the larger half."""
    from eegfound_labram.objective import mask_from_noise as hide

    return hide(noise)


def compare(args: argparse.Namespace) -> float:
    """Time both sides and return the ratio of their best medians."""
    from eegfound_labram.objective import build_objective

    windows = real_windows("labram", args.batch)
    n_tokens = windows.signal.shape[1] * (windows.signal.shape[2] // 200)
    torch.manual_seed(0)
    objective = build_objective(**get_model("labram").sizes[args.size])
    objective.prepare(windows)
    objective.train()
    noise = torch.rand((args.batch, n_tokens), generator=torch.Generator().manual_seed(1))
    count = sum(p.numel() for p in objective.network.parameters())
    print(
        f"labram ({args.size}, {count / 1e6:.1f} M parameters), batches of {args.batch} windows x "
        f"{windows.signal.shape[1]} ch x 4 s, {args.threads} thread(s), {args.rounds} rounds, "
        f"torch {importlib.metadata.version('torch')}, float32"
    )
    sides = [
        kind(objective, windows, noise, min(passes, args.batch), **adamw)
        for passes in dict.fromkeys(min(p, args.batch) for p in args.passes)
        for kind, adamw in ((Plain, {}), (Ours, {"fused": True}))
    ]
    losses = {id(side): [side.step()] for side in sides}  # and warm up
    order = np.random.default_rng(0)
    for side in sides:
        side.seconds.clear()
    for _ in range(args.rounds):
        for index in order.permutation(len(sides)):
            losses[id(sides[index])].append(sides[index].step())
    best: dict[str, float] = {}
    for side in sides:
        rates = [args.batch / s for s in side.seconds]
        middle = statistics.median(rates)
        best[side.name] = max(best.get(side.name, 0.0), middle)
        print(
            f"  {side.name:12} {side.passes:4} windows a pass: {middle:8.2f} windows/s "
            f"({min(rates):.2f}-{max(rates):.2f})"
        )
    apart = max(
        abs(a - b) for side in sides for a, b in zip(losses[id(side)], losses[id(sides[0])])
    )
    print(f"  losses of {args.rounds + 1} steps: largest difference {apart:.2e}")
    ratio = best["eegfound"] / best["plain loop"]
    print(f"  ratio, each side in its best passes: {ratio:.2f}x", flush=True)
    return ratio


def main() -> None:
    """Compare a step of both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base")
    parser.add_argument("--batch", type=int, default=32, help="windows per optimizer step")
    parser.add_argument("--passes", type=int, nargs="*", default=[4, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    compare(args)


if __name__ == "__main__":
    main()
