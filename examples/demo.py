"""The main job on real EEG: foundation encoders beside Riemannian baselines.

Bundled recordings (EEGMAT: rest against mental arithmetic), five folds that
keep subjects whole. Published weights cannot be shipped with the suite; where
they are not found, an encoder runs with random weights in its smallest size,
and the table says so. Run it with ``make demo``; ``--models`` chooses.
"""

from __future__ import annotations

import argparse
import warnings

import torch

import eegfound as ef
from eegfound.base import CheckpointNotFoundError, RandomWeightsWarning
from eegfound.benchmark import default_pipelines, run_benchmark
from eegfound.models.store import find_checkpoint

BASELINES = ["band_power", "tangent_space", "tangent_space_recentred"]


def main() -> None:
    """Load, compare, print, and write the report where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="folder for tables and the HTML report")
    parser.add_argument("--models", nargs="*", default=native_models())
    args = parser.parse_args()

    X, y, groups, info = ef.datasets.load_sample()
    print(
        f"{len(X)} windows of {X.shape[2] / info.sfreq:g} s, {info.n_channels} electrodes, "
        f"{len(set(groups))} subjects, classes {' and '.join(sorted(set(y)))}"
    )
    weights = {name: published_or_random(name) for name in args.models}
    sizes = {name: None if weights[name] else smallest_size(name) for name in args.models}
    pipelines = default_pipelines(
        args.models, BASELINES, info=info, checkpoint=weights, size=sizes, band=(4, 30)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)  # said once, above
        results = run_benchmark(
            pipelines, X, y, groups, cv="subject", info=info, dataset="sample", out=args.out
        )
    results.print()
    if args.out:
        print(f"Tables and report in {args.out}")


def native_models() -> list[str]:
    """Return the models whose networks are the suite's own."""
    return [name for name in ef.list_models() if not name.startswith("bd-")]


def published_or_random(name: str) -> str | None:
    """Return "default" where the published weights are at hand, else None."""
    if not ef.get_model(name).checkpoints:
        print(f"\n{name} has no published weights => RANDOM WEIGHTS in this demo.\n")
        return None
    try:
        find_checkpoint(ef.get_model(name))
    except CheckpointNotFoundError as error:
        print(f"\n{error}\n=> {name} runs with RANDOM WEIGHTS in this demo.\n")
        return None
    return "default"


def smallest_size(name: str) -> str:
    """Return the size with the fewest parameters."""
    model = ef.get_model(name)
    counts = {}
    for size in model.sizes:
        with torch.device("meta"):
            counts[size] = sum(p.numel() for p in model.build(size).parameters())
    return min(counts, key=counts.get)


if __name__ == "__main__":
    main()
