"""Blocks that the plugins share."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from eegfound.nn import (
    DropPath,
    MaxNormConv1d,
    MaxNormLinear,
    MomentumEncoder,
    Objective,
    cut_patches,
    drop_path,
    hide_largest,
    info_nce,
    linear_ramp,
    rotary_angles,
    rotate,
)
from eegfound.nn.masking import masked_mean
from eegfound.nn.max_norm import bounded_rows


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotary_products_depend_on_distance_alone(interleaved):
    q, k = torch.randn(2, 8, dtype=torch.float64)

    def product(p, at):
        angles = rotary_angles(torch.tensor([float(p), float(at)]), 8)
        a, b = rotate(torch.stack([q, k]), angles, interleaved=interleaved)
        return float(a @ b)

    assert product(3, 5) == pytest.approx(product(10, 12), abs=1e-5)
    assert abs(product(3, 5) - product(3, 9)) > 1e-3


def test_rotary_pairs_as_said_and_leaves_the_rest():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    turn = torch.tensor([[math.pi / 2, 0.0]])
    torch.testing.assert_close(
        rotate(x, turn, interleaved=True), torch.tensor([[-2.0, 1.0, 3.0, 4.0, 5.0]])
    )
    torch.testing.assert_close(
        rotate(x, turn, interleaved=False), torch.tensor([[-3.0, 2.0, 1.0, 4.0, 5.0]])
    )


def test_drop_path_keeps_the_mean_and_whole_epochs():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    out = drop_path(x, 0.25, training=True)
    assert sorted(out.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert (out == out[:, :1, :1]).all()
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert DropPath(0.9).eval()(x) is x


def test_patches_drop_what_is_left_over():
    x = torch.arange(14.0).view(2, 7)
    assert cut_patches(x, 3).shape == (2, 2, 3)
    assert cut_patches(x, 3, 2)[0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


def test_masks_hide_the_largest_and_means_see_only_the_mask():
    noise = torch.tensor([[0.3, 0.1, 0.2, 0.9], [0.9, 0.8, 0.7, 0.6]])
    assert hide_largest(noise, 2).tolist() == [
        [True, False, False, True],
        [True, True, False, False],
    ]
    assert hide_largest(torch.zeros(1, 3), 1).sum() == 2  # ties hide as many
    values = torch.tensor([[1.0, 5.0], [2.0, 7.0]])
    assert masked_mean(values, torch.tensor([[True], [False]])) == 3
    assert masked_mean(values, torch.zeros(2, 2)) == 0


def test_momentum_encoder_follows_without_gradient():
    fast = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    slow = MomentumEncoder(fast)
    start = copy.deepcopy(slow.network[0].weight)
    with torch.no_grad():
        fast[0].weight.add_(1)
        fast[1].running_mean.fill_(3)
    slow.update(fast, 0.75)
    torch.testing.assert_close(slow.network[0].weight, start + 0.25)
    assert (slow.network[1].running_mean == 3).all()
    assert not slow.train().network.training
    assert not slow(torch.randn(3, 2, requires_grad=True)).requires_grad
    assert [linear_ramp(i, 4, 0.996, 1.0) for i in (0, 2, 9)] == pytest.approx([0.996, 0.998, 1])


def test_info_nce_knows_its_partner_and_is_symmetric():
    torch.manual_seed(0)
    a, b = torch.randn(2, 6, 5)
    assert info_nce(a, 3 * a, 0.01) < 1e-3
    assert info_nce(a, b, 0.1) == pytest.approx(float(info_nce(b, a, 0.1)))
    same = torch.ones(6, 5)
    assert info_nce(same, same) == pytest.approx(math.log(6))


@pytest.mark.parametrize(
    "layer", [MaxNormLinear(4, 3, max_norm=0.5), MaxNormConv1d(4, 3, max_norm=0.5)]
)
def test_rows_are_bounded_and_stored_only_while_training(layer):
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([10.0, 0.01, 5.0]).view(-1, *[1] * (layer.weight.ndim - 1)))
    before = layer.weight.detach().clone()
    x = torch.randn(2, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 6)
    read = layer.eval()(x)
    assert (layer.weight == before).all()
    trained = layer.train()(x)
    torch.testing.assert_close(trained, read)
    norms = layer.weight.flatten(1).norm(dim=1)
    assert (norms <= 0.5 + 1e-6).all()
    assert (layer.weight[1] == before[1]).all()  # short rows stay
    torch.testing.assert_close(layer.weight.detach(), bounded_rows(before, 0.5))
    trained.sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_an_objective_must_say_what_it_is():
    with pytest.raises(TypeError, match="encoder"):
        _ = Objective().encoder
    with pytest.raises(TypeError, match="forward"):
        Objective()(None)
