"""Train the small open checkpoints: openly licensed EEG, subjects held out, one command.

Prepares a store of EEGMMIDB and of the ADHD set (``EEGFOUND_DATA`` must hold them), leaves
every fourth subject out, never touches EEGMAT, and trains each model's small size, most with
the defaults of its stages. Killed and started again, it goes on. Writes for each model its
weights, its metrics and what it reaches on the subjects that were left out.

    EEGFOUND_DATA=… python benchmarks/open_checkpoints.py OUT [--models labram …] [--passes N]

``benchmarks/bench_pretrained.py`` then tells what the weights are worth.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

import eegfound as ef
from eegfound.corpus import Corpus, prepare_corpus
from eegfound.datasets.adhd import NOMINAL_VOLTS_PER_UNIT

#: Size, passes over the data, and what else differs from the defaults of the stages.
MODELS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "labram": ("small", 12, {}),
    "mmm": ("small", 8, {}),
    "dare": ("compact", 8, {}),
    "eegpt": ("small", 8, {}),
    "eegpt-ar": ("small", 32, {}),
    # Half a minute, as published, would be 3800 tokens in one sequence. 480 samples: no padding.
    "specmoe": ("small", 7, {"window_seconds": 2.4}),
    "neurolm": ("small", 6, {}),
    "fome-style": ("tiny", 3, {}),
}
#: Of each set, one subject in so many is left out.
EVERY = 4


def corpus(folder: Path) -> Corpus:
    """Return the prepared store, made where it is not there yet."""
    data = Path(os.environ["EEGFOUND_DATA"]) / "packed"
    common = {"sfreq": 200.0, "band": (0.1, 75.0), "n_jobs": 2}
    prepare_corpus(data / "eegmmidb", folder, dataset="eegmmidb", notch=60, **common)
    prepare_corpus(
        data / "adhd_children", folder, dataset="adhd", notch=50, unit=NOMINAL_VOLTS_PER_UNIT,
        **{**common, "band": (0.1, 63.0)},
    )  # fmt: skip
    return Corpus(folder)


def left_out(store: Corpus) -> list[str]:
    """Return the subjects that no checkpoint may see."""
    by_set: dict[str, list[str]] = {}
    for name in store.subjects:
        by_set.setdefault(name.partition("/")[0], []).append(name)
    return [name for names in by_set.values() for name in names[EVERY - 1 :: EVERY]]


def train(name: str, store: Corpus, out: Path, passes: int | None) -> None:
    """Train one model, and tell what it reaches on unseen subjects."""
    size, usual, options = MODELS[name]
    passes = passes or usual
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    unseen = left_out(store)
    pretrainer = ef.make_pretrainer(
        name, size=size, max_epochs=passes, resume_dir=folder / "state", save_every=60.0,
        metrics_file=folder / "metrics.jsonl", random_state=0, n_workers=1, verbose=1, **options,
    )  # fmt: skip
    pretrainer.fit(store.select(exclude=unseen))
    pretrainer.save(folder / f"{name}-{size}-open.safetensors")
    pretrainer.save(folder / f"{name}-{size}-open.objective.safetensors", what="objective")
    reached = {
        stage: pretrainer.evaluate(store.select(subjects=unseen), stage=stage)
        for stage in pretrainer.objectives_
    }
    facts = {
        "model": name, "size": size, "fingerprint": pretrainer.fingerprint_,
        "unseen": unseen, "on_unseen": reached,
    }  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))
    for stage, values in reached.items():
        for key, value in values.items():
            if not key.endswith("_trivial"):
                beside = values.get(f"{key}_trivial")
                print(f"{name} {stage} {key}: {value:.4g}", end="")
                print("" if beside is None else f" (trivial {beside:.4g})", flush=True)


def main() -> None:
    """Prepare the store and train the models that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--passes", type=int, help="over the data, in all stages together")
    args = parser.parse_args()
    store = corpus(args.out / "corpus")
    print(store.summary().to_string())
    for name in args.models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(name, store, args.out, args.passes)


if __name__ == "__main__":
    main()
