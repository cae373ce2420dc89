"""SpecMoE passes the suite's conformance kit."""

import pytest

from eegfound.testing import check_model


def test_one_expert_conforms():
    assert len(check_model("specmoe", size="expert", scikit_learn=False)) >= 20


@pytest.mark.slow
def test_one_expert_is_a_scikit_learn_citizen():
    assert len(check_model("specmoe", size="expert")) > 150


@pytest.mark.slow
def test_three_experts_conform():
    assert len(check_model("specmoe")) > 150
