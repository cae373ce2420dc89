"""Linear layers through oneDNN where MKL is slow: same numbers, same gradients, same files."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import eegfound.nn.fast_linear as linear_module
from eegfound.models.loading import build_random
from eegfound.nn.fast_linear import FEWEST_TOKENS, Linear, linear, onednn_is_faster, quicken
from eegfound.pretraining.trainer import build_objective
from eegfound.testing.toy_pretraining import staged_toy_model

SHAPES = [(3, FEWEST_TOKENS, 24), (1, 89, 24), (2, 3, 30, 24)]

needs_operation = pytest.mark.skipif(
    not linear_module._onednn_agrees(), reason="this torch has no linear layer of oneDNN"
)


@pytest.fixture
def counted(monkeypatch):
    """Let oneDNN be the faster one, and count its calls."""
    calls = []
    operation = linear_module._onednn

    def count(x, weight, bias=None):
        calls.append(tuple(x.shape))
        return operation(x, weight, bias)

    monkeypatch.setattr(linear_module, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(linear_module, "_onednn", count)
    return calls


def parameters(n_inputs=24, n_outputs=40):
    torch.manual_seed(0)
    return torch.randn(n_outputs, n_inputs), torch.randn(n_outputs)


@needs_operation
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_are_those_of_torch(counted, shape, with_bias):
    weight, bias = parameters()
    x, bias = torch.randn(*shape), bias if with_bias else None
    with torch.inference_mode():
        found = linear(x, weight, bias)
    assert counted == [shape]
    torch.testing.assert_close(found, F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


@needs_operation
def test_strided_input_and_weight(counted):
    weight, bias = parameters(24, 24)
    x = torch.randn(40, 3, 48).transpose(0, 1)[..., ::2]
    with torch.no_grad():
        found = linear(x, weight.t(), bias)
    assert counted
    torch.testing.assert_close(found, F.linear(x, weight.t(), bias), atol=1e-5, rtol=1e-5)


@needs_operation
@pytest.mark.parametrize("n_tokens", [FEWEST_TOKENS, 17, 26, 89])
def test_a_sequence_does_not_depend_on_the_others(counted, n_tokens):
    weight, bias = parameters(200, 56)
    x = torch.randn(24, n_tokens, 200)
    with torch.inference_mode():
        together = linear(x, weight, bias)
        alone = torch.cat([linear(part, weight, bias) for part in x.split([1, 2, 8, 13])])
    assert torch.equal(alone, together)
    assert counted


@needs_operation
@pytest.mark.parametrize("shape", [*SHAPES, (50, 24)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_and_gradients_of_gradients(counted, shape, with_bias):
    weight, bias = parameters()
    given = [torch.randn(*shape), weight, *([bias] if with_bias else [])]
    given = [tensor.requires_grad_() for tensor in given]
    found = []
    for function in (linear, F.linear):
        first = torch.autograd.grad(function(*given).square().sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), given)
        plain = torch.autograd.grad(function(*given).square().sum(), given)
        found.append((*first, *second, *plain))
    assert counted
    for mine, theirs in zip(*found):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@needs_operation
@pytest.mark.parametrize("shape", [*SHAPES, (50, 24)])
def test_what_comes_out_may_be_written_over(counted, shape):
    weight, bias = parameters()
    x = torch.randn(*shape)
    found = []
    for function in (linear, F.linear):
        mine = weight.clone().requires_grad_()
        out = function(x, mine, bias)
        torch.relu_(out[..., ::2].mul_(3.0))
        out.square().sum().backward()
        found += [mine.grad, out.detach()]
    assert counted
    for mine, theirs in zip(found[:2], found[2:]):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@needs_operation
def test_only_wanted_gradients_are_computed(counted):
    layer = Linear(24, 40)
    layer.weight.requires_grad_(False)
    x = torch.randn(2, 20, 24)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((40,), 40.0))
    assert len(counted) == 1  # forward only: nobody asked for the input's or the weight's
    assert layer(x.requires_grad_()).requires_grad


@needs_operation
@pytest.mark.filterwarnings("ignore:TF32")  # torch says it whenever oneDNN is switched off
@pytest.mark.parametrize(
    "case", ["double", "bfloat16", "few tokens", "pooled", "empty", "autocast", "off", "vmap"]
)
def test_everything_else_is_left_to_torch(counted, case):
    layer, x = Linear(24, 40).requires_grad_(False), torch.randn(2, 20, 24)
    with torch.no_grad():
        if case in ("double", "bfloat16"):
            kind = getattr(torch, case)
            found, x = layer.to(kind)(x.to(kind)), x.to(kind)
        elif case == "few tokens":
            x = x[:, : FEWEST_TOKENS - 1]
            found = layer(x)
        elif case == "pooled":
            x = x.flatten(0, 1)
            found = layer(x)
        elif case == "empty":
            x = x[:0]
            found = layer(x)
        elif case == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = layer(x).float()
        elif case == "off":
            with torch.backends.mkldnn.flags(enabled=False):
                found = layer(x)
        else:
            found = torch.func.vmap(layer)(x)
    assert counted == []
    close = {"rtol": 0.05, "atol": 0.05} if case == "autocast" else {}
    torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias), **close)


def test_quickening_keeps_tensors_names_hooks_and_pickles():
    class Own(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), Own(4, 4))
    before, seen = copy.deepcopy(network.state_dict()), []
    network[0].register_forward_hook(lambda module, args, out: seen.append(type(module)))
    assert quicken(network) is network
    assert [type(part) for part in network] == [Linear, nn.Tanh, Own]
    assert network.state_dict().keys() == before.keys()
    network(torch.zeros(1, 20, 4))
    assert seen == [Linear]
    again = pickle.loads(pickle.dumps(quicken(nn.Sequential(nn.Linear(4, 4)))))
    assert type(again[0]) is Linear
    assert isinstance(again[0], nn.Linear)  # what LoRA and others look for


@needs_operation
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiling_and_tracing_see_plain_torch(counted):
    layer, x = Linear(24, 40).requires_grad_(False), torch.randn(2, 20, 24)
    program = torch.export.export(layer, (x,))
    assert "aten.linear" in str(program.graph)
    with torch.no_grad():
        traced = torch.jit.trace(layer, x, check_trace=False)
    assert "aten::linear" in str(traced.inlined_graph)
    assert counted == []


@pytest.mark.parametrize(
    ("processor", "capability", "mkl", "expected"),
    [
        (("AuthenticAMD", 26), "AVX512", True, True),
        (("AuthenticAMD", 25), "AVX512", True, False),  # Zen 4: half as wide inside
        (("GenuineIntel", 26), "AVX512", True, False),  # MKL uses all of it there
        (("AuthenticAMD", 26), "AVX2", True, False),
        (("AuthenticAMD", 26), "AVX512", False, False),  # OpenBLAS and others do
    ],
)
@pytest.mark.parametrize("system", ["Linux", "Windows"])
def test_chosen_by_the_processor(
    monkeypatch, tmp_path, system, processor, capability, mkl, expected
):
    vendor, family = processor
    told = tmp_path / "cpuinfo"
    if system == "Linux":
        one = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 2\nmodel name\t: EPYC\n"
        told.write_text(f"processor\t: 0\n{one}\nprocessor\t: 1\n{one}\n")
    windows = f"AMD64 Family {family} Model 68 Stepping 0, {vendor}"
    monkeypatch.setattr(linear_module, "Path", lambda place: told)
    monkeypatch.setattr(linear_module.platform, "processor", lambda: windows)
    monkeypatch.setattr(linear_module, "_onednn_agrees", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    assert onednn_is_faster.__wrapped__() is expected


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError, None])
def test_an_operation_that_changed_is_not_used(monkeypatch, error):
    def changed(x, weight, bias=None):
        if error is not None:
            raise error("another torch")
        return F.linear(x, weight)

    monkeypatch.setattr(linear_module, "_onednn", changed)
    assert linear_module._onednn_agrees() is False


@needs_operation
def test_defaults_of_the_user_do_not_matter():
    with torch.device("meta"):
        assert linear_module._onednn_agrees()
    torch.set_default_dtype(torch.float64)
    try:
        assert linear_module._onednn_agrees()
    finally:
        torch.set_default_dtype(torch.float32)


def test_encoders_and_objectives_have_quick_layers():
    model = staged_toy_model()
    network = build_random(model, model.default_size, "mean", {}, 0)
    objective = build_objective(
        model, model.stages[0], size=model.default_size, config={}, previous={}, params={}, seed=0
    )
    for whole in (network, objective):
        kinds = {type(part) for part in whole.modules() if isinstance(part, nn.Linear)}
        assert kinds == {Linear}
