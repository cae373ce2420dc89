"""DARE-EEG's pretraining."""

from __future__ import annotations

import pytest
import torch
from eegfound_dare.objective import ABLATIONS, DAREObjective, build_objective
from eegfound_dare.plugin import MODEL
from eegfound_dare.views import draw_second_view, shared_count

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn.slices import draw_masks

NANO = MODEL.sizes["nano"]


def batch(n=4, n_channels=20, n_times=512):
    torch.manual_seed(0)
    return SignalBatch(0.05 * torch.randn(n, n_channels, n_times), torch.arange(n_channels))


def objective(**options):
    torch.manual_seed(1)
    return build_objective(**NANO, **options)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def test_the_total_is_what_the_paper_says():
    losses = objective()(batch(), generator=seeded())
    expected = losses.reconstruction + losses.anchor + 0.1 * losses.mask + 1e-4 * losses.activation
    torch.testing.assert_close(losses.total, expected)
    squares = [z.square().mean() for z in (losses.prediction.visible, losses.second)]
    torch.testing.assert_close(losses.activation, sum(squares) / 2)


def test_ablations():
    model = objective()
    masks = draw_masks(8, 20, generator=seeded())
    second = draw_second_view(masks.visible, 20, generator=seeded())
    full = model(batch(), masks=masks, second=second)
    totals = {}
    for number, options in ABLATIONS.items():
        totals[number] = DAREObjective(model.networks, **options)(
            batch(), masks=masks, second=second
        ).total
    torch.testing.assert_close(totals[1], full.total - full.anchor)
    torch.testing.assert_close(totals[4], full.total - 0.1 * full.mask - 1e-4 * full.activation)
    torch.testing.assert_close(totals[5], full.total)
    assert totals[2] < full.total  # raw patches are small numbers
    assert totals[3] != full.total


def test_gradients_reach_what_is_trained_and_nothing_else():
    for frozen in (False, True):
        model = objective(freeze_projection=frozen)
        model(batch(), generator=seeded()).total.backward()
        networks = model.networks
        assert all(p.grad is not None for p in networks.encoder.parameters())
        assert all(p.grad is None for p in networks.target_encoder.parameters())
        head = list(networks.loss_mc.parameters())
        assert all((p.grad is None) == frozen for p in head)
        assert len(head) == 4


def test_the_momentum_encoder_follows_to_a_standstill():
    model = objective(momentum=(0.5, 1.0))
    fast, slow = model.encoder.norm.weight, model.networks.target_encoder.norm.weight
    assert torch.equal(fast, slow)
    with torch.no_grad():
        fast += 1
    model.after_step(0.0)
    torch.testing.assert_close(slow, torch.full_like(slow, 1.5))
    model.after_step(1.0)
    torch.testing.assert_close(slow, torch.full_like(slow, 1.5))


def test_second_views_stay_in_their_slices():
    masks = draw_masks(16, 58, generator=seeded())
    for number in range(20):
        second = draw_second_view(masks.visible, 58, generator=seeded(number))
        assert second.shape == masks.visible.shape
        assert torch.equal(second // 58, masks.visible // 58)
        assert all(len(set(row.tolist())) == 12 for row in second)
        shared = {len(set(a.tolist()) & set(b.tolist())) for a, b in zip(masks.visible, second)}
        assert shared == {shared_count(12, seeded(number))}


def test_the_references_second_view_mixes_slices():
    masks = draw_masks(16, 58, generator=seeded(3))
    slices = masks.visible[:, 0] // 58
    assert (slices != torch.arange(len(slices))).any()
    second = draw_second_view(masks.visible, 58, kind="reference", generator=seeded())
    for row, (first, other) in enumerate(zip(masks.visible, second)):
        new = [i for i in other.tolist() if i not in first.tolist()]
        assert new
        assert {i // 58 for i in new} == {row}
    with pytest.raises(SpecError, match="second_view='both'"):
        draw_second_view(masks.visible, 58, kind="both")
    with pytest.raises(SpecError, match="second_view='both'"):
        objective(second_view="both")
    assert objective(second_view="reference")(batch(), generator=seeded()).total.isfinite()


def test_shared_counts_cover_the_range():
    counts = [shared_count(12, seeded(number)) for number in range(300)]
    # An overlap of 0.2 shares a third, of 0.8 eight ninths; 5 % to either side.
    assert set(range(5, 12)) <= set(counts) <= set(range(3, 12))


def test_a_view_with_few_other_channels_shares_more():
    visible = torch.arange(10)[None]
    for number in range(10):
        second = draw_second_view(visible, 12, generator=seeded(number))
        assert len(set(second[0].tolist())) == 10
        assert second.max() < 12


def test_only_matrices_decay():
    model = objective()
    exempt = model.no_weight_decay()
    named = dict(model.named_parameters())
    assert "networks.encoder.summary_token" not in exempt
    assert "networks.encoder.blocks.0.attn.qkv.bias" in exempt
    assert all(named[name].ndim == 1 for name in exempt)
