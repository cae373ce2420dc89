"""Train the open checkpoint of LaBraM-tiny: a tokenizer, then masked modelling.

    EEGFOUND_DATA=... python train_open_checkpoint.py --minutes 60

The published weights of LaBraM cannot ship with this package, so this small
encoder stands in where weights must simply be there (tests, examples, demos).
It is trained on EEGMMIDB alone, with every fifth subject held out. The two
stages follow the reference, but for the size, the learning rates and the care
of the codebook (:class:`TokenizerStep`). ``--minutes`` is turned into numbers of
steps by timing the first ones; the numbers stand in the report, and ``--steps``
with them repeats a run.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import eegfound_labram
import numpy as np
import torch
import torch.nn.functional as F
from eegfound_labram.objective import MaskedObjective, build_objective, mask_from_noise
from eegfound_labram.plugin import MODEL
from eegfound_labram.quantizer import unit
from eegfound_labram.schedule import cosine_schedule
from eegfound_labram.tokenizer import VQNSP, spectral_targets
from open_recordings import BAND, MAINS, N_PATCHES, Windows, load_runs
from torch import Tensor, nn

from eegfound.models.files import save_weights, sha256_of
from eegfound.models.network import SignalBatch

FOLDER = Path(eegfound_labram.__file__).parent / "checkpoints"
NAME = "labram-tiny-open"
SIZE = dict(MODEL.sizes["tiny"])
TOKENIZER = {
    "out_chans": SIZE["out_chans"], "depth": SIZE["depth"], "num_heads": SIZE["num_heads"],
    "decoder_depth": 2, "decoder_heads": SIZE["num_heads"], "n_codes": 512, "code_dim": 32,
}  # fmt: skip
#: Peak learning rate, AdamW betas, weight decay and gradient limit of each stage.
RECIPES: dict[str, dict[str, Any]] = {
    "tokenizer": {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 1e-4, "clip": None},
    "masked": {"lr": 1e-3, "betas": (0.9, 0.98), "weight_decay": 0.05, "clip": 3.0},
}
#: Share of the time that the tokenizer gets; share of its steps without quantizing;
#: batches that k-means sees.
TOKENIZER_SHARE, FREE_SHARE, N_KMEANS = 0.4, 0.15, 20
#: Steps between two restarts of idle codes, and the running count that is idle.
IDLE_STEPS, IDLE_USE = 50, 0.1
#: Batches on which held-out figures are computed.
N_EVALUATION = 24


def main() -> None:
    """Train both stages, write weights and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, nargs=2, metavar=("TOKENIZER", "MASKED"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    runs = load_runs()
    subjects = sorted({run.subject for run in runs})
    held_out = subjects[::5]
    train = [run for run in runs if run.subject not in held_out]
    test = [run for run in runs if run.subject in held_out]
    print(f"{len(subjects)} subjects, {len(held_out)} held out, "
          f"{sum(r.seconds for r in train) / 3600:.2f} h to train on", flush=True)  # fmt: skip
    evaluation = Windows(test, seed=args.seed + 1)
    held = [evaluation.draw() for _ in range(N_EVALUATION)]

    torch.manual_seed(args.seed)
    tokenizer = VQNSP(**TOKENIZER)
    budget = 60 * args.minutes
    first = train_stage(
        "tokenizer", tokenizer, TokenizerStep(tokenizer, Windows(train, args.seed + 6)),
        Windows(train, args.seed + 2),
        seconds=TOKENIZER_SHARE * budget, steps=args.steps and args.steps[0],
    )  # fmt: skip
    first |= tokenizer_figures(tokenizer.eval(), held)

    objective = build_objective(tokenizer=tokenizer, **SIZE)
    second = train_stage(
        "masked", objective.network, MaskedStep(objective, args.seed + 3),
        Windows(train, args.seed + 4),
        seconds=(1 - TOKENIZER_SHARE) * budget, steps=args.steps and args.steps[1],
    )  # fmt: skip
    second |= masked_figures(objective.eval(), held, Windows(train, args.seed + 5))

    state = {k: v for k, v in objective.network.student.state_dict().items()
             if not k.startswith(("mask_token", "lm_head."))}  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    path = save_weights(
        args.out / f"{NAME}.safetensors", state, {"model": "labram", "size": "tiny"}
    )
    report = {
        "name": NAME,
        "sha256": sha256_of(path),
        "data": {
            "dataset": "EEG Motor Movement/Imagery (PhysioNet eegmmidb 1.0.0)",
            "licence": "ODC-BY 1.0; Schalk 2004, Goldberger 2000",
            "train_subjects": [s for s in subjects if s not in held_out],
            "held_out_subjects": held_out,
            "train_hours": round(sum(r.seconds for r in train) / 3600, 3),
            "held_out_hours": round(sum(r.seconds for r in test) / 3600, 3),
            "band_hz": BAND, "notch_hz": MAINS, "window_seconds": N_PATCHES,
            "electrodes_per_batch": "random 12 to 64",
        },
        "recipe": {"seed": args.seed, "threads": args.threads, "size": SIZE,
                   "tokenizer": TOKENIZER, "stages": RECIPES},
        "tokenizer": first,
        "masked": second,
        "versions": {"torch": torch.__version__, "numpy": np.__version__,
                     "python": platform.python_version()},
    }  # fmt: skip
    (args.out / f"{NAME}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({"tokenizer": first, "masked": second}, indent=2))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, sha256 {report['sha256']}")


class TokenizerStep:
    """Loss of a batch for the tokenizer, and the care of its codebook.

    From scratch, on little data, quantizing at once lets all patches fall on one
    code. So the first steps train encoder and decoder without quantizing; then
    k-means on many patches fills the codebook, and codes that nobody uses are
    moved to patches of the current batch.

    Parameters
    ----------
    tokenizer : VQNSP
        What is trained.
    windows : Windows
        Where the patches for k-means come from.
    """

    def __init__(self, tokenizer: VQNSP, windows: Windows) -> None:
        self.tokenizer, self.windows = tokenizer, windows
        self.count, self.total = 0, 0

    def start(self, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self.count, self.total = 0, total

    def __call__(self, batch: SignalBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and what to log."""
        self.count += 1
        if self.count <= FREE_SHARE * self.total:
            truth = spectral_targets(batch.signal)
            guess = self.tokenizer.decode(self._image(batch), batch.rows)
            amplitude, phase = (F.mse_loss(g, t.flatten(1, 2)) for g, t in zip(guess, truth))
            return amplitude + phase, {"amplitude": amplitude.item(), "phase": phase.item()}
        if not self.tokenizer.quantize.is_initialized:
            many = [self._vectors(self.windows.draw()).flatten(0, 1) for _ in range(N_KMEANS)]
            self.tokenizer.quantize.initialize(torch.cat(many).detach())
        losses = self.tokenizer(batch)
        if self.count % IDLE_STEPS == 0:
            self._restart(batch)
        return losses.total, {
            "amplitude": losses.amplitude.item(), "phase": losses.phase.item(),
            "commitment": losses.commitment.item(),
        }  # fmt: skip

    def _vectors(self, batch: SignalBatch) -> Tensor:
        return unit(self.tokenizer.project(self.tokenizer.features(batch)))

    def _image(self, batch: SignalBatch) -> Tensor:
        return self._vectors(batch).transpose(1, 2).unflatten(2, (len(batch.rows), -1))

    @torch.no_grad()
    def _restart(self, batch: SignalBatch) -> None:
        book = self.tokenizer.quantize
        idle = torch.nonzero(book.cluster_size < IDLE_USE).flatten()
        vectors = self._vectors(batch).flatten(0, 1)
        chosen = torch.randperm(len(vectors))[: len(idle)]
        book.embedding.weight[idle[: len(chosen)]] = vectors[chosen]


class MaskedStep:
    """Loss of a batch for masked modelling."""

    def __init__(self, objective: MaskedObjective, seed: int) -> None:
        self.objective = objective
        self.generator = torch.Generator().manual_seed(seed)

    def start(self, total: int) -> None:
        """Begin a stage: the masks start anew."""
        self.generator.manual_seed(self.generator.initial_seed())

    def __call__(self, batch: SignalBatch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and what to log."""
        losses = self.objective(batch, generator=self.generator)
        return losses.total, {"masked": losses.masked.item()}


def train_stage(
    name: str, network: nn.Module, step: TokenizerStep | MaskedStep,
    windows: Windows, *, seconds: float, steps: int | None,
) -> dict[str, Any]:  # fmt: skip
    """Run one stage; return its figures."""
    recipe = RECIPES[name]
    exempt = network.no_weight_decay()  # type: ignore[operator]
    named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    plain = [p for n, p in named if p.ndim <= 1 or n in exempt]
    decayed = [p for n, p in named if not (p.ndim <= 1 or n in exempt)]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=recipe["lr"], betas=recipe["betas"], weight_decay=recipe["weight_decay"]
    )
    network.train()
    if steps is None:
        steps = _affordable_steps(network, step, windows, seconds)
    step.start(steps)
    warmup = max(1, steps // 20)
    rates = cosine_schedule(
        recipe["lr"], 0.02 * recipe["lr"], epochs=steps, steps_per_epoch=1, warmup_epochs=warmup
    )
    start, log, kept = time.perf_counter(), [], []
    for i in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rates[i]
        loss, parts = step(windows.draw())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe["clip"]:
            nn.utils.clip_grad_norm_(network.parameters(), recipe["clip"])
        optimizer.step()
        kept.append({"loss": loss.item(), **parts})
        if (i + 1) % max(1, steps // 20) == 0:
            names = dict.fromkeys(k for e in kept for k in e)
            mean = {k: round(float(np.mean([e[k] for e in kept if k in e])), 4) for k in names}
            log.append({"step": i + 1, **mean})
            print(name, log[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
            kept = []
    return {"steps": steps, "minutes": round((time.perf_counter() - start) / 60, 2), "log": log}


def _affordable_steps(
    network: nn.Module, step: TokenizerStep | MaskedStep, windows: Windows, seconds: float
) -> int:
    """Time a few steps, forget them, and return how many the time allows."""
    before = {k: v.clone() for k, v in network.state_dict().items()}
    draws, noise = windows.rng.bit_generator.state, torch.get_rng_state()
    start = time.perf_counter()
    trial = 10
    step.start(10**9)
    for _ in range(trial):
        step(windows.draw())[0].backward()
    spent = time.perf_counter() - start
    network.zero_grad(set_to_none=True)
    network.load_state_dict(before)
    windows.rng.bit_generator.state = draws
    torch.set_rng_state(noise)
    return max(20, int((seconds - spent) / (spent / trial)))


@torch.no_grad()
def tokenizer_figures(tokenizer: VQNSP, held: list[SignalBatch]) -> dict[str, Any]:
    """Return held-out losses and how many codes are in use."""
    parts = [(tokenizer(batch), tokenizer.codes(batch)) for batch in held]
    counts = torch.bincount(
        torch.cat([codes.flatten() for _, codes in parts]), minlength=tokenizer.quantize.n_codes
    ).double()
    share = counts[counts > 0] / counts.sum()
    return {
        "held_out_amplitude_mse": round(float(np.mean([float(p.amplitude) for p, _ in parts])), 4),
        "held_out_phase_mse": round(float(np.mean([float(p.phase) for p, _ in parts])), 4),
        "held_out_codes_used": int((counts > 0).sum()),
        "held_out_code_perplexity": round(float((-(share * share.log()).sum()).exp()), 1),
    }


@torch.no_grad()
def masked_figures(
    objective: MaskedObjective, held: list[SignalBatch], windows: Windows
) -> dict[str, Any]:
    """Return held-out prediction of hidden codes, beside guessing by frequency."""
    tokenizer, n_codes = objective.tokenizer, objective.tokenizer.quantize.n_codes
    seen = torch.cat([tokenizer.codes(windows.draw()).flatten() for _ in range(100)])
    prior = (torch.bincount(seen, minlength=n_codes).double() + 1).log()
    prior = prior - prior.logsumexp(dim=0)
    generator = torch.Generator().manual_seed(0)
    hits, guesses, losses, prior_losses = [], [], [], []
    for batch in held:
        codes = tokenizer.codes(batch)
        mask = mask_from_noise(torch.rand(codes.shape, generator=generator))
        scores = objective.network(batch, codes, mask).logits
        wanted = codes[mask]
        hits.append((scores.argmax(dim=1) == wanted).double())
        guesses.append((wanted == prior.argmax()).double())
        losses.append(F.cross_entropy(scores.double(), wanted, reduction="none"))
        prior_losses.append(-prior[wanted])
    mean = {
        "accuracy": hits, "accuracy_of_most_frequent_code": guesses,
        "cross_entropy": losses, "cross_entropy_of_frequencies": prior_losses,
    }  # fmt: skip
    return {f"held_out_{k}": round(float(torch.cat(v).mean()), 4) for k, v in mean.items()}


if __name__ == "__main__":
    main()
