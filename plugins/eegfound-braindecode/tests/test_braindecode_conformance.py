"""Every model passes the suite's conformance kit, on the real networks.

Everyday: the suite's own checks of the quick ones, and one model with scikit-learn's
checks too. Slow: everything, and the default sizes.
"""

from __future__ import annotations

import pytest
from eegfound_braindecode.declarations import MODELS

from eegfound.testing import check_model

NAMES = [model.name for _, model in MODELS]
EVERYDAY = "bd-reve"
LONG = {"bd-bendr", "bd-codebrain", "bd-luna", "bd-mvpformer"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*LONG, EVERYDAY}])
def test_small_networks_keep_the_suites_promises(bd, name):
    assert len(check_model(name, size="tiny", scikit_learn=False)) > 15


def test_a_small_network_conforms(bd):
    assert len(check_model(EVERYDAY, size="tiny")) > 150


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_small_networks_conform(bd, name):
    assert len(check_model(name, size="tiny")) > 150


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_default_networks_keep_the_suites_promises(bd, name):
    assert len(check_model(name, scikit_learn=False)) > 15
