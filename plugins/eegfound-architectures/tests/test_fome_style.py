"""The FoME-style encoder and its objective."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_architectures.fome.network import FomeStyle, FusionEmbedding, log_amplitude
from eegfound_architectures.fome.objective import FomeStyleObjective, build_objective

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

TINY = {"width": 32, "depth": 2, "heads": 4}


def network(seed=0, **options):
    torch.manual_seed(seed)
    return FomeStyle(**(TINY | options)).eval()


def batch(n=2, n_channels=3, n_patches=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    signal = 0.3 * torch.randn(n, n_channels, 250 * n_patches, generator=generator)
    return SignalBatch(signal, torch.full((n_channels,), -1))


def moved(net):
    """Give every parameter, the scales' too, a value of its own."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return net


def test_sizes_are_as_large_as_documented():
    model = get_model("fome-style")
    with torch.device("meta"):
        found = {
            size: sum(p.numel() for p in model.build(size).parameters()) for size in model.sizes
        }
    assert found["tiny"] == pytest.approx(1.15e6, rel=0.01)
    assert found["small"] == pytest.approx(8.67e6, rel=0.01)
    assert found["paper-size"] == pytest.approx(685e6, rel=0.01)


def test_the_gate_mixes_waveform_and_spectrum():
    torch.manual_seed(0)
    embedding = FusionEmbedding(8)
    patches = torch.randn(5, 250)
    with torch.no_grad():
        embedding.gate.weight.zero_()
        for bias, branch in ((50.0, patches), (-50.0, None)):
            embedding.gate.bias.fill_(bias)
            expected = (
                embedding.time(patches)
                if branch is not None
                else embedding.frequency(log_amplitude(patches))
            )
            assert torch.allclose(embedding(patches), expected, atol=1e-5)
        embedding.gate.bias.zero_()
        half = 0.5 * (embedding.time(patches) + embedding.frequency(log_amplitude(patches)))
        assert torch.allclose(embedding(patches), half, atol=1e-5)


def test_the_spectrum_does_not_see_a_delay():
    tone = torch.sin(2 * torch.pi * 10 * torch.arange(300) / 250)
    a, b = log_amplitude(tone[:250]), log_amplitude(tone[7:257])
    assert a.argmax() == 10
    assert torch.allclose(a, b, atol=1e-3)


def test_scales_start_at_one_and_sum_to_two():
    x = torch.randn(3, 4, 5, 32)
    fresh, trained = network().blocks[0], moved(network()).blocks[0]
    assert torch.equal(fresh.scales(x), torch.ones(3, 2))
    scales = trained.scales(x)
    assert torch.allclose(scales.sum(dim=1), torch.full((3,), 2.0))
    assert scales.std() > 0  # every epoch has its own


def test_a_block_is_what_its_formula_says():
    block, x = moved(network()).blocks[0], torch.randn(2, 3, 4, 32)
    normed, scales = block.norm1(x), block.scales(x)
    expected = x.clone()
    for n in range(2):
        for c in range(3):  # along time, channel by channel
            expected[n, c] += scales[n, 0] * block.temporal(normed[n, c][None])[0]
        for p in range(4):  # across channels, patch by patch
            expected[n, :, p] += scales[n, 1] * block.lateral(normed[n, :, p][None])[0]
    expected = expected + block.ffn(block.norm2(expected))
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_electrodes_are_a_set_and_time_is_not():
    net, given = moved(network()), batch()
    order = torch.tensor([2, 0, 1])
    turned = SignalBatch(given.signal[:, order], given.rows)
    straight = net(given).values.unflatten(1, (3, 4))
    assert torch.allclose(net(turned).values.unflatten(1, (3, 4)), straight[:, order], atol=1e-5)
    back = given.signal.unflatten(-1, (4, 250)).flip(2).flatten(2)
    other = net(SignalBatch(back, given.rows)).values.mean(dim=1)
    assert not torch.allclose(other, straight.mean(dim=(1, 2)), atol=1e-3)


