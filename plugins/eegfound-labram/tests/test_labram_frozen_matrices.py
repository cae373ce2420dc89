"""The matrices of frozen convolutions are made once, and again when something changes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from eegfound_labram.patch_embed import TemporalConv


@pytest.fixture
def frozen(monkeypatch):
    torch.manual_seed(0)
    module = TemporalConv(8).eval().requires_grad_(False)
    made = []
    dense = TemporalConv._dense
    monkeypatch.setattr(TemporalConv, "_dense", lambda s, c: made.append(c) or dense(s, c))
    return module, made


def run(module, patches):
    with torch.inference_mode():
        return module(patches)


def test_they_are_made_once_and_follow_every_change(frozen):
    module, made = frozen
    patches = torch.randn(2, 5, 200)
    first = run(module, patches)
    assert torch.equal(run(module, patches), first)
    assert len(made) == 3
    with torch.no_grad():
        module.conv2.weight.mul_(1.5)
    changed = run(module, patches)
    assert len(made) == 4
    fresh = copy.deepcopy(module)
    assert not fresh._derived
    assert torch.equal(run(fresh, patches), changed)
    assert not torch.equal(changed, first)
    assert not pickle.loads(pickle.dumps(module))._derived
    module.load_state_dict({k: v * 0.5 for k, v in module.state_dict().items()})
    halved = run(module, patches)
    assert torch.equal(run(copy.deepcopy(module), patches), halved)
    rounded = module.to(torch.bfloat16).to(torch.float32)
    assert torch.equal(run(rounded, patches), run(copy.deepcopy(rounded), patches))
    assert not torch.equal(run(rounded, patches), halved)


def test_training_convolves_and_measuring_in_between_makes_them_each_time(frozen):
    module, made = frozen
    module.requires_grad_(True)
    patches = torch.randn(2, 5, 200)
    trained = module(patches)
    trained.sum().backward()
    assert not made
    for _ in range(2):
        torch.testing.assert_close(run(module, patches), trained.detach())
    assert len(made) == 6
    assert module.conv1.weight.grad.abs().sum() > 0
    assert not module._derived
