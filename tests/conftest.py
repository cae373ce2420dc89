"""Shared fixtures of the core's tests."""

from __future__ import annotations

import os

import numpy as np
import pytest

# Before torch is imported anywhere: tests run in several processes already.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def toy():
    """The toy model, registered for the whole session."""
    from eegfound.models import registry
    from eegfound.testing.toy import toy_model

    if "toy" not in registry.models():
        registry.register(toy_model())
    return registry.get("toy")


@pytest.fixture
def rng():
    return np.random.default_rng(0)
