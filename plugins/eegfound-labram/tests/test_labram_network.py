"""The encoder: against formulas written out, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from eegfound_labram.blocks import Block
from eegfound_labram.network import LaBraM
from eegfound_labram.vocabulary import BEYOND_THE_TABLE, VOCABULARY

from eegfound.models import get_model
from eegfound.models.network import SignalBatch
from eegfound.testing.golden import fill_network

SMALL = {"out_chans": 4, "depth": 2, "num_heads": 4}
VARIANTS = {
    "mean": SMALL,
    "cls": SMALL | {"pooling": "cls"},
    "tokenizer": SMALL | {"qkv_bias": True, "qk_norm": False, "init_values": 0.0},
    "biased": SMALL | {"qkv_bias": True},
}


def build(**config) -> LaBraM:
    network = LaBraM(**config).eval()
    fill_network(network, "network tests")
    return network


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.4 * torch.randn(shape, generator=generator)


def written_out(network: LaBraM, signal: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The encoder once more, in float64, step by step from its description."""
    w = {k: v.double() for k, v in network.state_dict().items()}
    n, n_channels, n_times = signal.shape
    n_patches, heads = n_times // 200, network.blocks[0].attn.heads
    x = signal.double().reshape(n, 1, n_channels * n_patches, 200)
    for i, (stride, pad) in enumerate([(8, 7), (1, 1), (1, 1)], start=1):
        part = f"patch_embed.conv{i}"
        x = F.conv2d(x, w[f"{part}.weight"], w[f"{part}.bias"], (1, stride), (0, pad))
        x = F.group_norm(x, 4, w[f"patch_embed.norm{i}.weight"], w[f"patch_embed.norm{i}.bias"])
        x = F.gelu(x)
    x = x.permute(0, 2, 3, 1).flatten(2)
    places = [
        w["pos_embed"][0, r + 1] + w["time_embed"][0, t] for r in rows for t in range(n_patches)
    ]
    first = w["cls_token"][0] + w["pos_embed"][0, :1]
    x = torch.cat([first.expand(n, 1, -1), x + torch.stack(places)], dim=1)

    def norm(x, key):
        return F.layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"], 1e-6)

    for i in range(network.n_layers):
        key = f"blocks.{i}"
        q, k, v = (norm(x, f"{key}.norm1") @ w[f"{key}.attn.qkv.weight"].T).chunk(3, dim=-1)
        if f"{key}.attn.q_bias" in w:
            q, v = q + w[f"{key}.attn.q_bias"], v + w[f"{key}.attn.v_bias"]
        q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))
        if f"{key}.attn.q_norm.weight" in w:
            q, k = norm(q, f"{key}.attn.q_norm"), norm(k, f"{key}.attn.k_norm")
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        out = (weights @ v).transpose(1, 2).flatten(2)
        out = out @ w[f"{key}.attn.proj.weight"].T + w[f"{key}.attn.proj.bias"]
        x = x + out * w.get(f"{key}.gamma_1", 1.0)
        out = F.gelu(
            norm(x, f"{key}.norm2") @ w[f"{key}.mlp.fc1.weight"].T + w[f"{key}.mlp.fc1.bias"]
        )
        out = out @ w[f"{key}.mlp.fc2.weight"].T + w[f"{key}.mlp.fc2.bias"]
        x = x + out * w.get(f"{key}.gamma_2", 1.0)
    return norm(x, "norm") if "norm.weight" in w else x


@pytest.mark.parametrize("shape", [(3, 1, 200), (2, 5, 600), (2, 13, 3200)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_encoder_is_what_its_description_says(variant, shape):
    network = build(**VARIANTS[variant])
    rows = torch.randperm(128, generator=torch.Generator().manual_seed(1))[: shape[1]]
    signal = noise(*shape)
    expected = written_out(network, signal, rows)
    with torch.inference_mode():
        fast = network(SignalBatch(signal, rows)).values
    trained = network(SignalBatch(signal, rows)).values
    assert trained.requires_grad
    for got in (fast, trained):
        assert (got.double() - expected).abs().max() < 5e-6 * expected.abs().max()


def test_training_path_has_the_gradients_of_the_description():
    network = build(**SMALL)
    rows, signal = torch.tensor([3, 90]), noise(2, 2, 400).requires_grad_()
    direction = noise(2, 5, 100, seed=4)
    (got,) = torch.autograd.grad(
        (network(SignalBatch(signal, rows)).values * direction).sum(), signal
    )
    again = signal.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad((written_out(network, again, rows) * direction).sum(), again)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("size", "count"), [("base", 5_819_936), ("large", 46_258_720), ("huge", 369_235_712)]
)
def test_published_sizes(size, count):
    with torch.device("meta"):
        network = get_model("labram").build(size)
    assert sum(p.numel() for p in network.parameters()) == count


def test_vocabulary_is_the_published_table():
    assert len(VOCABULARY) == 128
    upper = [name.upper() for name in VOCABULARY]
    assert len(set(upper)) == 128
    assert not set(upper) & set(BEYOND_THE_TABLE)
    tuab = {
        "FP1": 1, "FP2": 3, "F3": 18, "F4": 22, "C3": 40, "C4": 44, "P3": 62, "P4": 66, "O1": 81,
        "O2": 83, "F7": 16, "F8": 24, "T3": 89, "T4": 91, "T5": 90, "T6": 92, "A1": 95, "A2": 96,
        "FZ": 20, "CZ": 42, "PZ": 64, "T1": 113, "T2": 114,
    }  # fmt: skip
    assert {name: upper.index(name) + 1 for name in tuab} == tuab


def test_tokens_know_where_they_come_from():
    tokens = build(**SMALL)(SignalBatch(noise(1, 3, 400), torch.tensor([5, 1, 9])))
    assert tokens.channels.tolist() == [-1, 0, 0, 1, 1, 2, 2]
    assert tokens.times.tolist() == [-1, 0, 1, 0, 1, 0, 1]
    assert tokens.is_summary.tolist() == [True] + 6 * [False]


def test_order_of_channels_is_no_matter_but_their_names_are():
    network, signal, rows = build(**SMALL), noise(2, 6, 800), torch.tensor([0, 17, 41, 63, 80, 127])
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    with torch.inference_mode():
        read = lambda s, r: network.read_out(network.encode(network.embed(s), r))  # noqa: E731
        base = read(signal, rows)
        assert (read(signal[:, order], rows[order]) - base).abs().max() < 5e-6
        assert (read(signal[:, order], rows) - base).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 200), (3, 200), (5, 600), (22, 800), (13, 3200)])
