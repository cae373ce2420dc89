"""Attention in little memory: the same numbers, gradients and bits as its definition."""

from __future__ import annotations

import pytest
import torch
from eegfound_specmoe import attention
from eegfound_specmoe.attention import attend
from eegfound_specmoe.blocks import TransformerBlock, UnbiasedNorm

from eegfound.base import SpecError


def by_definition(q, k, v):
    scores = torch.einsum("nhid,nhjd->nhij", q, k) / q.shape[-1] ** 0.5
    scores = scores * (1 - torch.eye(q.shape[-2], dtype=q.dtype))
    weights = scores.exp() / scores.exp().sum(dim=-2, keepdim=True)
    return torch.einsum("nhij,nhjd->nhid", weights, v)


def drawn(n=2, heads=3, n_tokens=13, width=4):
    torch.manual_seed(0)
    return [
        torch.randn(n, heads, n_tokens, width, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    ]


@pytest.fixture
def blocks_of(monkeypatch):
    """Set how many scores are computed at once."""
    return lambda scores: monkeypatch.setattr(attention, "_SCORES", scores)


@pytest.mark.parametrize(
    ("mode", "scores"), [("dense", 1), ("chunked", 1), ("chunked", 40), ("chunked", 2**19)]
)
def test_numbers_and_gradients_are_those_of_the_definition(blocks_of, mode, scores):
    blocks_of(scores)
    inputs = drawn()
    expected, found = by_definition(*inputs), attend(*inputs, mode=mode)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_gradients_by_finite_differences(blocks_of):
    blocks_of(10)
    inputs = drawn(1, 1, 5, 2)
    assert torch.autograd.gradcheck(lambda *x: attend(*x, mode="chunked"), inputs)


def test_each_token_hands_out_a_weight_of_one():
    q, k, _ = (x.detach() for x in drawn(1, 1, 6, 6))
    weights = attend(q, k, torch.eye(6, dtype=q.dtype)[None, None])
    torch.testing.assert_close(weights.sum(dim=-2), torch.ones(1, 1, 6, dtype=q.dtype))
    assert (weights.sum(dim=-1) - 1).abs().max() > 0.1


def test_few_tokens_are_dense_and_many_are_not(monkeypatch):
    used = []
    chunked = attention._Chunked.apply
    monkeypatch.setattr(attention._Chunked, "apply", lambda *x: used.append(1) or chunked(*x))
    attend(*drawn(n_tokens=128))
    assert not used
    attend(*drawn(n_tokens=129))
    assert used


def test_inference_keeps_no_square_of_scores(blocks_of):
    blocks_of(2**12)
    largest = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if torch.is_tensor(out):
                largest.append(out.untyped_storage().nbytes() // out.element_size())
            return out

    q, k, v = (x.detach() for x in drawn(1, 2, 600, 4))
    with Watch(), torch.no_grad():
        attend(q, k, v)
    assert max(largest) <= 2 * 600 * 4 + 2**12
    with Watch(), torch.no_grad():
        attend(q, k, v, mode="dense")
    assert max(largest) >= 600**2


def test_an_unknown_mode_is_refused():
    with pytest.raises(SpecError, match="attention='flash'"):
        attend(*drawn(), mode="flash")


def test_the_norm_divides_by_the_unbiased_deviation():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    expected = (x - 3) / (torch.std(x, correction=1) + 1e-6)
    torch.testing.assert_close(UnbiasedNorm(4)(x), expected)
    flat = torch.ones(1, 4, requires_grad=True)
    UnbiasedNorm(4)(flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_training_and_inference_of_a_block_agree():
    torch.manual_seed(1)
    block = TransformerBlock(64).eval()
    x, positions = torch.randn(2, 150, 64), torch.linspace(0.1, 1.1, 150)[None]
    with torch.inference_mode():
        plain = block(x, positions)
    with_gradients = block(x.requires_grad_(), positions)
    torch.testing.assert_close(plain, with_gradients.detach(), rtol=1e-5, atol=1e-5)
