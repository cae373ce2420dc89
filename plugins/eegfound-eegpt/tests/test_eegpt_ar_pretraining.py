"""Autoregressive EEGPT as a stage of pretraining: parts, measures, journey 10, the graph."""

from __future__ import annotations

import eegfound_eegpt
import numpy as np
import pytest
import torch
from eegfound_eegpt.ar.objective import shift_and_hold

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model, load_object
from eegfound.models.network import SignalBatch

MODEL = get_model("eegpt-ar")
STAGE = MODEL.stages[0]
NAMES = ("Fpz", "Pz", "C3", "Cz", "C4")
RATE = 256


def rhythms(n, n_channels=3, n_times=512, seed=0):
    """Slow and alpha rhythms with phases of their own, in units of 0.1 mV."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_times) / RATE
    x = np.zeros((n, n_channels, n_times))
    for low, high, size in ((2, 4, 0.3), (8, 12, 0.2)):
        rate, phase = rng.uniform(low, high, (n, 1, 1)), rng.uniform(0, 6.3, (n, n_channels, 1))
        x += size * np.sin(2 * np.pi * rate * time + phase)
    return x


def batch(n=4, **options):
    x = torch.from_numpy(rhythms(n, **options)).float()
    return SignalBatch(x, torch.arange(x.shape[1]) + 30)


def build(size="tiny", **options):
    torch.manual_seed(0)
    return load_object(STAGE.objective)(previous={}, **{**MODEL.sizes[size], **options})


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def test_parts_of_a_batch_have_the_loss_of_the_whole():
    given, gradients = batch(4), []
    for cuts in ([slice(0, 4)], [slice(0, 1), slice(1, 4)]):
        objective = build(n_electrodes=2)
        for cut in cuts:
            part = SignalBatch(given.signal[cut], given.rows)
            (objective(part, generator=seeded()).total * len(part.signal) / 4).backward()
        gradients.append({n: p.grad for n, p in objective.named_parameters() if p.requires_grad})
    assert None not in gradients[0].values()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_some_electrodes_are_enough():
    given = batch(2, n_channels=5)
    objective = build(n_electrodes=2)
    drawn = objective(given, generator=seeded())
    assert drawn.per_electrode.shape == (2, 2)
    chosen = torch.randperm(5, generator=seeded())[:2].sort().values
    alone = build()(SignalBatch(given.signal[:, chosen], given.rows[chosen]))
    assert torch.equal(drawn.total, alone.total)
    assert torch.equal(build(n_electrodes=5)(given).total, build()(given).total)
    with torch.no_grad():  # measures take all
        found = objective.eval().measure(given, generator=seeded())
        torch.testing.assert_close(found["total"], build()(given).total)
    with pytest.raises(SpecError, match="n_electrodes=0"):
        build(n_electrodes=0)


def test_measures_stand_beside_shift_and_hold():
    given, objective = batch(3), build().eval()
    with torch.no_grad():
        found, losses = objective.measure(given), objective(given)
    assert torch.equal(found["total"], losses.total)
    torch.testing.assert_close(found["total_trivial"], losses.shift_and_hold)
    assert torch.equal(found["new_samples"], losses.new_samples)
    torch.testing.assert_close(found["new_samples_trivial"], losses.shift_and_hold_new_samples)
    new = given.signal.unfold(-1, 256, 32)[..., -32:]
    torch.testing.assert_close(found["new_samples_zero"], new.square().mean())
    with torch.no_grad():
        found = build(loss="l1").eval().measure(given)
    plain = shift_and_hold(given.signal.unfold(-1, 256, 32), 32)
    tokens = given.signal.unfold(-1, 256, 32)
    torch.testing.assert_close(found["total_trivial"], (plain - tokens).abs().mean())
    torch.testing.assert_close(found["squared_trivial"], losses.shift_and_hold)


def test_a_report_can_draw_predictions():
    given, objective = batch(2, n_times=530), build().eval()
    with torch.no_grad():
        drawn = objective.illustrate(given)
        predicted = objective.predict(given.signal[:, :, None], given.rows[:, None])[0, :, 0]
    assert drawn["signal"].shape == drawn["reconstruction"].shape == (3, 512)
    assert torch.equal(drawn["signal"], given.signal[0, :, :512])
    torch.testing.assert_close(drawn["reconstruction"][:, :256], predicted[:, 0])
    torch.testing.assert_close(drawn["reconstruction"][:, 256:288], predicted[:, 1, -32:])
    torch.testing.assert_close(drawn["reconstruction"][:, -32:], predicted[:, 8, -32:])


def test_it_learns_below_shift_and_hold_on_windows_it_has_not_seen():
    objective = build(placement="pre")
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=5e-3)
    for step in range(30):
        optimizer.zero_grad()
        objective(batch(8, seed=step)).total.backward()
        optimizer.step()
    objective.eval()
    with torch.no_grad():
        found = objective.measure(batch(16, seed=1000))
    assert found["new_samples"] < 0.6 * found["new_samples_trivial"]


def test_mixed_precision():
    objective, given = build(), batch(2)
    full = objective(given).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(given)
    losses.total.backward()
    torch.testing.assert_close(losses.total.float(), full, rtol=0.02, atol=0)


@pytest.fixture(scope="module")
def pretrained():
    info = ef.ChannelInfo(NAMES, RATE)
    X = rhythms(12, len(NAMES)) * 1e-4  # tenth of a millivolt to volt
    pre = eegfound_eegpt.EEGPTARPretrainer(
        size="tiny", info=info, max_epochs=2, train_batch_size=4, random_state=0
    )
    return pre.fit(X, groups=np.repeat(np.arange(4), 3)), X, info


def test_journey_10(pretrained, tmp_path):
    pre, X, info = pretrained
    path = tmp_path / "mine.safetensors"
    pre.save(path)
    made = ef.make_transformer("eegpt-ar", checkpoint=path, info=info)
    assert made.fit_transform(X).shape == (12, 32)
    state = made.encoder_.network.state_dict()
    kept = pre.objective_.kept.state_dict()
    assert all(torch.equal(kept[name].cpu(), value) for name, value in state.items())


def test_the_graph_is_trained_after_it_by_the_classifier_of_several_tasks(pretrained, tmp_path):
    pre, X, info = pretrained
    path = tmp_path / "mine.safetensors"
    pre.save(path)
    y, task = np.tile(["a", "b", "c"], 4), np.repeat(["first", "second"], 6)
    predicted = []
    for checkpoint in (path, pre.to_checkpoint()):
        mt = eegfound_eegpt.EEGPTMultiTaskClassifier(checkpoint=checkpoint, info=info, max_epochs=3)
        mt.fit(X, y, task=task)
        assert mt.encoder_.size == "tiny"
        own = mt.encoder_.network.ete.in_proj.weight
        assert torch.equal(own, pre.objective_.kept.ete.in_proj.weight.cpu())
        predicted.append(mt.predict_proba(X, task=task))
    np.testing.assert_array_equal(*predicted)
