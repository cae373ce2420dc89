"""The network: padding, order of channels, positions, gates, read-outs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_specmoe.channels import PRETRAINING_ORDER, order_of
from eegfound_specmoe.network import SpecMoE, rows_of
from eegfound_specmoe.spectrum import decades, welch
from eegfound_specmoe.times import PooledTimes, padded_length, time_stamps
from scipy import signal as scipy_signal

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch


def batch(n=2, n_channels=3, n_times=400, names=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    signal = 0.2 * torch.randn(n, n_channels, n_times, generator=generator)
    names = names or tuple(f"E{i}" for i in range(n_channels))
    return SignalBatch(signal, torch.full((n_channels,), -1), names)


@pytest.fixture(scope="module")
def make():
    """Build networks of one expert with the same experts."""
    torch.manual_seed(0)
    state = SpecMoE(n_experts=1, pooling="fused").state_dict()

    def build(**options):
        network = SpecMoE(**({"n_experts": 1} | options))
        network.load_state_dict(network.adapt_state(state)[0])
        return network.eval()

    return build


def features(network, data, pooling="reference"):
    with torch.inference_mode():
        return network.pool(network(data), pooling)


@pytest.mark.parametrize(
    ("n_channels", "n_times", "length"),
    [(22, 800, 840), (62, 200, 240), (4, 600, 600), (1, 200, 360), (2, 120, 240), (3, 1, 120)],
)
def test_windows_are_filled_up(n_channels, n_times, length):
    assert padded_length(n_channels, n_times) == length


@pytest.mark.parametrize(("n_channels", "n_times"), [(1, 200), (2, 100), (3, 119), (5, 777)])
def test_any_length_gives_tokens_of_every_channel(make, n_channels, n_times):
    with torch.inference_mode():
        tokens = make()(batch(2, n_channels, n_times))
    length = padded_length(n_channels, n_times) // 60
    assert tokens.values.shape == (2, n_channels * length, 128)
    assert torch.bincount(tokens.channels).tolist() == [length] * n_channels
    assert tokens.times.max() == length - 1
    assert torch.isfinite(tokens.values).all()


def test_numbers_of_parameters_are_the_published_ones():
    expert = SpecMoE(n_experts=1).experts[0]
    assert sum(p.numel() for p in expert.parameters()) == 1_359_456
    with torch.device("meta"):
        fused = SpecMoE(pooling="fused")
    assert sum(p.numel() for p in fused.parameters()) == 3 * 1_359_456 + 3 * (201 + 1) * 128


def test_positions_of_finetuning_do_not_know_the_duration():
    short, long = time_stamps(200)[0], time_stamps(6000)[0]
    assert short[[0, -1]].tolist() == long[[0, -1]].tolist() == pytest.approx([0.1, 1.1])
    later = time_stamps(6000, stamps="pretraining", segments=torch.tensor([0, 3]))
    assert later[:, 0].tolist() == [1, 31]
    assert later[:, -1].tolist() == [10, 40]


def test_each_position_is_repeated_for_all_channels_first():
    times = PooledTimes.of(time_stamps(240), 3)
    assert times.fine.shape == (1, 24)
    assert times.coarse.shape == (1, 12)
    assert (times.fine.view(8, 3) == times.fine.view(8, 3)[:, :1]).all()
    assert (times.fine.view(8, 3)[1:-1, 0].diff() > 0).all()
    t = time_stamps(240)[0]  # the zeros before the start are counted
    pooled = [t[:4].sum() / 8, *(t[5 * i - 4 : 5 * i + 4].mean() for i in range(1, 10))]
    assert times.fine[0, 0].item() == pytest.approx(sum(pooled).item() / 16)


def test_order_of_channels_matters(make):
    data = batch()
    turned = SignalBatch(data.signal[:, [2, 0, 1]], data.rows, data.ch_names)
    assert (features(make(), data) - features(make(), turned)).abs().max() > 1e-4


def test_channels_can_be_sorted_into_the_order_of_pretraining(make):
    names = ("Cz", "T7", "AF7", "Fp1")
    data = batch(n_channels=4, names=names)
    network = make(channel_order="pretraining")
    order = [3, 1, 0, 2]
    sorted_ = SignalBatch(data.signal[:, order], data.rows, tuple(names[i] for i in order))
    torch.testing.assert_close(features(network, data), features(make(), sorted_))
    with torch.inference_mode():
        tokens, expected = network(data), make()(sorted_)
    for place, channel in enumerate(order):
        torch.testing.assert_close(
            tokens.values[:, tokens.channels == channel],
            expected.values[:, expected.channels == place],
        )
    assert order_of(PRETRAINING_ORDER, 19, "pretraining") == list(range(19))


@pytest.mark.parametrize("training", [False, True])
def test_evaluation_is_the_same_with_and_without_gradients(make, training):
    network = make(dropout=0.0).train(training)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with_gradients = network(batch(2, 3, 600)).values.detach()
    network.load_state_dict(before)
    with torch.no_grad():
        without = network(batch(2, 3, 600)).values
    torch.testing.assert_close(with_gradients, without, rtol=1e-4, atol=1e-4)


def test_an_evaluation_changes_nothing(make):
    network = make()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network(batch())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_rows_are_read_again_not_transposed():
    output = torch.arange(2 * 6 * 4.0).view(1, 6, 8)  # 6 features, 2 channels, 4 times
    means = output.view(1, 6, 2, 4).mean(dim=-1)
    assert torch.equal(rows_of(output, 2, "mean")[0].flatten(), means.flatten())
    assert rows_of(output, 2, "max").shape == (1, 2, 6)


def test_read_outs_are_what_they_are_called(make):
    data = batch()
    network = make()
    with torch.inference_mode():
        values = network(data).values
    maps = values.view(2, 3, 8, 128).permute(0, 3, 1, 2)  # feature, channel, time
    per_feature = maps.mean(dim=(2, 3))
    torch.testing.assert_close(features(network, data, "per_feature"), per_feature)
    reference = maps.mean(dim=3).reshape(2, 3, 128).mean(dim=1)
    torch.testing.assert_close(features(network, data), reference)
    largest = make(time_pool="max", channel_pool="max")
    expected = maps.amax(dim=3).reshape(2, 3, 128).amax(dim=1)
    torch.testing.assert_close(features(largest, data), expected)
    assert network.pool(network(data), "channels") is None


def test_gates_weigh_the_rows(make):
    data = batch()
    network = make(pooling="fused")
    with torch.inference_mode():
        x, _ = network.prepare(data.signal, data.ch_names)
        (gate,) = network.gates(network.spectrum(x, 400))
        rows = rows_of(network.experts[0](x, network.times(x, 400)), 3, "mean")
        torch.testing.assert_close(features(network, data, "fused"), (rows * gate).mean(dim=1))
    with pytest.raises(SpecError, match="leave out layer="):
        network(data, layer=2)
    assert network.readout_parameters() == {"gate_LinearT_1.weight", "gate_LinearT_1.bias"}
    assert make().readout_parameters() == set()


def test_gates_see_the_amplitude_only_on_a_logarithmic_scale(make):
    data = batch()
    torch.manual_seed(0)
    spread = {}
    for log_psd in (False, True):
        network = make(pooling="fused", log_psd=log_psd)
        gates = []
        for size in (1.0, 2.0):
            x, _ = network.prepare(size * data.signal, data.ch_names)
            with torch.inference_mode():
                gates.append(network.gates(network.spectrum(x, 400))[0])
        spread[log_psd] = (gates[0] - gates[1]).abs().mean()
    assert spread[True] > 10 * spread[False]


@pytest.mark.parametrize(("n_times", "seconds"), [(840, 2), (400, 2), (240, 1), (1200, 1)])
def test_spectra_are_welchs(n_times, seconds):
    x = batch(2, 3, n_times).signal
    size = 200 * seconds
    _, expected = scipy_signal.welch(
        (x - x.mean(dim=-1, keepdim=True)).double().numpy(), fs=200, window="hann", nperseg=size,
        noverlap=200 if seconds == 2 else 0, detrend=False, return_onesided=False,
    )  # fmt: skip
    found = welch(x, n_times=n_times, seconds=seconds).numpy()
    np.testing.assert_allclose(found, expected[..., : size // 2 + 1], rtol=1e-4, atol=1e-8)


def test_windows_of_one_second_get_the_same_frequencies():
    x = torch.sin(2 * torch.pi * 10 * torch.arange(240) / 200)[None, None]
    short = welch(x, n_times=200)[0, 0]
    assert short.shape == (201,)
    assert short.argmax() == 20  # 10 Hz on a grid of 0.5 Hz
    torch.testing.assert_close(short[::2], welch(x, n_times=200, seconds=1)[0, 0])


def test_decades_are_counted_from_ten_microvolt_squared():
    assert decades(torch.tensor([0.0, 1e-3, 1e-1])).tolist() == pytest.approx([-4, 0, 2], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attention": "sparse"}, "attention='sparse'"),
        ({"time_pool": "median"}, "time_pool='median'"),
        ({"channel_order": "random"}, "channel_order='random'"),
        ({"positions": "none"}, "positions='none'"),
        ({"n_experts": 0}, "n_experts=0"),
        ({"psd_seconds": 3}, "psd_seconds=3"),
    ],
)
def test_unknown_options_are_refused(options, told):
    with pytest.raises(SpecError, match=told):
        SpecMoE(**({"n_experts": 1} | options))


def test_depths_follow_the_stages(make):
    network = make(pooling="fused")
    assert network.layer_index("experts.0.Down1.features1.0.weight") == 0
    assert network.layer_index("experts.0.TransformerEnc2.lin_1.bias") == 5
    assert network.layer_index("experts.0.Bottom2.features.0.weight") == 6
    assert network.layer_index("gate_LinearT_1.weight") == 7


@pytest.mark.parametrize(
    ("layer", "width", "hop"),
    [(0, 64, 7.5), (1, 64, 30), (2, 64, 30), (3, 128, 60), (4, 128, 60), (5, 128, 60)],
)
def test_every_stage_can_be_read(make, layer, width, hop):
    with torch.inference_mode():
        tokens = make()(batch(n_times=480), layer=layer)
    assert tokens.values.shape == (2, 3 * 480 / hop, width)
    assert torch.bincount(tokens.channels).tolist() == [480 / hop] * 3


def test_the_last_stage_is_the_output(make):
    with torch.inference_mode():
        last, out = make()(batch(), layer=6), make()(batch())
    assert torch.equal(last.values, out.values)
