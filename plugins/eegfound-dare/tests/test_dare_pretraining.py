"""DARE-EEG as a stage of pretraining: parts of a batch, momentum, measures, journey 10."""

from __future__ import annotations

import math

import eegfound_dare
import numpy as np
import pytest
import torch

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model, load_object
from eegfound.models.network import SignalBatch

MODEL = get_model("dare")
STAGE = MODEL.stages[0]
NAMES = ("Fp1", "Fp2", "C3", "Cz", "C4", "O1", "O2", "Pz")
RATE = 256


def rhythms(n, n_channels=6, n_times=512, seed=0):
    """A rhythm of one source, seen by all channels with other weights, in millivolt."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_times) / RATE
    rate, phase = rng.uniform(6, 20, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 1, 1))
    mixing = np.linspace(-1, 1, n_channels)[:, None]
    x = mixing * np.sin(2 * np.pi * rate * time + phase)
    return 0.03 * x + 0.001 * rng.standard_normal((n, n_channels, n_times))


def batch(n=4, **options):
    x = torch.from_numpy(rhythms(n, **options)).float()
    return SignalBatch(x, torch.arange(x.shape[1]) * 3)


def build(**options):
    torch.manual_seed(0)
    return load_object(STAGE.objective)(previous={}, **{**MODEL.sizes["nano"], **options})


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def trained(objective):
    return [p for p in objective.parameters() if p.requires_grad]


def in_parts(objective, given, cuts):
    for cut in cuts:
        part = SignalBatch(given.signal[cut], given.rows)
        losses = objective(part, generator=seeded())
        (losses.total * len(part.signal) / len(given.signal)).backward()


def test_parts_of_a_batch_make_the_step_of_the_whole_but_for_the_negatives():
    given, cuts = batch(4), ([slice(0, 4)], [slice(0, 1), slice(1, 4)])
    states = []
    for parts in cuts:  # without the contrast, whose negatives are those of the part
        objective = build(mask_weight=0.0, momentum=(0.5, 1.0))
        optimizer = torch.optim.SGD(trained(objective), lr=0.5)
        before = objective.kept.chan_embed.weight.clone()
        in_parts(objective, given, parts)
        optimizer.step()
        assert torch.equal(objective.kept.chan_embed.weight, before)
        objective.after_step(0.0)
        assert not torch.equal(objective.kept.chan_embed.weight, before)
        states.append(objective.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_an_epoch_on_its_own_has_no_negatives():
    losses = build()(batch(1), generator=seeded())
    assert losses.mask == 0
    losses.total.backward()


def test_what_is_kept_is_the_momentum_encoder():
    objective = build()
    assert objective.kept is objective.networks.target_encoder
    MODEL.build("nano").load_state_dict(objective.kept.state_dict())


def test_measures_stand_beside_what_learns_nothing():
    objective, given = build(input_scale=10.0).eval(), batch(6)
    with torch.no_grad():
        found = objective.measure(given, generator=seeded())
        losses = objective(given, generator=seeded())
    for name in ("total", "anchor", "reconstruction", "mask", "activation"):
        torch.testing.assert_close(found[name], getattr(losses, name))
    assert found["mask_trivial"] == pytest.approx(math.log(6))
    assert found["mask_accuracy_trivial"] == pytest.approx(1 / 6)
    assert 0 <= found["mask_accuracy"] <= 1
    assert found["reconstruction_trivial"] == pytest.approx(1, abs=0.05)


def test_accuracy_counts_both_directions():
    contrast = build().networks.loss_mc
    torch.manual_seed(0)
    z = torch.randn(4, 3, 1, 64)
    assert contrast.accuracy(z, z) == 1
    assert contrast.accuracy(z, z.roll(1, dims=0)) == 0
    half = z.clone()
    half[2] = half[3]  # the third is found by nobody, and finds the first of equals
    assert 0 < contrast.accuracy(z, half) < 1


def test_a_report_can_draw_what_is_rebuilt():
    objective, given = build(input_scale=10.0).eval(), batch(2)
    with torch.no_grad():
        drawn = objective.illustrate(given, generator=seeded())
    torch.testing.assert_close(drawn["signal"], given.signal[0])
    samples = drawn["hidden"].repeat_interleave(64, dim=1)
    torch.testing.assert_close(drawn["reconstruction"][~samples], given.signal[0][~samples])
    assert (drawn["reconstruction"] - given.signal[0])[samples].abs().max() > 1e-3


def evoked(n, seed):
    """Windows of the same response in noise: what is hidden follows from channel and slice."""
    response = torch.from_numpy(rhythms(1, 4, 256, seed=5)).float()
    noise = torch.randn(n, 4, 256, generator=seeded(seed))
    return SignalBatch(response + 0.003 * noise, torch.arange(4) * 3)


def test_it_learns_on_windows_it_has_not_seen():
    objective = build(input_scale=10.0, momentum=(0.9, 1.0), rebuild=1.0)
    optimizer = torch.optim.AdamW(trained(objective), lr=4e-3)
    for step in range(40):
        optimizer.zero_grad()
        objective(evoked(4, step), generator=seeded(step)).total.backward()
        optimizer.step()
        objective.after_step(step / 40)
    with torch.no_grad():
        found = objective.eval().measure(evoked(8, 1000), generator=seeded())
    assert found["reconstruction"] < 0.95 * found["reconstruction_trivial"]


def test_the_weight_of_the_anchor_can_grow():
    objective, given = build(anchor_from=0.5), batch(2)
    for progress, weight in ((0.0, 0), (0.25, 0.5), (0.5, 1), (1.0, 1)):
        objective.after_step(progress)
        losses = objective(given, generator=seeded())
        rest = losses.reconstruction + 0.1 * losses.mask + 1e-4 * losses.activation
        torch.testing.assert_close(losses.total, weight * losses.anchor + rest)
    with pytest.raises(SpecError, match="anchor_from=2"):
        build(anchor_from=2)


def test_training_can_begin_slice_by_slice():
    objective, given = build(single_until=0.5), batch(2)
    single = objective(given, generator=seeded())
    n_slices = given.signal.shape[-1] // 64
    assert single.prediction.visible.shape[:2] == (2 * n_slices, 1)
    assert single.second.shape[:2] == (2 * n_slices, 1)
    assert single.anchor == 0
    whole = build().eval()(given, generator=seeded())
    assert torch.equal(objective.eval()(given, generator=seeded()).total, whole.total)
    objective.train().after_step(0.5)
    assert objective(given, generator=seeded()).anchor > 0
    with pytest.raises(SpecError, match="single_until=-1"):
        build(single_until=-1)


def test_fewer_patches_can_be_rebuilt():
    made = build(n_rebuilt=5)(batch(2), generator=seeded())
    assert made.prediction.rebuilt.shape[1] == 5


def test_the_recipe_says_all_that_the_defaults_do():
    recipe = STAGE.recipes["paper"]
    assert set(STAGE.defaults) <= set(recipe)
    assert set(STAGE.defaults["objective_params"]) <= set(recipe["objective_params"])
    assert (recipe["lr"], recipe["train_batch_size"], recipe["max_epochs"]) == (5e-4, 72, 200)


def test_mixed_precision():
    objective, given = build(), batch(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(given, generator=seeded())
    losses.total.backward()
    full = objective(given, generator=seeded()).total
    torch.testing.assert_close(losses.total.float(), full, rtol=0.05, atol=0)


def test_journey_10(tmp_path):
    info = ef.ChannelInfo(NAMES, RATE)
    X = rhythms(12, len(NAMES)) * 1e-3  # millivolt to volt
    pre = eegfound_dare.DAREPretrainer(
        size="nano", info=info, max_epochs=2, train_batch_size=4, random_state=0
    )
    pre.fit(X, groups=np.repeat(np.arange(4), 3))
    path = tmp_path / "mine.safetensors"
    pre.save(path)
    made = ef.make_transformer("dare", checkpoint=path, info=info)
    assert made.fit_transform(X).shape == (12, 64)
    state = made.encoder_.network.state_dict()
    kept = pre.objective_.kept.state_dict()
    assert all(torch.equal(state[name], value.cpu()) for name, value in kept.items())
