"""Which layer a parameter belongs to, and how fast it learns: every native model."""

from __future__ import annotations

import re

import pytest
import torch

from eegfound.estimators._groups import weight_groups
from eegfound.models import registry
from eegfound.testing.subject import Subject
from tests.helpers_native import NATIVE

#: Large default sizes would only cost time here.
SMALL = {
    "dare": "nano", "eegpt": "tiny1", "eegpt-ar": "tiny", "labram": "tiny", "neurolm": "tiny",
    "specmoe": "expert",
}  # fmt: skip
#: Read-outs and options that give a network further parameters.
VARIANTS = [
    *((name, None, {}) for name in NATIVE),
    ("labram", "cls", {}),
    ("eegpt", "predictor_cls", {}),
    ("eegpt", "reconstructor_mean", {}),
    ("eegpt-ar", "graph", {}),
    ("specmoe", "fused", {}),
    ("neurolm", None, {"features": "lm"}),
]
#: Parameters that a reference counts elsewhere than where they act.
ELSEWHERE = {"labram": {"time_embed"}}
pytestmark = pytest.mark.skipif(len(NATIVE) < 3, reason="only some plugins are installed")


def build(name, pooling=None, **config):
    torch.manual_seed(0)
    return registry.get(name).build(SMALL.get(name), pooling=pooling, **config)


@pytest.mark.parametrize(("name", "pooling", "config"), VARIANTS)
def test_every_parameter_has_a_layer_and_every_layer_parameters(name, pooling, config):
    network = build(name, pooling, **config)
    depths = {key: network.layer_index(key) for key, _ in network.named_parameters()}
    assert all(isinstance(depth, int) for depth in depths.values())
    top = network.n_layers + 1
    assert set(range(1, top)) <= set(depths.values()) <= set(range(top + 1))
    stacks: dict[str, dict[int, set[int]]] = {}
    for key, depth in depths.items():
        found = re.match(r"(.*?\b(?:blocks|layers|h))\.(\d+)\.", key)
        if found and not key.startswith(("teg.", "predictor.", "reconstructor.")):
            stacks.setdefault(found[1], {}).setdefault(int(found[2]), set()).add(depth)
    for stack, by_number in stacks.items():
        numbers = sorted(by_number)
        first = min(by_number[0])
        assert [by_number[i] for i in numbers] == [{first + i} for i in numbers], stack


@pytest.mark.parametrize("name", NATIVE)
def test_a_layers_output_depends_on_the_parameters_up_to_it(name):
    network = build(name).eval()
    batch = Subject(registry.get(name), SMALL.get(name) or registry.get(name).default_size).batch(1)
    parameters = {
        key: p for key, p in network.named_parameters() if key not in ELSEWHERE.get(name, ())
    }
    for layer in range(1, network.n_layers + 1):
        out = network(batch, layer=layer).values
        gradients = torch.autograd.grad(
            out.square().sum(), list(parameters.values()), allow_unused=True
        )
        used = {key for key, gradient in zip(parameters, gradients) if gradient is not None}
        above = {key for key in used if network.layer_index(key) > layer}
        assert not above, f"layer {layer} depends on {sorted(above)}"
        assert any(network.layer_index(key) == layer for key in used)
    assert any(network.layer_index(key) == 0 for key in used)


@pytest.mark.parametrize("name", NATIVE)
def test_rates_decay_from_the_output_to_the_input(name):
    network = build(name)
    groups = dict(weight_groups(network, 0.5, 1e-2))
    assert set(groups) == {f"network.{key}" for key, _ in network.named_parameters()}
    exempt = network.no_weight_decay()
    for key, parameter in network.named_parameters():
        options = groups[f"network.{key}"]
        above = network.n_layers + 1 - network.layer_index(key)
        assert options["lr"] == pytest.approx(1e-2 * 0.5**above, rel=1e-12), key
        plain = parameter.ndim <= 1 or key in exempt
        assert options.get("weight_decay") == (0.0 if plain else None), key
    assert not any("lr" in options for _, options in weight_groups(network, None, 1e-2))
