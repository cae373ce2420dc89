"""LaBraM passes the suite's conformance kit."""

import pytest

from eegfound.testing import check_model


def test_labram_conforms():
    assert len(check_model("labram", scikit_learn=False)) > 15


@pytest.mark.slow
def test_labram_passes_checks_of_scikit_learn():
    assert len(check_model("labram")) > 150
