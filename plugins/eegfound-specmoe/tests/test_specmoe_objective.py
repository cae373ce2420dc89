"""Pretraining: masks, targets, losses, several experts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from eegfound_specmoe.decoder import Decoded
from eegfound_specmoe.losses import amplitude, reconstruction_losses, spectral_error
from eegfound_specmoe.masking import Masking
from eegfound_specmoe.objective import build_objective
from scipy import signal as scipy_signal

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch


def batch(n=2, n_channels=2, n_times=480):
    signal = 0.2 * torch.randn(n, n_channels, n_times, generator=torch.Generator().manual_seed(0))
    return SignalBatch(signal, torch.full((n_channels,), -1), ("C3", "C4")[:n_channels])


@pytest.fixture
def objective():
    torch.manual_seed(0)
    return build_objective(n_channels=2, dropout=0.0).eval()


@pytest.mark.parametrize("n_times", [200, 480, 1130, 6000])
def test_masking_is_scipys_transform_there_and_back(n_times):
    masking = Masking()
    mask = masking.draw(n_times, np.random.RandomState(3))
    x = np.random.default_rng(0).standard_normal((2, n_times))
    filled = np.pad(x, ((0, 0), (0, max(0, 400 - n_times))))
    size = {"fs": 200, "nperseg": 400, "noverlap": 200}
    plane = scipy_signal.stft(filled, **size)[2][..., : mask.shape[1]]
    expected = scipy_signal.istft(plane * mask, **size)[1][:, :n_times]
    found = masking.apply(torch.from_numpy(x)[None], torch.from_numpy(mask)[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_no_mask_changes_nothing():
    x = torch.randn(2, 3, 1000, dtype=torch.float64)
    masks = torch.ones(2, 201, 6, dtype=torch.float64)
    torch.testing.assert_close(Masking().apply(x, masks), x)


@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_holes_are_added_until_enough_is_masked(ratio):
    masking = Masking(ratio=ratio)
    for seed in range(5):
        mask = masking.draw(6000, np.random.RandomState(seed))
        assert ratio <= 1 - mask.mean() < ratio + 0.2
        assert mask.min() >= 0
        assert mask.max() <= 1


@pytest.mark.parametrize(("types", "axis"), [((1, 0, 0), 1), ((0, 1, 0), 0)])
def test_holes_in_one_direction_only(types, axis):
    mask = Masking(types=types).draw(6000, np.random.RandomState(0))
    assert np.ptp(mask, axis=axis).max() < 1e-12


@pytest.mark.parametrize(
    "options", [{"ratio": 1.0}, {"level": 0}, {"types": (1, 1, 1)}, {"band_bias": 2}, {"hop": 100}]
)
def test_impossible_masks_are_refused(options):
    with pytest.raises(SpecError):
        Masking(**options)


def test_masks_of_an_index_follow_seed_and_epoch(objective):
    direct = Masking().draw(480, np.random.RandomState(41 + 100 * 7))
    np.testing.assert_array_equal(objective.masks(1, 480, indices=[7])[0].numpy(), direct)
    objective.start_epoch(3, 50)
    later = Masking().draw(480, np.random.RandomState(41 + 100 * 7 + 3))
    np.testing.assert_array_equal(objective.masks(1, 480, indices=[7])[0].numpy(), later)
    objective.deterministic_masks = True
    np.testing.assert_array_equal(objective.masks(1, 480, indices=[7])[0].numpy(), direct)


def test_masks_without_indices_come_from_the_generator(objective):
    draws = [
        objective.masks(2, 480, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])


def test_the_target_is_the_signal_or_the_masked_signal():
    totals = {}
    for target in ("clean", "masked_input"):
        torch.manual_seed(0)
        objective = build_objective(n_channels=2, dropout=0.0, target=target).eval()
        with torch.no_grad():
            losses = objective(batch(), indices=[0, 1])
            masks = objective.masks(2, 480, indices=[0, 1])
            masked = objective.masking.apply(batch().signal, masks)
            goal = batch().signal if target == "clean" else masked
            fine = objective.reconstruct(masked)[0].fine
            coarse = objective.reconstruct(masked)[0].coarse
        expected = 0.6 * (F.mse_loss(fine, goal) + F.mse_loss(coarse, goal))
        torch.testing.assert_close(losses.squared, expected)
        totals[target] = losses.total.item()
    assert totals["clean"] != totals["masked_input"]
    with pytest.raises(SpecError, match="target='both'"):
        build_objective(target="both")


def test_the_total_is_the_sum_of_its_parts(objective):
    losses = objective(batch(), indices=[0, 1])
    parts = losses.squared + losses.spectral + losses.stretched2 + losses.stretched1
    torch.testing.assert_close(losses.total, parts)
    losses.total.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("rows", [None, [(1, 0), (0, 1)]])
def test_relative_losses_are_those_of_signals_of_equal_amplitude(rows):
    torch.manual_seed(0)
    target = torch.randn(2, 2, 480) * torch.tensor([[0.05], [2.0]])
    level = amplitude(target)
    signals = [torch.randn(2, 2, length) for length in (480, 480, 128, 32)]
    unused = (torch.empty(0),) * 3
    decoded = Decoded(*signals, *unused)
    own = level if rows is None else level[:, [channel for _, channel in sorted(rows)]]
    units = (level, level, own, own)
    leveled = Decoded(*(s / unit for s, unit in zip(signals, units, strict=True)), *unused)
    found = reconstruction_losses(decoded, target, rows, relative=True)
    expected = reconstruction_losses(leveled, target / level, rows)
    for part in ("total", "squared", "spectral", "stretched2", "stretched1"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part))


def test_relative_losses_do_not_grow_with_the_signal(objective):
    relative = build_objective(n_channels=2, dropout=0.0, relative=True).eval()
    quiet = batch()
    loud = SignalBatch(20 * quiet.signal, quiet.rows, quiet.ch_names)

    def of_silence(obj, given):
        found = obj.measure(given, generator=torch.Generator().manual_seed(1))
        return torch.stack([found["total_zero"], found["hidden_zero"]])

    torch.testing.assert_close(of_silence(relative, loud), of_silence(relative, quiet))
    torch.testing.assert_close(of_silence(objective, loud), 400 * of_silence(objective, quiet))
    flat = SignalBatch(torch.zeros_like(quiet.signal), quiet.rows, quiet.ch_names)
    assert relative(flat).total.isfinite()


def test_short_signals_get_shorter_frames():
    x, y = torch.randn(2, 1, 2, 200)
    window = torch.hann_window(256)
    a, b = (torch.stft(s[0], 256, 128, window=window, return_complex=True).abs() for s in (x, y))
    torch.testing.assert_close(spectral_error(x, y), F.mse_loss(a, b))
    with pytest.raises(SpecError, match="at least 3 samples"):
        spectral_error(x[..., :2], y[..., :2])


def test_other_numbers_of_channels_are_named(objective):
    with pytest.raises(SpecError, match="n_channels=1"):
        objective(batch(n_channels=1))
    assert build_objective().decoders[0].aux_head_up1[0].out_features == 19


def test_windows_that_must_be_filled_up(objective):
    assert torch.isfinite(objective(batch(n_times=410), indices=[0, 1]).total)


def test_segments_change_the_positions(objective):
    with torch.no_grad():
        first = objective(batch(), indices=[0, 1])
        later = objective(batch(), indices=[0, 1], segments=torch.tensor([0, 9]))
    assert first.total != later.total


def test_several_experts_are_trained_side_by_side():
    torch.manual_seed(0)
    both = build_objective(n_experts=2, n_channels=2, dropout=0.0).eval()
    with torch.no_grad():
        total = both(batch(), indices=[0, 1]).total
        alone = []
        for i in range(2):
            one = build_objective(n_channels=2, dropout=0.0).eval()
            one.network.experts[0].load_state_dict(both.network.experts[i].state_dict())
            one.decoders[0].load_state_dict(both.decoders[i].state_dict())
            alone.append(one(batch(), indices=[0, 1]).total)
    torch.testing.assert_close(total, torch.stack(alone).mean())


def test_the_reconstruction_is_the_mean_of_both(objective):
    with torch.no_grad():
        (decoded,) = objective.reconstruct(batch().signal)
    torch.testing.assert_close(decoded.signal, (decoded.fine + decoded.coarse) / 2)
    assert decoded.signal.shape == (2, 2, 480)
    assert decoded.stretched2.shape == (2, 2, 2 * 64)
    assert decoded.stretched1.shape == (2, 2, 2 * 16)
