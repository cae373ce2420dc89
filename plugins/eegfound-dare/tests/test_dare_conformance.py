"""DARE-EEG passes the suite's conformance kit."""

import subprocess
import sys

import pytest

from eegfound.testing import check_model


def test_dare_conforms():
    # The encoder of nano is that of EEGPT's tiny1, whose tests run
    # scikit-learn's checks every day.
    assert len(check_model("dare", scikit_learn=False)) > 15


@pytest.mark.slow
def test_dare_passes_scikit_learns_checks_too():
    assert len(check_model("dare")) > 150


@pytest.mark.slow
@pytest.mark.parametrize("size", ["light", "small", "base", "deep"])
def test_other_sizes_conform(size):
    assert len(check_model("dare", size=size, scikit_learn=False)) > 15


def test_declaring_imports_no_torch():
    code = "import sys, eegfound_dare, eegfound_dare.plugin; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
