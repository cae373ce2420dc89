"""MMM passes the suite's conformance kit."""

import pytest

from eegfound.testing import check_model


def test_the_paper_size_conforms():
    assert len(check_model("mmm", size="paper", scikit_learn=False)) > 15


@pytest.mark.slow
def test_the_paper_size_passes_checks_of_scikit_learn():
    assert len(check_model("mmm", size="paper")) > 150


@pytest.mark.slow
def test_mmm_conforms():
    assert len(check_model("mmm")) > 150
