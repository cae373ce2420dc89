"""Fixtures of SpecMoE's tests."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def published_file(path, seed, **changes):
    """Write a file in the published layout, made of random weights.

    The published files may not be passed on; this one has their keys, shapes
    and surroundings.
    """
    import torch
    from eegfound_specmoe.objective import build_objective

    from eegfound.models.randomness import seeded_torch

    with seeded_torch(seed):
        objective = build_objective()
        parts = (objective.network.experts[0], objective.decoders[0])
        state = {f"module.{k}": v.clone() for part in parts for k, v in part.state_dict().items()}
    weights = [torch.nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=1e-6)
    content = {
        "epoch": 49,
        "model_state": state | changes.pop("model_state", {}),
        "optimizer_state": optimizer.state_dict(),
        "scheduler_state": scheduler.state_dict(),
        "best_loss": np.float64(1.25),
        "params": {"lr": 1e-3, "nb_heads": 8},
        "rng_state": torch.get_rng_state(),
        "cuda_rng_state": [torch.get_rng_state()],
    }
    torch.save(content | changes, path)
    return path


@pytest.fixture(scope="session")
def published_folder(tmp_path_factory):
    """A folder with three files in the published layout."""
    folder = tmp_path_factory.mktemp("weights")
    for i in (1, 2, 3):
        published_file(folder / f"Pretrained_Expert_{i}.pth", seed=i)
    return folder


@pytest.fixture(scope="session")
def published(published_folder):
    """The three files, in order."""
    return [published_folder / f"Pretrained_Expert_{i}.pth" for i in (1, 2, 3)]


@pytest.fixture(scope="session")
def make_published():
    """The function that writes such files."""
    return published_file
