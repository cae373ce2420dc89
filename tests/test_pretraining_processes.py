"""Several processes train the same as one."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers_pretraining import (
    as_member,
    caps,
    free_port,
    losses,
    pretrainer,
    rows,
    run_two,
    weights,
    windows,
)

MODELS = ("masked-toy", "staged-toy")


def trained(model, **params):
    X, groups = windows()
    return pretrainer(model, ema_decay=0.9, **params).fit(caps(X), groups=groups)


def member(rank, port, folder, queue):
    as_member(rank, port)
    for model in MODELS:
        pre = trained(model, resume_dir=folder, metrics_file=folder / f"{model}.jsonl")
        queue.put((model, rank, rows(pre), weights(pre)))


@pytest.fixture(scope="module")
def alone():
    """The trainings of one process, by model."""
    return {model: trained(model) for model in MODELS}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Rows and weights by model and process, and the folder they wrote to."""
    folder = tmp_path_factory.mktemp("two")
    queue = multiprocessing.get_context("fork").Queue()
    told = run_two(member, folder, queue, queue=queue, count=2 * len(MODELS))
    found = {(model, rank): rest for model, rank, *rest in told}
    return found, folder


@pytest.mark.parametrize("model", MODELS)
def test_two_processes_agree_with_one(model, two, alone):
    found, folder = two
    one = alone[model]
    for rank in range(2):
        table, _ = found[model, rank]
        totals = [row["total"] for row in table if row["split"] == "train"]
        np.testing.assert_allclose(totals, losses(one), rtol=0, atol=1e-5)
        for row, expected in zip(table, rows(one), strict=True):
            assert row["n_windows"] == expected["n_windows"]
            assert row["total"] == pytest.approx(expected["total"], abs=1e-5)
    lines = (folder / f"{model}.jsonl").read_text().splitlines()
    assert len(lines) == len(one.history_), "one process writes"


@pytest.mark.parametrize("model", MODELS)
def test_processes_hold_the_same_tensors(model, two, alone):
    found, _ = two
    first, second = (found[model, rank][1] for rank in range(2))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)
    one = weights(alone[model])
    moved = [name for name in one if "codebook.embedding.weight" in name]
    assert bool(moved) == (model == "staged-toy")
    for name, tensor in one.items():
        np.testing.assert_allclose(first[name], tensor, rtol=0, atol=1e-5, err_msg=name)


def test_parameters_without_gradient_are_left_alone(two):
    found, _ = two
    name = "masked.unused.weight"
    fresh = trained("staged-toy", max_epochs={"tokenizer": 1, "masked": 1}, lr=1e-9)
    np.testing.assert_array_equal(found["staged-toy", 0][1][name], weights(fresh)[name])


@pytest.mark.slow
def test_accelerate_launch(tmp_path, alone):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.helpers_pretraining import *\n"
        "X, groups = windows()\n"
        "pre = pretrainer('staged-toy', ema_decay=0.9, metrics_file=sys.argv[2])\n"
        "pre.fit(caps(X), groups=groups)\n"
    )
    out = tmp_path / "metrics.jsonl"
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", str(free_port()), str(script),
        str(Path(__file__).parents[1]), str(out),
    ]  # fmt: skip
    done = subprocess.run(
        launch, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    table = [json.loads(line) for line in out.read_text().splitlines()]
    totals = [row["total"] for row in table if row["split"] == "train"]
    np.testing.assert_allclose(totals, losses(alone["staged-toy"]), rtol=0, atol=1e-5)