def test_place_in_a_batch_is_no_matter_to_the_bit(shape, dtype):
    network = build(**SMALL).to(dtype)
    rows = torch.arange(shape[0])
    epoch = noise(1, *shape)
    seen = set()
    with torch.inference_mode():
        for place in (0, 3, 7):
            batch = noise(8, *shape, seed=place + 1)
            batch[place] = epoch[0]
            out = network(SignalBatch(batch.to(dtype), rows)).values[place]
            seen.add(out.float().numpy().tobytes())
    assert len(seen) == 1


def test_half_precision_agrees():
    network, rows, signal = build(), torch.arange(22), noise(4, 22, 800)
    half = build().to(torch.bfloat16)
    with torch.inference_mode():
        full = network.read_out(network.encode(network.embed(signal), rows))
        low = half.read_out(half.encode(half.embed(signal.to(torch.bfloat16)), rows)).float()
    assert F.cosine_similarity(full, low).min() > 0.999


def test_a_layer_is_the_stream_after_so_many_blocks():
    network, batch = (
        build(**SMALL | {"pooling": "cls"}),
        SignalBatch(noise(1, 2, 400), torch.tensor([1, 2])),
    )
    with torch.inference_mode():
        raw = [network(batch, layer=i).values for i in range(3)]
        assert torch.equal(network.norm(raw[2]), network(batch).values)
        assert (network.blocks[0](raw[0].clone()) - raw[1]).abs().max() < 1e-6
        assert (network.blocks[1](raw[1].clone()) - raw[2]).abs().max() < 1e-6


def test_stochastic_depth_drops_whole_branches_of_an_epoch():
    block = Block(100, 4, qkv_bias=False, qk_norm=True, drop_path=0.5)
    torch.nn.init.zeros_(block.mlp.fc2.weight)  # leaves the attention branch alone
    torch.nn.init.zeros_(block.mlp.fc2.bias)
    x = noise(64, 3, 100)
    with torch.no_grad():
        branch = block.eval()(x.clone()) - x
        torch.manual_seed(0)
        dropped = block.train()(x.clone()) - x
    scale = (dropped * branch).sum((1, 2)) / branch.square().sum((1, 2))
    assert set(scale.round().tolist()) == {0.0, 2.0}
    assert (dropped - scale.round()[:, None, None] * branch).abs().max() < 1e-5


@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate"])
@pytest.mark.parametrize("grad", [True, False])
def test_dropout_acts_in_training_only(rate, grad):
    network, batch = build(**SMALL, **{rate: 0.5}), SignalBatch(noise(2, 3, 400), torch.arange(3))
    with torch.set_grad_enabled(grad):
        assert torch.equal(network(batch).values, network(batch).values)
        network.train()
        assert (network(batch).values - network(batch).values).abs().max() > 1e-3


def test_depth_of_drop_path_grows_linearly():
    rates = [block.drop_path for block in LaBraM(depth=5, out_chans=4, drop_path_rate=0.2).blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.2, 5))


def test_initial_weights():
    torch.manual_seed(0)
    network = LaBraM(num_classes=50, init_values=0.1)
    for i, block in enumerate(network.blocks, start=1):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            assert weight.std().item() == pytest.approx(0.02 / (2 * i) ** 0.5, rel=0.05)
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert (block.gamma_1 == 0.1).all()
        assert not block.mlp.fc1.bias.any()
    assert network.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.head.weight.std().item() == pytest.approx(2e-5, rel=0.05)
    # Convolutions keep torch's own start, uniform within 1 / sqrt(15).
    assert network.patch_embed.conv1.weight.abs().max() > 0.2


def test_wrong_unit_shows():
    """A joint norm hides a unit that is too large, not one that is far too small."""
    network, rows = build(), torch.arange(8)
    signal = noise(2, 8, 800)
    with torch.inference_mode():
        read = lambda s: network.read_out(network.encode(network.embed(s), rows))  # noqa: E731
        alike = {f: F.cosine_similarity(read(signal * f), read(signal)).min() for f in (2.0, 1e-4)}
    assert alike[2.0] > 0.99
    assert alike[1e-4] < 0.95
