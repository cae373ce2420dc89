"""The encoder and the language model: tables, order of tokens, masks, places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from eegfound_neurolm.language import GPT2, visible
from eegfound_neurolm.network import NeuroLM, lay_out
from eegfound_neurolm.patch_embed import TemporalConv
from eegfound_neurolm.tokenizer import NeuralTokenizer
from eegfound_neurolm.vocabulary import CHANNELS, PAD, VOCABULARY, byte_ids

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

MODEL = get_model("neurolm")


def batch(n=2, rows=(2, 40, 137), n_seconds=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, len(rows), 200 * n_seconds, generator=generator)
    return SignalBatch(signal, torch.tensor(rows))


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return NeuroLM(**(MODEL.sizes["tiny"] | options)).eval()


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_the_table_has_the_places_of_the_authors_list():
    assert len(CHANNELS) == 139
    assert len(set(CHANNELS)) == 139
    assert CHANNELS[PAD] == "pad"
    assert PAD == 136
    assert CHANNELS[137:] == ("I1", "I2")
    assert CHANNELS[:3] == ("FP1", "FPZ", "FP2")
    assert CHANNELS[80] == "O1"  # after the rows FP to PO
    assert CHANNELS[120] == "FP1-F7"
    assert CHANNELS[135] == "P4-O2"
    assert len(VOCABULARY) == 138
    assert "pad" not in VOCABULARY


def test_parameters_are_as_many_as_published():
    with torch.device("meta"):
        encoder = MODEL.build("base")
        assert count(encoder) == 85_510_272
        assert count(NeuralTokenizer()) == pytest.approx(147e6, rel=5e-4)
        found = {size: count(MODEL.build(size, features="lm")) for size in ("base", "large", "xl")}
    assert found["base"] == pytest.approx(255.1e6, rel=1e-4)
    assert found["large"] == pytest.approx(501e6, rel=1e-3)
    assert found["xl"] == pytest.approx(1738e6, rel=1e-3)


def test_sizes_share_the_encoder():
    with torch.device("meta"):
        shapes = [
            {key: value.shape for key, value in MODEL.build(size).state_dict().items()}
            for size in ("base", "large", "xl")
        ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_names_are_those_of_the_published_file():
    keys = set(tiny(features="lm").state_dict())
    assert {
        "tokenizer.patch_embed.conv1.weight", "tokenizer.patch_embed.norm3.bias",
        "tokenizer.patch_embed.l.0.weight", "tokenizer.pos_embed.weight",
        "tokenizer.time_embed.weight", "tokenizer.blocks.0.attn.c_attn.weight",
        "tokenizer.blocks.1.mlp.c_proj.weight", "tokenizer.fc_norm.bias", "pos_embed.weight",
        "encode_transform_layer.0.weight", "GPT2.transformer.wte.weight", "GPT2.lm_head.weight",
    } <= keys  # fmt: skip
    assert not any("tokenizer.blocks" in key and key.endswith("bias") for key in keys)


def test_tokens_stand_second_by_second():
    given = batch(n=1, n_seconds=2)
    patches, channels, seconds = lay_out(given)
    assert seconds.tolist() == [0, 0, 0, 1, 1, 1]
    # Row 137 of the vocabulary without 'pad' is I2, index 138 of the list.
    assert channels.tolist() == [2, 40, 138] * 2
    assert torch.equal(patches[0, 4], given.signal[0, 1, 200:])
    tokens = tiny()(given)
    assert tokens.channels.tolist() == [0, 1, 2, 0, 1, 2]
    assert tokens.times.tolist() == [0, 0, 0, 1, 1, 1]


def by_hand(network, given):
    """The encoder once more, from its tensors and the paper's description."""
    state = {k.removeprefix("tokenizer."): v for k, v in network.state_dict().items()}
    n, c, _ = given.signal.shape
    x = given.signal.reshape(n, c, -1, 200).transpose(1, 2).flatten(1, 2)[:, None]
    for i, (stride, padding) in enumerate(((8, 7), (1, 1), (1, 1)), start=1):
        names = [f"patch_embed.{kind}{i}.{part}" for kind in ("conv", "norm")
                 for part in ("weight", "bias")]  # fmt: skip
        w, b, gain, shift = (state[name] for name in names)
        x = F.conv2d(x, w, b, stride=(1, stride), padding=(0, padding))
        groups = x.reshape(n, 4, -1)
        mean, var = groups.mean(-1, keepdim=True), groups.var(-1, unbiased=False, keepdim=True)
        x = ((groups - mean) / (var + 1e-5).sqrt()).view_as(x)
        x = F.gelu(x * gain[:, None, None] + shift[:, None, None])
    x = torch.einsum("nfts->ntsf", x).flatten(2)
    x = F.gelu(x @ state["patch_embed.l.0.weight"].T + state["patch_embed.l.0.bias"])
    seconds = torch.arange(x.shape[1] // c).repeat_interleave(c)
    index = torch.tensor([r + (r >= 136) for r in given.rows.tolist()]).repeat(x.shape[1] // c)
    x = x + state["pos_embed.weight"][index] + state["time_embed.weight"][seconds]

    def norm(x, name, eps=1e-5, bias=0.0):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * state[f"{name}.weight"] + bias

    for i in range(network.depth):
        qkv = norm(x, f"blocks.{i}.ln_1") @ state[f"blocks.{i}.attn.c_attn.weight"].T
        q, k, v = (part.unflatten(-1, (4, 16)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        weights = (q @ k.transpose(-1, -2) / 16**0.5).softmax(-1)
        out = (weights @ v).transpose(1, 2).flatten(2)
        x = x + out @ state[f"blocks.{i}.attn.c_proj.weight"].T
        hidden = F.gelu(norm(x, f"blocks.{i}.ln_2") @ state[f"blocks.{i}.mlp.c_fc.weight"].T)
        x = x + hidden @ state[f"blocks.{i}.mlp.c_proj.weight"].T
    return norm(x, "fc_norm", 1e-6, state["fc_norm.bias"])


def test_the_encoder_does_what_the_description_says():
    network = tiny()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        given = batch()
        assert torch.allclose(network(given).values, by_hand(network, given), atol=2e-5)


def test_padding_enters_the_statistics_as_zeros_would():
    torch.manual_seed(0)
    convolutions = TemporalConv(8)
    for norm in (convolutions.norm1, convolutions.norm2, convolutions.norm3):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    patches = torch.randn(2, 5, 200)
    filled = torch.cat([patches, torch.zeros(2, 7, 200)], dim=1)
    expected = convolutions(filled)[:, :5]
    assert torch.allclose(convolutions(patches, n_padding=7), expected, atol=1e-5)
    assert not torch.allclose(convolutions(patches), expected, atol=1e-2)


def test_padded_tokens_is_an_option_of_the_network():
    given = batch()
    plain, padded = tiny(), tiny(padded_tokens=1024)
    assert not torch.allclose(plain(given).values, padded(given).values, atol=1e-3)
    full = tiny(padded_tokens=9)  # 3 channels x 3 s: nothing to pad
    assert torch.equal(plain(given).values, full(given).values)


@pytest.mark.parametrize("features", ["encoder", "lm"])
def test_order_of_channels_is_no_matter(features):
    network, given = tiny(features=features), batch()
    order = torch.tensor([2, 0, 1])
    turned = network(SignalBatch(given.signal[:, order], given.rows[order])).values
    straight = network(given).values.unflatten(1, (3, 3))[:, :, order].flatten(1, 2)
    assert torch.allclose(turned, straight, atol=1e-5)


def test_same_seconds_see_each_other_and_text_is_causal():
    positions = torch.tensor([0, 0, 1, 1, 2, 3])
    expected = [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]
    assert visible(positions).int().tolist() == expected


def test_the_language_model_does_not_see_the_future():
    torch.manual_seed(0)
    gpt = GPT2(32, 2, 4, n_codes=8).eval()
    positions = torch.tensor([0, 0, 1, 1, 2])
    x = torch.randn(1, 5, 32)
    before = gpt(x, positions)
    for changed, first in ((1, 0), (2, 2), (4, 4)):
        y = x.clone()
        y[:, changed] *= -1  # adding a constant would vanish in LayerNorm
        moved = (gpt(y, positions) - before).abs().amax(dim=(0, 2)) > 1e-6
        assert moved.tolist() == [i >= first for i in range(5)], changed


def test_the_encoder_sees_all_seconds():
    network, given = tiny(), batch(n=1)
    later = given.signal.clone()
    later[..., 400:] *= -1  # same statistics in GroupNorm's first layer, other signal
    moved = network(SignalBatch(later, given.rows)).values - network(given).values
    assert (moved[0, :3].abs().amax(dim=1) > 1e-6).all()


def test_long_windows_are_cut_where_a_sequence_is_full():
    network = tiny()
    rows = tuple(range(100))  # 10 s of 100 channels fill a sequence
    given = batch(n=1, rows=rows, n_seconds=21)
    tokens = network(given)
    assert tokens.times.tolist() == np.repeat(np.arange(21), 100).tolist()
    first = network(SignalBatch(given.signal[..., :1400], given.rows))
    last = network(SignalBatch(given.signal[..., 2800:], given.rows))
    assert torch.allclose(tokens.values[:, :700], first.values, atol=1e-5)
    assert torch.allclose(tokens.values[:, 1400:], last.values, atol=1e-5)
    with pytest.raises(SpecError, match="1100 channels"):
        network(SignalBatch(torch.zeros(1, 1100, 200), torch.zeros(1100, dtype=torch.int64)))


def test_layers_count_through_encoder_and_language_model():
    network, given = tiny(features="lm"), batch()
    widths = [network(given, layer=k).values.shape[-1] for k in range(5)]
    assert network.n_layers == 4
    assert widths == [64, 64, 64, 48, 48]
    alone = tiny()
    alone.tokenizer.load_state_dict(network.tokenizer.state_dict())
    for k in range(3):
        assert torch.equal(network(given, layer=k).values, alone(given, layer=k).values)


def test_hidden_states_of_the_language_model_are_a_read_out():
    info = ef.ChannelInfo(["C3", "Cz", "C4"], 200)
    X = 1e-5 * np.random.default_rng(0).standard_normal((4, 3, 600))
    params = {"info": info, "checkpoint": None, "size": "tiny"}
    enc = ef.make_transformer("neurolm", model_params={"features": "lm"}, **params)
    assert enc.fit_transform(X).shape == (4, 48)
    assert ef.make_transformer("neurolm", **params).fit_transform(X).shape == (4, 64)
    with pytest.raises(SpecError, match="features"):
        ef.make_transformer("neurolm", model_params={"features": "words"}, **params).fit(X)


def test_ids_of_bytes():
    # GPT-2's alphabet begins with the printable characters; a space is "Ġ", id 220.
    assert byte_ids("!") == (0,)
    assert byte_ids("(A)") == (7, 32, 8)
    assert byte_ids(" \n") == (220, 198)
    assert len({i for byte in range(128) for i in byte_ids(chr(byte))}) == 128
