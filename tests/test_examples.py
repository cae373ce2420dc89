"""The examples run and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))

#: These fit many pipelines.
SLOW = {"calibration", "few_shot", "foundation_and_riemann", "imbalance", "stacking", "two_caps"}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in SLOW else [])
        for p in EXAMPLES
        if p.stem != "demo"
    ],
)
def test_example(example):
    pytest.importorskip("eegfound_labram", reason="the examples use the LaBraM plugin")
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert "±" in done.stdout


def test_demo_on_baselines_writes_the_report(tmp_path):
    demo = next(p for p in EXAMPLES if p.stem == "demo")
    done = subprocess.run(
        [sys.executable, str(demo), "--models", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("band_power", "tangent_space", "dummy"):
        assert name in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 50_000
