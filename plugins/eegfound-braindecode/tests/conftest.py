"""Fixtures of the bridge's tests."""

from __future__ import annotations

import os
import warnings

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def bd():
    """``braindecode.models``; tests that ask for it are skipped where it cannot be imported."""
    from eegfound_braindecode.importing import BraindecodeUnavailableError, braindecode_models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a torchaudio that does not load is tested elsewhere
        try:
            return braindecode_models()
        except BraindecodeUnavailableError as error:
            pytest.skip(f"needs braindecode: {error}")
