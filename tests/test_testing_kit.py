"""The conformance kit passes a good model and catches bad ones."""

from __future__ import annotations

import pytest
import torch

from eegfound.models import registry
from eegfound.testing import check_model
from eegfound.testing.toy import ToyEncoder, toy_model


def test_the_toy_model_conforms(toy):
    passed = check_model("toy")
    assert sum(":" in name for name in passed) > 120  # scikit-learn's own checks ran
    assert sum(":" not in name for name in passed) >= 18


class Stateful(ToyEncoder):
    """Counts its forward passes in a buffer."""

    def __init__(self, **config):
        super().__init__(**config)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, batch, layer=None):
        self.count += 1
        return super().forward(batch, layer)


class Mixing(ToyEncoder):
    """Lets the epochs of a batch see each other."""

    def forward(self, batch, layer=None):
        tokens = super().forward(batch, layer)
        tokens.values.add_(tokens.values.mean(dim=0, keepdim=True))
        return tokens


class Constant(ToyEncoder):
    """Forgets its input."""

    def forward(self, batch, layer=None):
        tokens = super().forward(batch, layer)
        tokens.values.zero_()
        return tokens


class Orderly(ToyEncoder):
    """Depends on the order of channels without saying so."""

    def forward(self, batch, layer=None):
        tokens = super().forward(batch, layer)
        rank = torch.linspace(0, 3, tokens.values.shape[1])
        tokens.values.mul_(1 + rank[None, :, None])
        return tokens


class Depthless(ToyEncoder):
    """Gives parameters depths that do not exist."""

    def layer_index(self, name):
        return 99


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (Stateful, "a_forward_pass_changes_no_state"),
        (Mixing, "an_epoch_does_not_depend_on_its_neighbours"),
        (Constant, "two different epochs give one embedding"),
        (Orderly, "channels_travel_with_their_names"),
        (Depthless, "depths outside"),
    ],
)
def test_faults_are_caught(monkeypatch, network, complaint):
    monkeypatch.setattr("eegfound.testing.toy.build_toy", network)
    with (
        registry.registered(toy_model("faulty")),
        pytest.raises(AssertionError, match=complaint),
    ):
        check_model("faulty", scikit_learn=False)