def test_tokens_know_their_place():
    net, given = network(), batch()
    tokens = net(given)
    assert tokens.channels.tolist() == [c for c in range(3) for _ in range(4)]
    assert tokens.times.tolist() == list(range(4)) * 3
    assert torch.equal(
        net(given, layer=2).values, net.encode(net.embed(given.signal), 2).flatten(1, 2)
    )
    assert torch.allclose(net.norm(net(given, layer=2).values), tokens.values, atol=1e-6)


def test_names_are_not_needed():
    X = 1e-5 * np.random.default_rng(0).standard_normal((3, 5, 500))
    info = ef.ChannelInfo([f"LAT{i}" for i in range(1, 6)], 250)  # contacts of a depth electrode
    enc = ef.make_transformer("fome-style", info=info, checkpoint=None)
    assert enc.fit_transform(X).shape == (3, 128)


def test_losses_are_those_of_hidden_patches():
    torch.manual_seed(0)
    objective, given = FomeStyleObjective(**TINY), batch()
    losses = objective(given, generator=torch.Generator().manual_seed(3))
    noise = torch.rand(2, 12, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(2, 12, dtype=torch.bool)
    for row in range(2):
        mask[row, noise[row].argsort()[7:]] = True  # 40 % of 12 are 5
    mask = mask.view(2, 3, 4)
    drawn = objective.predict(objective.network.embed(given.signal), mask)
    error = (drawn - given.signal.unflatten(-1, (4, 250)))[mask]
    assert losses.waveform.item() == pytest.approx(error.square().mean().item(), rel=1e-4)
    assert losses.total.item() == pytest.approx(
        losses.waveform.item() + 0.1 * losses.spectrum.item(), rel=1e-5
    )


def test_hidden_patches_are_not_seen():
    torch.manual_seed(0)
    objective, given = FomeStyleObjective(**TINY), batch()
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[:, 1, 2:] = True
    filled = objective.impute(given, mask)
    other = given.signal.clone()
    other[:, 1, 500:] = 99.0
    assert torch.equal(objective.impute(SignalBatch(other, given.rows), mask), filled)
    assert torch.equal(filled[:, 0], given.signal[:, 0])
    assert torch.equal(filled[:, 1, :500], given.signal[:, 1, :500])
    assert not torch.equal(filled[:, 1, 500:], given.signal[:, 1, 500:])


def test_forecasting_is_imputing_what_comes():
    torch.manual_seed(0)
    objective, given = FomeStyleObjective(**TINY), batch()
    future = objective.forecast(given, 2)
    assert future.shape == (2, 3, 500)
    longer = torch.cat([given.signal, torch.ones(2, 3, 500)], dim=-1)
    mask = torch.zeros(2, 3, 6, dtype=torch.bool)
    mask[..., 4:] = True
    assert torch.equal(objective.impute(SignalBatch(longer, given.rows), mask)[..., 1000:], future)
    with pytest.raises(SpecError, match="30 s"):
        objective.forecast(given, 27)


def test_it_learns_a_rhythm_that_all_channels_share():
    """Hidden patches can be drawn from visible ones, better than by the mean (zero)."""
    rng = np.random.default_rng(0)
    t = np.arange(750) / 250
    phase, rate = rng.uniform(0, 2 * np.pi, (32, 1, 1)), rng.choice([3, 6], (32, 1, 1))
    waves = np.sin(2 * np.pi * rate * t + phase).repeat(3, axis=1)
    given = SignalBatch(torch.from_numpy(waves.astype(np.float32)), torch.full((3,), -1))
    torch.manual_seed(0)
    objective = build_objective(**TINY)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        losses = objective(given, generator=generator)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert losses.waveform < 0.1 * given.signal.square().mean()


def test_windows_of_one_patch_have_nothing_to_learn_from():
    with pytest.raises(SpecError, match="longer windows"):
        FomeStyleObjective(**TINY)(batch(n_channels=1, n_patches=1))
    with pytest.raises(SpecError, match="mask_ratio"):
        FomeStyleObjective(mask_ratio=1.0, **TINY)
