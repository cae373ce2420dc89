"""LaBraM passes the suite's conformance kit."""

import pytest

from eegfound.testing import check_model


def test_the_smallest_size_conforms():
    assert len(check_model("labram", size="tiny")) > 150


@pytest.mark.slow
def test_the_published_size_conforms():
    assert len(check_model("labram")) > 150
