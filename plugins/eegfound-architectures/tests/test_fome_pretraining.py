"""The FoME-style stage in a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_architectures import FomeStylePretrainer
from eegfound_architectures.fome.network import log_amplitude
from eegfound_architectures.fome.objective import build_objective
from eegfound_architectures.plugin import FOME_STYLE

import eegfound as ef
from eegfound.models.network import SignalBatch

TINY = {"width": 32, "depth": 1, "heads": 2}


def objective(**options):
    torch.manual_seed(0)
    return build_objective(**(TINY | options))


def batch(n=4, n_channels=4, n_patches=2, seed=0):
    """Waves of a few rates that all channels share, and noise."""
    generator = torch.Generator().manual_seed(seed)
    phase = 6.28 * torch.rand(n, 1, 1, generator=generator)
    rate = torch.randint(2, 5, (n, 1, 1), generator=generator)
    t = torch.arange(250 * n_patches) / 250
    noise = 0.1 * torch.randn(n, n_channels, len(t), generator=generator)
    return SignalBatch(torch.sin(6.28 * rate * t + phase) + noise, torch.full((n_channels,), -1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_training_falls_below_what_looks_at_nothing():
    pre = objective().train()
    optimizer = torch.optim.Adam(pre.parameters(), 3e-3)
    for step in range(80):
        optimizer.zero_grad()
        pre(batch(n=16, seed=step), generator=seeded(step)).total.backward()
        optimizer.step()
        pre.after_step(step / 80)
    with torch.no_grad():
        found = pre.eval().measure(batch(n=16, seed=1000), generator=seeded())
    assert found["waveform"] < 0.4 * found["waveform_trivial"], found
    assert found["total"] < 0.6 * found["total_trivial"], found


def test_measures_are_errors_on_what_is_hidden():
    pre, data = objective().train(), batch()
    losses = pre(data, generator=seeded())
    pre.after_step(1.0)
    with torch.no_grad():
        found = pre.eval().measure(data, generator=seeded())
    patches = data.signal.unflatten(-1, (2, 250))
    mask = pre.draw(patches, seeded())
    hidden = patches[mask]
    for name in ("total", "waveform", "spectrum"):
        torch.testing.assert_close(found[name], getattr(losses, name).detach())
    flat = patches.flatten(0, 2)
    usual = {"waveform": (flat.mean(dim=0) - hidden).square().mean()}
    mean = log_amplitude(flat).mean(dim=0)
    usual["spectrum"] = (mean - log_amplitude(hidden)).abs().mean()
    usual["total"] = usual["waveform"] + 0.1 * usual["spectrum"]
    for name, value in usual.items():
        torch.testing.assert_close(found[f"{name}_trivial"], value)
    torch.testing.assert_close(found["waveform_zero"], hidden.square().mean())
    error = []
    for n, c, p in mask.nonzero().tolist():
        seen = patches[n, ~mask[n, :, p], p]
        guess = seen.mean(dim=0) if len(seen) else torch.zeros(250)
        error.append((guess - patches[n, c, p]).square().mean())
    torch.testing.assert_close(found["waveform_neighbours"], torch.stack(error).mean())


def test_a_step_in_parts_is_the_step():
    whole, parts, data = objective().train(), objective().train(), batch()
    whole(data, generator=seeded()).total.backward()
    masks = whole.draw(data.signal.unflatten(-1, (2, 250)), seeded())
    for at in (slice(0, 1), slice(1, 4)):
        parts.draw = lambda patches, generator, at=at: masks[at]
        part = parts(SignalBatch(data.signal[at], data.rows)).total
        ((at.stop - at.start) / 4 * part).backward()
    for pre in (whole, parts):
        assert not pre.typical.mean.any()
        pre.after_step(1.0)
    torch.testing.assert_close(whole.typical.mean, parts.typical.mean)
    torch.testing.assert_close(whole.typical_spectrum.mean, parts.typical_spectrum.mean)
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_an_illustration_is_of_the_first_epoch():
    pre, data = objective().eval(), batch()
    shown = pre.illustrate(data, generator=seeded())
    hidden = shown["hidden"]
    assert hidden.shape == (4, 2)
    assert hidden.sum() == 3
    assert torch.equal(shown["signal"], data.signal[0])
    same = (shown["reconstruction"] == shown["signal"]).unflatten(1, (2, 250)).all(dim=-1)
    assert torch.equal(same, ~hidden)


def test_from_windows_to_a_transformer(tmp_path):
    X = 1e-5 * np.random.default_rng(0).standard_normal((6, 3, 500))
    info = ef.ChannelInfo(["C3", "Cz", "C4"], 250)
    options = {"width": 32, "depth": 1, "heads": 2}
    pre = ef.make_pretrainer(
        "fome-style", info=info, max_epochs=2, model_params=options, random_state=0
    ).fit(X, groups=[0, 0, 1, 1, 2, 2])
    assert isinstance(pre, FomeStylePretrainer)
    assert pre.evaluate(X)["total"] == pytest.approx(-pre.score(X))
    path = pre.save(tmp_path / "mine.safetensors")
    enc = ef.make_transformer("fome-style", checkpoint=path, info=info, model_params=options)
    assert enc.fit_transform(X).shape == (6, 32)
    assert torch.equal(enc.encoder_.network.positions, pre.encoder_.positions)


def test_there_is_no_recipe_of_a_paper():
    (stage,) = FOME_STYLE.stages
    assert not stage.recipes
    pre = ef.make_pretrainer("fome-style", recipe="paper", info=ef.ChannelInfo(["C3", "C4"], 250))
    with pytest.raises(ef.base.SpecError, match="no pretraining recipes"):
        pre.fit(1e-5 * np.random.default_rng(0).standard_normal((4, 2, 500)))
