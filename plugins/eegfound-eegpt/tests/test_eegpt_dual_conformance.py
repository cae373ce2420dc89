"""EEGPT (2024) passes the suite's conformance kit."""

from __future__ import annotations

import pytest

from eegfound.testing import check_model


def test_the_smallest_size_conforms():
    assert len(check_model("eegpt", size="tiny1", scikit_learn=False)) > 15


@pytest.mark.slow
def test_the_smallest_size_passes_checks_of_scikit_learn():
    assert len(check_model("eegpt", size="tiny1")) > 150


@pytest.mark.slow
def test_the_published_size_conforms():
    assert len(check_model("eegpt", scikit_learn=False)) > 15
