"""EEGPT (2024) as a stage of pretraining: parts of a batch, momentum, measures, journey 10."""

from __future__ import annotations

import eegfound_eegpt
import numpy as np
import pytest
import torch

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model, load_object
from eegfound.models.network import SignalBatch
from eegfound.nn.slices import (
    VOCABULARY,
    SliceMasks,
    draw_masks,
    one_slice_each,
    patch_measures,
)
from eegfound.nn.slices.names import grid_position

MODEL = get_model("eegpt")
STAGE = MODEL.stages[0]
NAMES = ("Fp1", "Fp2", "C3", "Cz", "C4", "O1", "O2", "Pz")
RATE = 256


def rhythms(n, n_channels=6, n_times=512, seed=0):
    """Alpha rhythm of one source, seen by all channels with other weights, in millivolt."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_times) / RATE
    rate, phase = rng.uniform(8, 12, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 1, 1))
    mixing = np.linspace(-1, 1, n_channels)[:, None]
    x = mixing * np.sin(2 * np.pi * rate * time + phase)
    return 0.03 * x + 0.001 * rng.standard_normal((n, n_channels, n_times))


def batch(n=4, **options):
    x = torch.from_numpy(rhythms(n, **options)).float()
    return SignalBatch(x, torch.arange(x.shape[1]) * 3)


def build(size="tiny1", **options):
    torch.manual_seed(0)
    return load_object(STAGE.objective)(previous={}, **{**MODEL.sizes[size], **options})


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def trained(objective):
    return [p for p in objective.parameters() if p.requires_grad]


def test_parts_of_a_batch_make_the_step_of_the_whole():
    given = batch(4)
    states = []
    for cuts in ([slice(0, 4)], [slice(0, 1), slice(1, 4)]):
        objective = build(momentum=(0.5, 1.0))
        optimizer = torch.optim.SGD(trained(objective), lr=0.5)
        before = objective.kept.chan_embed.weight.clone()
        for cut in cuts:
            part = SignalBatch(given.signal[cut], given.rows)
            losses = objective(part, generator=seeded())
            (losses.total * len(part.signal) / 4).backward()
            assert torch.equal(objective(part, generator=seeded()).total, losses.total)
        optimizer.step()
        assert torch.equal(objective.kept.chan_embed.weight, before)
        objective.after_step(0.0)
        assert not torch.equal(objective.kept.chan_embed.weight, before)
        states.append(objective.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_what_is_kept_is_the_momentum_encoder():
    objective = build()
    assert objective.kept is objective.networks.target_encoder
    network = MODEL.build("tiny1")
    network.load_state_dict(objective.kept.state_dict())


def test_measures_stand_beside_what_learns_nothing():
    objective, given = build(input_scale=10.0).eval(), batch(6)
    with torch.no_grad():
        found = objective.measure(given, generator=seeded())
        losses = objective(given, generator=seeded())
    made = losses.prediction
    assert torch.equal(found["total"], losses.total)
    torch.testing.assert_close(found["alignment"], losses.alignment)
    torch.testing.assert_close(found["reconstruction"], losses.reconstruction)
    mean = made.features.mean(dim=(0, 1), keepdim=True)
    torch.testing.assert_close(found["alignment_trivial"], (made.features - mean).square().mean())
    assert found["reconstruction_trivial"] == pytest.approx(1, abs=0.05)  # patches are normed
    torch.testing.assert_close(found["reconstruction_trivial"], made.patches.square().mean())
    assert 0 < found["embedding_std"] < found["feature_std"] < 1


def test_features_that_are_all_the_same_are_told():
    objective = build().eval()
    with torch.no_grad():
        objective.networks.target_encoder.norm.weight.zero_()
        objective.networks.target_encoder.norm.bias.normal_()
        found = objective.measure(batch(6), generator=seeded())
    for name in ("alignment_trivial", "feature_std", "embedding_std"):
        assert found[name] < 1e-5


def test_hidden_slices_and_hidden_channels_are_told_apart():
    objective = build()
    signal = batch(3).signal
    masks = SliceMasks(torch.tensor([[0, 1], [12, 15]]), torch.tensor([2, 5, 7, 24, 25, 16]))
    made = objective.networks(signal, torch.arange(6), masks)
    found = patch_measures(made, masks, 6)
    error = (made.rebuilt - made.patches).square().mean(dim=(0, 2))
    torch.testing.assert_close(found["reconstruction_in_space"], error[[0, 1, 5]].mean())
    torch.testing.assert_close(found["reconstruction_in_time"], error[[2, 3, 4]].mean())
    seen = SliceMasks(masks.visible, torch.tensor([2, 5]))
    made = objective.networks(signal, torch.arange(6), seen)
    assert "reconstruction_in_time" not in patch_measures(made, seen, 6)


@pytest.mark.parametrize("norm_patches", [True, False])
def test_a_report_can_draw_what_is_rebuilt(norm_patches):
    objective = build(input_scale=10.0, norm_patches=norm_patches).eval()
    given = batch(2, n_times=530)
    with torch.no_grad():
        drawn = objective.illustrate(given, generator=seeded())
    signal, hidden = given.signal[0, :, :512], drawn["hidden"]
    torch.testing.assert_close(drawn["signal"], signal)
    assert hidden.shape == (6, 8)
    masks = draw_masks(8, 6, rebuild=1.0, generator=seeded())
    assert hidden.sum() == 48 - masks.visible.numel()
    samples = hidden.repeat_interleave(64, dim=1)
    torch.testing.assert_close(drawn["reconstruction"][~samples], signal[~samples])
    rebuilt = drawn["reconstruction"].unflatten(1, (8, 64))[hidden]
    true = signal.unflatten(1, (8, 64))[hidden]
    assert (rebuilt - true).abs().max() > 1e-3
    if norm_patches:  # mean and spread are those of the patch itself
        torch.testing.assert_close(rebuilt.mean(dim=1), true.mean(dim=1), rtol=0, atol=0.02)


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
    assert found["reconstruction"] < 0.8 * found["reconstruction_trivial"]


def test_the_weight_of_alignment_can_grow():
    objective, given = build(align_from=0.5), batch(2)
    for progress, weight in ((0.0, 0), (0.25, 0.5), (0.5, 1), (1.0, 1)):
        objective.after_step(progress)
        losses = objective(given, generator=seeded())
        torch.testing.assert_close(losses.total, weight * losses.alignment + losses.reconstruction)
    other = build(align_from=0.5)
    objective.after_step(0.25)
    other.load_state_dict(objective.state_dict())  # as a resumed training does
    assert torch.equal(
        other(given, generator=seeded()).total, objective(given, generator=seeded()).total
    )
    with pytest.raises(SpecError, match="align_from=2"):
        build(align_from=2)


def test_training_can_begin_slice_by_slice():
    objective, given = build(single_until=0.5), batch(2)  # windows of 8 slices
    single = objective(given, generator=seeded())
    assert single.prediction.visible.shape[:2] == (16, 1)
    assert single.alignment == 0
    assert torch.equal(single.total, single.reconstruction)
    whole = build().eval()(given, generator=seeded())
    assert torch.equal(objective.eval()(given, generator=seeded()).total, whole.total)
    objective.train().after_step(0.5)
    assert objective(given, generator=seeded()).prediction.predicted.shape[:2] == (2, 8)
    slices = one_slice_each(given.signal, 64)
    assert torch.equal(slices[9], given.signal[1, :, 64:128])
    with pytest.raises(SpecError, match="single_until=-1"):
        build(single_until=-1)


def test_names_can_begin_alike_where_electrodes_are_close():
    torch.manual_seed(0)
    networks = build(names_std=0.5).networks
    place = {name: i for i, name in enumerate(VOCABULARY)}
    for table in (networks.encoder.chan_embed.weight, networks.reconstructor.chan_embed.weight):
        assert table.std().item() == pytest.approx(0.5, rel=0.2)
        near, far = (
            torch.cosine_similarity(table[place["C3"]], table[place[other]], dim=0)
            for other in ("C5", "P8")
        )
        assert near > 0.8 > 0.5 > far
    assert grid_position("T7") == (-1, 0)
    assert grid_position("OZ") == (0, -1)
    with pytest.raises(ValueError, match="A2-A1"):
        grid_position("A2-A1")


def test_fewer_patches_can_be_rebuilt():
    whole = draw_masks(8, 6, generator=seeded())
    masks = draw_masks(8, 6, n_rebuilt=5, generator=seeded())
    assert torch.equal(masks.visible, whole.visible)
    assert len(set(masks.hidden.tolist()) & set(whole.hidden.tolist())) == 5
    assert torch.equal(draw_masks(8, 6, n_rebuilt=1000, generator=seeded()).hidden, whole.hidden)
    assert build(n_rebuilt=5)(batch(2), generator=seeded()).prediction.rebuilt.shape[1] == 5
    with pytest.raises(SpecError, match="n_rebuilt=0"):
        draw_masks(8, 6, n_rebuilt=0)


def test_narrow_networks_can_begin_with_larger_weights():
    usual, larger = build().networks, build(init_std=0.06).networks
    others = [f"{name}.{name}_blocks" for name in ("predictor", "reconstructor")]
    for part in ("encoder.blocks", *others):
        weights = [made.get_submodule(part)[0].mlp.fc1.weight for made in (usual, larger)]
        assert (weights[1].std() / weights[0].std()).item() == pytest.approx(3, rel=0.05)


def test_mixed_precision():
    objective, given = build(), batch(2)
    full = objective(given, generator=seeded()).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(given, generator=seeded())
    losses.total.backward()
    torch.testing.assert_close(losses.total.float(), full, rtol=0.05, atol=0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert objective.eval().measure(given, generator=seeded())["total"].isfinite()


def test_the_papers_recipe_is_the_scripts():
    recipe = STAGE.recipes["paper"]
    assert recipe["lr_schedule"] == "onecycle_half"
    assert (recipe["lr"], recipe["max_epochs"], recipe["weight_decay"]) == (5e-4, 200, 1e-6)
    # Defaults count where a recipe says nothing, so it must say all that they do.
    for stage in (STAGE, get_model("eegpt-ar").stages[0]):
        assert set(stage.defaults) <= set(stage.recipes["paper"])
        asked = stage.recipes["paper"]["objective_params"]
        assert set(stage.defaults["objective_params"]) <= set(asked)
    exempt = build().no_weight_decay()
    named = dict(build().named_parameters())
    assert "networks.encoder.chan_embed.weight" not in exempt
    assert exempt == {n for n, p in named.items() if p.requires_grad and p.ndim == 1}


def test_journey_10(tmp_path):
    info = ef.ChannelInfo(NAMES, RATE)
    X = rhythms(12, len(NAMES)) * 1e-3  # millivolt to volt
    pre = eegfound_eegpt.EEGPTPretrainer(
        size="tiny1", info=info, max_epochs=2, train_batch_size=4, random_state=0
    )
    pre.fit(X, groups=np.repeat(np.arange(4), 3))
    path = tmp_path / "mine.safetensors"
    pre.save(path)
    made = ef.make_transformer("eegpt", checkpoint=path, info=info)
    features = made.fit_transform(X)
    assert features.shape == (12, 64)
    state = made.encoder_.network.state_dict()
    kept = pre.objective_.kept.state_dict()
    assert all(torch.equal(state[name], value.cpu()) for name, value in kept.items())
    assert not torch.equal(
        kept["patch_embed.proj.weight"], pre.objective_.encoder.patch_embed.proj.weight
    )
