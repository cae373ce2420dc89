"""Attention with norms in place gives what attention of training gives."""

from __future__ import annotations

import pytest
import torch
from eegfound_labram.attention import Attention
from torch import nn


def build(*, qk_norm=True, qkv_bias=False, dim=40, heads=4):
    torch.manual_seed(0)
    module = Attention(dim, heads, qkv_bias=qkv_bias, qk_norm=qk_norm).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + ("norm.weight" in name))
    return module.requires_grad_(False)


def in_place(module, x, wanted=None):
    with torch.inference_mode():
        assert module._norms_in_place(x)
        return module(x, wanted)


def plain(module, x, wanted=None):
    with torch.enable_grad():
        assert not module._norms_in_place(x)
        return module(x, wanted)


@pytest.mark.parametrize("n_tokens", [1, 5, 16, 45, 89, 257])
@pytest.mark.parametrize("qkv_bias", [False, True])
def test_both_ways_agree(n_tokens, qkv_bias):
    module = build(qkv_bias=qkv_bias)
    x = torch.randn(3, n_tokens, 40)
    torch.testing.assert_close(in_place(module, x), plain(module, x), rtol=1e-4, atol=1e-5)
    wanted = torch.rand(3, n_tokens) < 0.5
    few = in_place(module, x, wanted)
    torch.testing.assert_close(few, plain(module, x, wanted), rtol=1e-4, atol=1e-5)


def test_without_norms_there_is_one_way():
    assert not build(qk_norm=False)._norms_in_place(torch.randn(2, 9, 40))


@pytest.mark.parametrize("n_tokens", [7, 13, 45, 58, 67, 89])
def test_the_place_of_an_epoch_does_not_change_a_bit(n_tokens):
    module, x = build(dim=200, heads=10), torch.randn(8, n_tokens, 200)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the suite encodes
    try:
        whole = in_place(module, x)
        for shift in (1, 3, 6):
            assert torch.equal(in_place(module, x.roll(shift, 0)).roll(-shift, 0), whole)
    finally:
        torch.set_num_threads(threads)


def test_what_is_derived_follows_every_change():
    module, x = build(qkv_bias=True), torch.randn(2, 9, 40)
    in_place(module, x)
    assert set(module._derived) == {"projection", "norms"}
    for name in ("qkv.weight", "q_bias", "v_bias", "q_norm.weight", "q_norm.bias", "k_norm.weight"):
        with torch.no_grad():
            module.get_parameter(name).add_(0.1)
        torch.testing.assert_close(in_place(module, x), plain(module, x), rtol=1e-4, atol=1e-5)
    module.requires_grad_(True)
    for parameter in module.parameters():
        parameter.data.mul_(1.1)  # leaves no trace, so nothing is kept of what is trained
    torch.testing.assert_close(in_place(module, x), plain(module, x).detach(), rtol=1e-4, atol=1e-5)


def test_a_projection_that_something_stands_in_for_is_called():
    class Doubled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 2 * self.inner(x)

    module, x = build(), torch.randn(2, 9, 40)
    module.qkv = Doubled(module.qkv)
    torch.testing.assert_close(in_place(module, x), plain(module, x), rtol=1e-4, atol=1e-5)
    assert set(module._derived) == {"norms"}


def test_half_precision_is_computed_in_single():
    module, x = build(), torch.randn(2, 9, 40)
    whole = in_place(module, x)
    half = in_place(module.to(torch.bfloat16), x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=0.1, atol=0.1)


def test_a_hook_on_the_projection_sees_its_output():
    module, x, seen = build(), torch.randn(2, 9, 40), []
    before = in_place(module, x)
    module.qkv.register_forward_hook(lambda *args: seen.append(args[2]))
    torch.testing.assert_close(in_place(module, x), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen[0], torch.nn.functional.linear(x, module.qkv.weight))
