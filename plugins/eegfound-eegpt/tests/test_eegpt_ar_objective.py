"""Next-signal prediction: its target, its baselines, and that it learns."""

from __future__ import annotations

import pytest
import torch
from eegfound_eegpt.ar.declaration import MODEL
from eegfound_eegpt.ar.objective import build_objective, shift_and_hold

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch

TINY = dict(MODEL.sizes["tiny"])


def batch(n=2, n_channels=3, n_times=512, seed=0):
    torch.manual_seed(seed)
    steps = 0.05 * torch.randn(n, n_channels, n_times)
    return SignalBatch(steps.cumsum(dim=-1) * 0.3, torch.arange(n_channels) + 30)


def objective(**options):
    torch.manual_seed(0)
    return build_objective(**TINY, **options)


def test_each_token_is_predicted_from_what_is_before_it():
    obj, given = objective(), batch()
    predicted = obj.predict(given.signal, given.rows)
    assert predicted.shape == (2, 3, 10, 256)
    tokens = given.signal.unfold(-1, 256, 32)
    losses = obj(given)
    errors = (predicted[..., :-1, :] - tokens).square()
    torch.testing.assert_close(losses.total, errors.mean())
    torch.testing.assert_close(losses.new_samples, errors[..., -32:].mean())
    torch.testing.assert_close(losses.per_electrode, errors.mean(dim=(2, 3)))
    # The first prediction knows the electrode alone, the last one is unused.
    torch.testing.assert_close(predicted[0, :, 0], predicted[1, :, 0])
    assert (predicted[0, 0, 0] - predicted[0, 1, 0]).abs().max() > 1e-5


def test_losses():
    given = batch()
    obj = objective()
    predicted = obj.predict(given.signal, given.rows)[..., :-1, :]
    tokens = given.signal.unfold(-1, 256, 32)
    by_hand = {
        "l2": (predicted - tokens).square().mean(),
        "l1": (predicted - tokens).abs().mean(),
        "cosine": 1
        - ((predicted * tokens).sum(-1) / predicted.norm(dim=-1) / tokens.norm(dim=-1)).mean(),
    }
    for loss, value in by_hand.items():
        losses = objective(loss=loss)(given)
        torch.testing.assert_close(losses.total, value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(losses.squared, by_hand["l2"])
    with pytest.raises(SpecError, match="loss='huber'"):
        objective(loss="huber")


@pytest.mark.parametrize("loss", ["l2", "l1"])
def test_relative_errors_are_in_units_of_each_sequence(loss):
    given = batch()
    obj = objective(loss=loss, relative=True)
    tokens = given.signal.unfold(-1, 256, 32)
    predicted = obj.predict(given.signal, given.rows)[..., :-1, :]
    power = 2 if loss == "l2" else 1
    each = (predicted - tokens).abs().pow(power).mean(dim=(2, 3))
    amplitude = tokens.square().mean(dim=(2, 3)).sqrt()
    found = obj(given)
    torch.testing.assert_close(found.per_electrode, each / amplitude.pow(power))
    torch.testing.assert_close(found.total, found.per_electrode.mean())
    # What is reported beside it stays in the unit of the signal, and so does the guess.
    assert found.squared == objective(loss=loss)(given).squared
    loud, quiet = (
        obj.measure(SignalBatch(k * given.signal, given.rows))["total_trivial"] for k in (50.0, 1.0)
    )
    torch.testing.assert_close(loud, quiet)
    flat = obj(SignalBatch(torch.zeros_like(given.signal), given.rows))
    assert flat.total.isfinite()


def test_shift_and_hold_is_the_number_to_beat():
    signal = torch.arange(320.0)
    tokens = signal.unfold(0, 256, 32)
    guess = shift_and_hold(tokens, 32)
    assert not guess[0].any()
    torch.testing.assert_close(guess[1, :224], tokens[1, :224])
    assert (guess[1, 224:] == 255).all()
    assert (shift_and_hold(tokens, 256)[1] == 255).all()
    losses = objective()(batch())
    # 224 of 256 samples are copied without error after the first token.
    ratio = losses.shift_and_hold_new_samples / losses.shift_and_hold
    assert 1 < ratio < 8
    assert losses.shift_and_hold < batch().signal.square().mean()


def test_hop_of_a_whole_token_leaves_nothing_to_copy():
    losses = objective(hop=256)(batch(n_times=1024))
    torch.testing.assert_close(losses.new_samples, losses.squared)


def test_long_windows_are_segments():
    obj, given = objective(), batch(n_times=2048)
    halves = [obj(SignalBatch(part, given.rows)) for part in given.signal.split(1024, dim=-1)]
    torch.testing.assert_close(obj(given).total, (halves[0].total + halves[1].total) / 2)


def test_it_learns_and_leaves_the_transfer_parts_alone():
    obj, given = objective(placement="pre"), batch(n=4)
    optimizer = torch.optim.AdamW(obj.parameters(), lr=3e-3)
    first = obj(given)
    for _ in range(40):
        optimizer.zero_grad()
        obj(given).total.backward()
        optimizer.step()
    last = obj(given)
    assert last.total < 0.5 * first.total
    assert last.new_samples < first.new_samples
    assert obj.encoder.special_token.grad is None
    assert not hasattr(obj.encoder, "teg")
    assert obj.no_weight_decay() == {"network.electrode_embed", "network.special_token"}
