"""Fixtures of MMM's tests."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def published_layout(tmp_path_factory):
    """A file in the published layout, made of random weights.

    The published file may not be redistributed; this one has its keys and
    shapes, and another name, because the published name has a known digest.
    """
    import torch

    from eegfound.models import get_model
    from eegfound.models.loading import build_random

    state = build_random(get_model("mmm"), "base", None, {}, seed=3).state_dict()
    state = {k: v for k, v in state.items() if k not in ("supernodes", "network.pos_embed")}
    path = tmp_path_factory.mktemp("weights") / "generated_encoder.pt"
    torch.save(state, path)
    return path


@pytest.fixture
def published(monkeypatch):
    """The authors' own file, if it is on this machine."""
    from eegfound.base import CheckpointNotFoundError
    from eegfound.models import get_model
    from eegfound.models.store import find_checkpoint

    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")  # tests download nothing
    try:
        return find_checkpoint(get_model("mmm"), "mmm-tuh-base").path
    except CheckpointNotFoundError:
        pytest.skip(
            "the authors' tuh_pretrained_encoder_base.pt is not here: put it into a folder named "
            "by EEGFOUND_WEIGHTS"
        )


@pytest.fixture
def rng():
    return np.random.default_rng(0)
