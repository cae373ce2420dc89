"""Fixtures of LaBraM's tests."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def published_folder(tmp_path_factory):
    """A folder with a file in the published layout, made of random weights.

    The published weights may not be redistributed with the tests; this file
    has their keys, shapes and surroundings.
    """
    import argparse

    import torch

    from eegfound.models import get_model
    from eegfound.models.loading import build_random

    folder = tmp_path_factory.mktemp("weights")
    student = build_random(get_model("labram"), "base", "cls", {}, seed=3).state_dict()
    state = {f"student.{key}": value.clone() for key, value in student.items()}
    state["student.mask_token"] = torch.zeros(1, 1, 200)
    state["student.lm_head.weight"] = torch.zeros(16, 200)
    state["student.lm_head.bias"] = torch.zeros(16)
    state["lm_head.weight"] = torch.zeros(16, 200)
    state["lm_head.bias"] = torch.zeros(16)
    state["projection_head.0.weight"] = torch.zeros(200, 200)
    state["projection_head.0.bias"] = torch.zeros(200)
    state["logit_scale"] = torch.zeros(())
    torch.save(
        {
            "model": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
            "epoch": 49,
            "scaler": {},
            "args": argparse.Namespace(model="labram_base_patch200_1600_8k_vocab", lr=5e-4),
        },
        folder / "labram-base.pth",
    )
    return folder


@pytest.fixture
def published(published_folder, monkeypatch):
    """Make ``checkpoint="default"`` find that file."""
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(published_folder))
    return published_folder / "labram-base.pth"


@pytest.fixture(scope="session")
def peers():
    """The comparison code of the benchmarks."""
    path = Path(__file__).parents[3] / "benchmarks" / "peers.py"
    spec = importlib.util.spec_from_file_location("eegfound_peers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
