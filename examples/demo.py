"""The main job on real EEG: foundation encoders beside Riemannian baselines.

Bundled recordings (EEGMAT: rest against mental arithmetic), five folds that
keep subjects whole. Encoders are the small ones that ship with the plugins,
pretrained on other sets than this one, and frozen. Run it with ``make demo``;
``--models`` chooses.
"""

from __future__ import annotations

import argparse

import eegfound as ef
from eegfound.benchmark import default_pipelines, run_benchmark

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
    pipelines = default_pipelines(args.models, BASELINES, info=info, band=(4, 30))
    results = run_benchmark(
        pipelines, X, y, groups, cv="subject", info=info, dataset="sample", out=args.out
    )
    results.print()
    if args.out:
        print(f"Tables and report in {args.out}")


def native_models() -> list[str]:
    """Return the models whose networks are the suite's own."""
    return [name for name in ef.list_models() if not name.startswith("bd-")]


if __name__ == "__main__":
    main()
