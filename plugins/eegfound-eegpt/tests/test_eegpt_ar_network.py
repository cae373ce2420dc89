"""The encoder against formulas written out, its invariances, its read-outs and sizes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from eegfound_eegpt.ar.declaration import MODEL
from eegfound_eegpt.ar.network import EEGPTAR
from eegfound_eegpt.ar.vocabulary import VOCABULARY, electrode_name, electrode_rows
from safetensors.torch import save_file

import eegfound as ef
from eegfound.base import CheckpointError, SignalWarning, SpecError
from eegfound.models.network import SignalBatch

TINY = dict(MODEL.sizes["tiny"])
INFO = ef.ChannelInfo(["Fpz", "C3", "Cz", "T6"], sfreq=256)


def build(**config):
    torch.manual_seed(0)
    network = EEGPTAR(**{**TINY, **config}).double().eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.mul_(10)  # initial weights are too small to tell layers apart
    return network


def batch(n=2, n_times=512, names=("FPZ", "C3", "CZ", "P8"), seed=1):
    torch.manual_seed(seed)
    signal = 0.3 * torch.randn(n, len(names), n_times, dtype=torch.float64)
    return SignalBatch(signal, torch.tensor(electrode_rows(names)), tuple(names))


def eeg(n=6, n_channels=4, n_times=512, seed=0):
    return 1e-5 * np.random.default_rng(seed).standard_normal((n, n_channels, n_times))


# -- the formulas, head by head, position by position -------------------------------------


def rms(x, gain):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * gain


def swiglu(state, name, x):
    gate, up, down = (state[f"{name}.{part}_proj.weight"] for part in ("gate", "up", "down"))
    a = x @ gate.T
    return (a / (1 + np.exp(-a)) * (x @ up.T)) @ down.T


def turn(u, position):
    half = len(u) // 2
    pairs = u[:half] + 1j * u[half:]
    pairs = pairs * np.exp(1j * position * 10000.0 ** (-np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag])


def attention(state, name, x, heads):
    q, k, v = (x @ state[f"{name}.{part}_proj.weight"].T for part in "qkv")
    width = x.shape[1] // heads
    out = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(x)):
            scores = [
                turn(q[i, part], i) @ turn(k[j, part], j) / np.sqrt(width) for j in range(i + 1)
            ]
            weights = np.exp(scores) / np.exp(scores).sum()
            out[i, part] = weights @ v[: i + 1, part]
    return out @ state[f"{name}.o_proj.weight"].T


def encode_by_hand(state, signal, row, *, heads, depth, pre):
    tokens = [signal[t : t + 256] for t in range(0, len(signal) - 255, 32)]
    x = np.stack([state["electrode_embed"][row], *tokens, state["special_token"]])
    x = x @ state["ete.in_proj.weight"].T + state["ete.in_proj.bias"]
    for i in range(depth):
        at = f"ete.layers.{i}"
        for part, layer in (("attn", partial(attention, heads=heads)), ("ffn", swiglu)):
            gain = state[f"{at}.{part}_norm.weight"]
            u = layer(state, f"{at}.{part}", rms(x, gain) if pre else x)
            x = x + (u if pre else rms(u, gain))
    return rms(x, state["ete.norm.weight"])


def graph_by_hand(state, z, rows, *, heads, depth):
    """All 138 nodes, most of them not active."""
    nodes = state["teg.node_embed"].copy()
    nodes[rows] += z
    active = np.isin(np.arange(len(nodes)), rows)
    width = z.shape[1] // heads
    for i in range(depth):
        at = f"teg.layers.{i}"
        w = rms(nodes, state[f"{at}.attn_norm.weight"]) @ state[f"{at}.attn.proj.weight"].T
        got = np.zeros_like(nodes)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            src = w[:, part] @ state[f"{at}.attn.score_src"][head]
            dst = w[:, part] @ state[f"{at}.attn.score_dst"][head]
            beta = np.outer(active, active) * np.exp(np.maximum(0, src[:, None] + dst))
            total = beta.sum(axis=1, keepdims=True)
            alpha = np.divide(beta, total, out=np.zeros_like(beta), where=total > 0)
            got[:, part] = alpha @ w[:, part]
        nodes = nodes + got @ state[f"{at}.attn.o_proj.weight"].T
        nodes = nodes + swiglu(state, f"{at}.ffn", rms(nodes, state[f"{at}.ffn_norm.weight"]))
    return rms(nodes, state["teg.norm.weight"])[rows]


@pytest.mark.parametrize("placement", ["sublayer_out", "pre"])
def test_encoder_and_graph_are_the_formulas(placement):
    network = build(pooling="graph", placement=placement)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    given = batch(n=1, names=("O2", "C3", "FTT7H"))
    pre = placement == "pre"
    ours = network.encode(given.signal, given.rows, special=True)[0].numpy()
    hand = np.stack(
        [
            encode_by_hand(state, x, row, heads=4, depth=2, pre=pre)
            for x, row in zip(given.signal[0].numpy(), given.rows.tolist())
        ]
    )
    np.testing.assert_allclose(ours, hand, atol=1e-5)
    nodes = graph_by_hand(state, hand[:, -1], given.rows.numpy(), heads=4, depth=2)
    tokens = network(given)
    np.testing.assert_allclose(tokens.values[0].numpy(), nodes, atol=1e-5)
    np.testing.assert_allclose(network.pool(tokens, "graph")[0], nodes.mean(axis=0), atol=1e-5)


# -- invariances ----------------------------------------------------------------------------


def test_a_token_knows_its_past_only():
    network, given = build(), batch()
    before = network.encode(given.signal, given.rows)
    later = given.signal.clone()
    later[..., 400:] += 1
    after = network.encode(later, given.rows)
    unchanged = 1 + (400 - 256) // 32 + 1  # electrode token and tokens that end before
    torch.testing.assert_close(after[..., :unchanged, :], before[..., :unchanged, :])
    assert (after[..., unchanged:, :] - before[..., unchanged:, :]).abs().amax(-1).min() > 1e-3


def test_the_special_token_changes_no_other_and_can_be_appended():
    network, given = build(read="special"), batch()
    plain = network.encode(given.signal, given.rows)
    whole = network.encode(given.signal, given.rows, special=True)
    torch.testing.assert_close(whole[..., :-1, :], plain)
    torch.testing.assert_close(network(given).values, whole[..., -1, :])
    for layer in (0, 1, 2):
        raw = network.encode(given.signal, given.rows, special=True, layer=layer)
        torch.testing.assert_close(network(given, layer=layer).values, raw[..., -1, :])


def test_electrodes_meet_in_the_graph_only():
    given = batch(n=1)
    other = given.signal.clone()
    other[:, 0] *= -2
    for pooling, alone in (("mean", True), ("special", True), ("graph", False)):
        network = build(pooling=pooling)
        a = network(given)
        b = network(SignalBatch(other, given.rows))
        moved = (a.values - b.values).abs().amax(dim=(0, 2))
        same = moved[a.channels > 0].max() < 1e-9
        assert same == alone, pooling


def test_the_order_of_electrodes_does_not_matter():
    network, given = build(pooling="graph"), batch()
    order = [2, 0, 3, 1]
    turned = SignalBatch(given.signal[:, order], given.rows[order])
    torch.testing.assert_close(
        network.pool(network(turned), "graph"), network.pool(network(given), "graph")
    )


def test_padded_electrodes_change_nothing():
    network, given = build(pooling="graph"), batch(names=("C3", "CZ", "C4"))
    nodes = network(given).values
    z = torch.nn.functional.pad(network.represent(given.signal[0], given.rows), (0, 0, 0, 2))
    rows = torch.nn.functional.pad(given.rows, (0, 2))
    active = torch.tensor([[True, True, True, False, False]])
    padded = network.teg(z[None], rows[None], active)
    torch.testing.assert_close(padded[0, :3], nodes[0])
    assert not padded[0, 3:].any()


# -- long windows and read-outs -------------------------------------------------------------


def test_long_windows_are_whole_segments_or_one_stream():
    given = batch(n_times=2048)
    halves = [SignalBatch(part, given.rows) for part in given.signal.split(1024, dim=-1)]
    for pooling in ("special", "last", "mean"):
        network = build(pooling=pooling)
        values = network(given).values.view(2, 4, -1, 32).mean(dim=2)
        by_hand = [network(half).values.view(2, 4, -1, 32).mean(dim=2) for half in halves]
        torch.testing.assert_close(values, (by_hand[0] + by_hand[1]) / 2)
    stream = build(long="stream")(given)
    assert stream.values.shape[1] == 4 * 57
    assert stream.times.max() == 56
    given = batch(n_times=2000)
    with pytest.warns(SignalWarning, match=r"hold 1 whole segments.*long"):
        cut = build()(given).values
    torch.testing.assert_close(
        cut, build()(SignalBatch(given.signal[..., :1024], given.rows)).values
    )


def test_hop_sets_the_number_of_tokens():
    assert build(hop=256)(batch(n_times=1024)).values.shape[1] == 4 * 4
    assert build(hop=32)(batch(n_times=1024)).values.shape[1] == 4 * 25


def test_read_outs_and_electrodes_combine():
    X = eeg(3)
    enc = ef.make_transformer("eegpt-ar", size="tiny", checkpoint=None, info=INFO)

    def embed(pooling, read="signal"):
        return enc.set_params(pooling=pooling, model_params={"read": read}).fit_transform(X)

    own = [embed(pooling) for pooling in ("mean", "last", "special", "graph")]
    for i, out in enumerate(own):
        assert out.shape == (3, 32)
        assert all(np.abs(out - other).max() > 1e-4 for other in own[:i])
    for read, mean in zip(("signal", "last", "special"), own):
        each = embed("channels", read)
        assert each.shape == (3, 4 * 32)
        np.testing.assert_allclose(each.reshape(3, 4, 32).mean(axis=1), mean, atol=1e-6)
    np.testing.assert_array_equal(embed("flatten", "last"), embed("channels", "last"))
    assert embed("mean_std").shape == (3, 64)


def test_wrong_options_are_named():
    for options, told in (
        ({"long": "cut"}, "long='cut'"),
        ({"read": "first"}, "read='first'"),
        ({"hop": 0}, "hop=0"),
        ({"placement": "post"}, "placement='post'"),
        ({"heads": 5}, "heads=5"),
    ):
        with pytest.raises(SpecError, match=told):
            EEGPTAR(**{**TINY, **options})
    with pytest.raises(SpecError, match="width_of_all"):
        ef.make_transformer(
            "eegpt-ar", checkpoint=None, info=INFO, model_params={"width_of_all": 3}
        ).fit(eeg())


# -- sizes, weights, training ---------------------------------------------------------------

PARAMETERS = {
    "base": 1_465_344, "large": 11_286_528, "huge": 181_291_264, "giant": 1_096_349_184,
    "tiny": 113_472, "small": 1_260_032,
}  # fmt: skip


@pytest.mark.parametrize("size", list(MODEL.sizes))
def test_parameters_of_a_size(size):
    with torch.device("meta"):
        network = MODEL.build(size, pooling="graph", next_signal=True)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[size]


def test_initial_weights():
    torch.manual_seed(0)
    network = EEGPTAR(pooling="graph", **MODEL.sizes["base"], placement="pre")
    state = network.state_dict()
    assert state["ete.in_proj.weight"].std().item() == pytest.approx(1 / 16, rel=0.05)
    assert state["ete.layers.0.attn.q_proj.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert state["ete.layers.0.attn.o_proj.weight"].std().item() == pytest.approx(
        0.02 / 6**0.5, rel=0.05
    )
    assert state["teg.layers.0.attn.o_proj.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert state["electrode_embed"].std().item() == pytest.approx(0.02, rel=0.05)
    assert state["teg.layers.0.attn.score_src"].std().item() == pytest.approx(0.02, rel=0.3)
    assert (state["ete.norm.weight"] == 1).all()
    assert not state["ete.in_proj.bias"].any()


def test_there_are_no_published_weights():
    with pytest.raises(CheckpointError, match=r"No weights are published.*checkpoint=None"):
        ef.make_transformer("eegpt-ar", size="base", info=INFO).fit(eeg())
    with pytest.raises(CheckpointError, match="No weights are published"):
        ef.make_transformer("braingpt", size="tiny", info=INFO).fit(eeg())


def test_own_weights_serve_every_read_out(tmp_path):
    torch.manual_seed(3)
    pretrained = EEGPTAR(**TINY, next_signal=True)
    path = tmp_path / "mine.safetensors"
    save_file(dict(pretrained.state_dict()), path)
    for pooling in ("mean", "special", "graph"):
        enc = ef.make_transformer(
            "eegpt-ar", size="tiny", checkpoint=path, info=INFO, pooling=pooling
        ).fit(eeg())
        report = enc.load_report_
        assert set(report.dropped) == {f"ete.head.fc{i}.{p}" for i in (1, 2)
                                       for p in ("weight", "bias")}  # fmt: skip
        assert bool(report.optional) == (pooling == "graph")
        assert all(key.startswith("teg.") for key in report.optional)
        for key, value in enc.encoder_.network.state_dict().items():
            if not key.startswith("teg."):
                assert torch.equal(value, pretrained.state_dict()[key])
    with pytest.raises(CheckpointError, match="size='tiny'"):
        ef.make_transformer("eegpt-ar", size="base", checkpoint=path, info=INFO).fit(eeg())


def test_the_read_out_is_trained_without_gradients_in_the_encoder():
    network, given = build(pooling="graph"), batch()
    own = network.readout_parameters()
    assert {"special_token", "teg.node_embed", "teg.norm.weight"} <= own
    assert all(name == "special_token" or name.startswith("teg.") for name in own)
    assert build().readout_parameters() == set()
    assert build(pooling="special").readout_parameters() == {"special_token"}

    def gradients(trained):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in trained)
            parameter.grad = None
        network.pool(network(given), "graph").square().sum().backward()
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    readout, full = gradients(own), gradients({name for name, _ in network.named_parameters()})
    assert set(readout) == own
    assert "ete.layers.0.attn.q_proj.weight" in full
    for name in own:  # encoding the past without gradients loses nothing
        torch.testing.assert_close(readout[name], full[name])


def test_classifier_of_one_task_with_the_graph():
    X = eeg(24)
    X[::2] *= 3
    y = np.tile(["loud", "soft"], 12)
    clf = ef.make_classifier(
        "eegpt-ar", size="tiny", checkpoint=None, info=INFO, pooling="graph", tuning="readout",
        max_epochs=20, lr=5e-3,
    ).fit(X, y)  # fmt: skip
    assert clf.score(X, y) > 0.8
    own, tuned = clf.encoder_.network.state_dict(), clf.net_.module_.network.state_dict()
    moved = {key for key in own if not torch.equal(own[key], tuned[key])}
    assert {"special_token", "teg.node_embed"} <= moved <= clf.encoder_.network.readout_parameters()


def test_another_read_out_shares_the_encoder():
    network, given = build(pooling="graph"), batch()
    teg = build(pooling="graph").teg
    other = network.with_readout(torch.nn.Parameter(2 * network.special_token), teg)
    assert other.ete is network.ete
    assert other.teg is teg
    assert network.teg is not teg
    assert (other(given).values - network(given).values).abs().max() > 1e-4


# -- electrodes -----------------------------------------------------------------------------


def test_vocabulary():
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 138
    rows = {"FP1": 0, "CZ": 41, "PZ": 63, "CB2": 89, "M1": 92, "T2": 95, "PPO6H": 137}
    assert {name: VOCABULARY.index(name) for name in rows} == rows


def test_names_of_files():
    names = ["EEG Fpz-Cz", "EEG Pz-Oz", "C4-M1", "EEG FP1-REF", " t3 ", "Cb1", "FFT7h"]
    assert [electrode_name(name) for name in names] == [
        "FPZ", "PZ", "C4", "FP1", "T7", "CB1", "FFT7H",
    ]  # fmt: skip
    with pytest.raises(SpecError, match=r"\['E5'\]"):
        electrode_rows(["Cz", "E5"])
    with pytest.raises(SpecError, match="keep one"):
        electrode_rows(["Fpz-Cz", "Fpz"])


@pytest.mark.parametrize("layout", ["biosemi64", "easycap-M1"])
def test_usual_caps_are_in_the_vocabulary(layout):
    import mne

    names = mne.channels.make_standard_montage(layout).ch_names
    enc = ef.make_transformer(
        "eegpt-ar", size="tiny", checkpoint=None, info=ef.ChannelInfo(names, 256)
    ).fit(eeg(2, len(names), 256))
    assert len(enc.ch_names_) == len(names)
