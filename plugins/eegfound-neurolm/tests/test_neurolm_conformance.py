"""NeuroLM passes the suite's conformance kit."""

import subprocess
import sys

import pytest
import torch
from eegfound_neurolm.objective import build_objective

from eegfound.models import get_model
from eegfound.testing import check_model
from eegfound.testing.kit import CHECKS, Subject

#: Adam at 1e-3 is the kit's rate for small networks and too fast for 147 M parameters.
OBJECTIVE = "the_objective_learns"


def test_neurolm_conforms():
    assert len(check_model("neurolm", size="tiny", scikit_learn=False)) > 15


@pytest.mark.slow
def test_neurolm_passes_scikit_learns_checks_too():
    assert len(check_model("neurolm", size="tiny")) > 150


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@pytest.mark.parametrize("name", [name for name in CHECKS if name != OBJECTIVE])
def test_the_published_size_conforms(name):
    CHECKS[name](Subject(get_model("neurolm"), "base"))


@pytest.mark.slow
def test_the_published_size_learns_at_the_published_rate():
    batch = Subject(get_model("neurolm"), "tiny").batch()
    torch.manual_seed(0)
    objective = build_objective(**get_model("neurolm").sizes["base"])
    objective.prepare(batch)
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 5e-5)
    history = []
    for i in range(5):
        losses = objective(batch)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        objective.after_step((i + 1) / 5)
        history.append(losses.total.item())
    assert history[-1] < 0.97 * history[0]


def test_declaring_the_model_imports_no_torch():
    code = "import eegfound_neurolm.plugin, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
