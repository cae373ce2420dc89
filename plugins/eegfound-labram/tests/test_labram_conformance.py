"""LaBraM passes the suite's conformance kit."""

from eegfound.testing import check_model


def test_labram_conforms():
    assert len(check_model("labram")) > 150
