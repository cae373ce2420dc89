"""Dual self-supervision: losses, ablations, momentum, recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_eegpt.dual.objective import build_objective
from eegfound_eegpt.dual.recipe import one_cycle, parameter_groups

from eegfound.models import get_model, load_object
from eegfound.models.network import SignalBatch
from eegfound.nn.slices import EEGPT_SIZES, SliceMasks, draw_masks

MODEL = get_model("eegpt")


def batch(n=4, n_channels=6, n_times=320):
    x = 0.05 * np.random.default_rng(0).standard_normal((n, n_channels, n_times))
    rows = torch.arange(n_channels) * 3
    return SignalBatch(torch.from_numpy(x).float(), rows)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def objective():
    torch.manual_seed(0)
    return load_object(MODEL.objective)(**MODEL.sizes["tiny2"])


def test_losses_are_the_sum_of_both_parts(objective):
    losses = objective(batch(), generator=seeded())
    made = losses.prediction
    assert torch.isfinite(losses.total)
    torch.testing.assert_close(losses.total, losses.alignment + losses.reconstruction)
    alignment = ((made.predicted - made.features) ** 2).mean()  # over all slices
    torch.testing.assert_close(losses.alignment, alignment)
    assert made.predicted.shape == (4, 5, 4, 64)
    again, other = (objective(batch(), generator=seeded(s)).total for s in (3, 4))
    assert torch.equal(again, losses.total)
    assert not torch.equal(other, losses.total)


def test_training_lowers_the_loss_and_moves_the_momentum_encoder(objective):
    optimizer = torch.optim.Adam((p for p in objective.parameters() if p.requires_grad), lr=1e-3)
    slow = objective.networks.target_encoder.blocks[0].attn.qkv.weight
    before = slow.clone()
    totals = []
    for step in range(8):
        loss = objective(batch(), generator=seeded()).total
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in objective.encoder.parameters())
        optimizer.step()
        assert torch.equal(slow, before) == (step == 0)
        objective.after_step(step / 8)
        totals.append(loss.item())
    assert totals[-1] < totals[0]
    fast = objective.encoder.blocks[0].attn.qkv.weight
    assert 0 < (slow - before).norm() < 0.1 * (fast - before).norm()


def test_momentum_grows_linearly_to_one(objective, monkeypatch):
    seen = []
    monkeypatch.setattr(objective.networks, "update_momentum", seen.append)
    for progress in (0.0, 0.5, 1.0):
        objective.after_step(progress)
    assert seen == pytest.approx([0.996, 0.998, 1.0])


def test_ablations():
    made = {}
    for name, options in {
        "all": {}, "A": {"align": False}, "B": {"norm_patches": False}, "C": {"skip": False},
    }.items():  # fmt: skip
        torch.manual_seed(0)
        made[name] = build_objective(**EEGPT_SIZES["tiny1"], **options)(batch(), generator=seeded())
    assert torch.equal(made["A"].total, made["all"].reconstruction)
    assert torch.equal(made["B"].alignment, made["all"].alignment)
    assert made["B"].prediction.patches.std() == pytest.approx(0.05, rel=0.1)
    assert not torch.equal(made["C"].reconstruction, made["all"].reconstruction)


def test_masks_can_be_given_and_hidden_samples_stay_hidden(objective):
    masks = SliceMasks(torch.tensor([[0, 1], [12, 15]]), torch.tensor([2, 7, 24]))
    objective.eval()
    first = objective(batch(), masks=masks).prediction
    changed = batch()
    changed.signal[:, 5, 64:128] += 1  # slice 1 is hidden, and so is channel 5 elsewhere
    second = objective(changed, masks=masks).prediction
    assert torch.equal(first.predicted, second.predicted)
    assert torch.equal(first.rebuilt, second.rebuilt)
    assert not torch.equal(first.features, second.features)


def test_input_scale_multiplies_the_signal():
    results = []
    for scale, x in ((2.0, batch()), (1.0, SignalBatch(2 * batch().signal, batch().rows))):
        torch.manual_seed(0)
        made = build_objective(**EEGPT_SIZES["tiny1"], input_scale=scale)
        results.append(made(x, generator=seeded()).total)
    assert torch.equal(*results)


def test_the_number_of_visible_channels_can_be_set():
    made = build_objective(**EEGPT_SIZES["tiny1"], n_visible=5, hide_slice=0.0, rebuild=1.0)
    prediction = made(batch(), generator=seeded()).prediction
    assert prediction.visible.shape[1] == 5  # no slice is hidden
    assert prediction.rebuilt.shape[1] == 5  # one channel of each
    assert draw_masks(5, 6, n_visible=5, hide_slice=0.0, rebuild=1.0).visible.shape == (5, 5)


def test_the_encoder_fits_the_transformers_network(objective):
    network = MODEL.build("tiny2")
    network.load_state_dict(objective.encoder.state_dict())
    network.load_state_dict(objective.networks.target_encoder.state_dict())


def test_recipe(objective):
    decayed, plain = parameter_groups(objective)
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert len(decayed["params"]) + len(plain["params"]) == len(trained)
    assert decayed["weight_decay"] == 1e-6
    assert plain["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert any(p is objective.encoder.chan_embed.weight for p in decayed["params"])
    optimizer, schedule = one_cycle(objective, 100)
    rates, betas = [], []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        betas.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        if len(rates) < 100:
            schedule.step()
    assert rates[0] == pytest.approx(2.5e-4)
    assert max(rates) == pytest.approx(5e-4)
    assert np.argmax(rates) == 19
    assert rates[-1] == pytest.approx(3.125e-5)
    assert (min(betas), max(betas)) == pytest.approx((0.85, 0.95))
