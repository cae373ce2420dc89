"""Heads that read more than one pooled vector: tokens, electrodes, moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from eegfound.base import SpecError
from eegfound.estimators._encode import Electrodes, forward_features
from eegfound.estimators._heads import Head, head_reading
from eegfound.estimators._pooling import pool, read_tokens
from eegfound.models.network import EncoderNetwork, Tokens
from eegfound.nn import AttentionHead, ElectrodeGraph, Standardize, TemporalHead
from eegfound.testing.toy import ToyEncoder

NEW = ("attention", "conv_linear", "graph")
NAN = float("nan")


@pytest.fixture(autouse=True)
def _seeded(toy):
    torch.manual_seed(0)


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class Named(EncoderNetwork):
    """Gives the tokens it was built with; norms by halving."""

    def __init__(self, tokens=None):
        super().__init__()
        self.width, self.n_layers, self.tokens = 3, 1, tokens

    def finish_pooling(self, pooled):
        return pooled / 2


def read(tokens, reading, slots=(0, 1), n_slots=2, layer=None, pooling="mean"):
    return read_tokens(
        Named(), tokens, reading, pooling=pooling, layer=layer,
        slots=torch.tensor(slots), n_slots=n_slots,
    )  # fmt: skip


# What is read of the tokens


def test_tokens_stand_electrode_by_electrode_whatever_order_the_network_has():
    # class token, then two electrodes at two times, time first
    channels, times = torch.tensor([-1, 0, 1, 0, 1]), torch.tensor([-1, 1, 1, 0, 0])
    values = torch.arange(5.0)[None, :, None].expand(2, 5, 3)
    found = read(Tokens(values, channels, times), "tokens", layer=1)
    assert found[..., 0].tolist() == [[3.0, 1.0, 4.0, 2.0]] * 2
    assert torch.equal(read(Tokens(values, channels, times), "tokens"), found / 2)
    assert read(Tokens(values, channels, times), "channels")[0, :, 0].tolist() == [1.0, 1.5]


def test_electrodes_that_are_not_recorded_are_nan_slices():
    channels, times = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    tokens = Tokens(torch.arange(4.0)[None, :, None].expand(1, 4, 3), channels, times)
    found = read(tokens, "tokens", slots=(0, 2), n_slots=4, layer=1)[0, :, 0]
    np.testing.assert_array_equal(found, [0, 1, NAN, NAN, 2, 3, NAN, NAN])
    found = read(tokens, "channels", slots=(0, 2), n_slots=4, layer=1)[0, :, 0]
    np.testing.assert_array_equal(found, [0.5, NAN, 2.5, NAN])


def test_models_without_electrodes_give_all_their_tokens_in_order_of_time():
    none, times = torch.full((4,), -1), torch.tensor([1, 1, 0, 0])
    values = torch.arange(4.0)[None, :, None].expand(1, 4, 3)
    summaries = Tokens(values, none, times, torch.ones(4, dtype=torch.bool))
    assert read(summaries, "tokens", layer=1)[0, :, 0].tolist() == [2.0, 3.0, 0.0, 1.0]
    # beside tokens of moments a class token is left out
    mixed = Tokens(values, none, torch.tensor([-1, 0, 1, 2]))
    assert read(mixed, "tokens", layer=1)[0, :, 0].tolist() == [1.0, 2.0, 3.0]
    # region tokens beside those of electrodes too
    regions = Tokens(values, torch.tensor([0, 1, -1, -1]), torch.zeros(4, dtype=torch.int64),
                     torch.tensor([False, False, True, True]))  # fmt: skip
    assert read(regions, "tokens", layer=1)[0, :, 0].tolist() == [0.0, 1.0]
    with pytest.raises(SpecError, match=r"head='graph'.*head='attention'"):
        read(mixed, "channels")


def test_moments_are_the_pooled_vector_where_no_token_has_a_time():
    minus = torch.full((2,), -1)
    tokens = Tokens(random(3, 2, 3), torch.arange(2), minus)
    found = read(tokens, "moments")
    assert found.shape == (3, 1, 3)
    expected = pool(Named(), tokens, "mean", layer=None, slots=torch.arange(2), n_slots=2)
    assert torch.equal(found[:, 0], expected)
    timed = Tokens(random(3, 2, 3), torch.arange(2), torch.zeros(2, dtype=torch.int64))
    assert torch.equal(read(timed, "moments"), timed.values.mean(dim=1, keepdim=True))


def test_unequal_and_unknown_readings_are_refused():
    tokens = Tokens(random(1, 3, 3), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))
    with pytest.raises(SpecError, match="unequal"):
        read(tokens, "tokens")
    with pytest.raises(SpecError, match="reading='words'"):
        read(tokens, "words")


def test_the_whole_path_keeps_the_place_of_each_electrode():
    network = ToyEncoder().eval()
    signal = random(2, 5, 200).float()
    options = {"pieces": [(0, 200, 0)], "pooling": "mean", "layer": None, "n_slots": 5}
    every = Electrodes((0, 1, 2, 3, 4), (0, 8, 9, 10, 17), ("",) * 5)
    some = Electrodes((1, 4), (8, 17), ("",) * 2)
    with torch.inference_mode():
        tokens = forward_features(network, signal, every, reading="tokens", **options)
        channels = forward_features(network, signal, every, reading="channels", **options)
        pooled = forward_features(network, signal, every, **options)
        moments = forward_features(network, signal, every, reading="moments", **options)
        part = forward_features(network, signal[:, [1, 4]], some, reading="tokens", **options)
    assert tokens.shape == (2, 10, 16)
    assert channels.shape == (2, 5, 16)
    torch.testing.assert_close(tokens.mean(dim=1), pooled)
    torch.testing.assert_close(channels, tokens.unflatten(1, (5, 2)).mean(dim=2))
    torch.testing.assert_close(moments, tokens.unflatten(1, (5, 2)).mean(dim=1))
    there = torch.zeros(10, dtype=torch.bool)
    there[[2, 3, 8, 9]] = True
    assert torch.isfinite(part[:, there]).all()
    assert torch.isnan(part[:, ~there]).all()


# Scaling


def test_scaling_without_gaps_is_as_ever_and_gaps_do_not_count():
    x, weight = 5 + 3 * random(40, 6), torch.linspace(1, 2, 40, dtype=torch.float64)
    plain, gappy, dropped = (Standardize(6).double() for _ in range(3))
    plain.set_from(x, weight)
    share = (weight / weight.sum())[:, None]
    mean = (share * x).sum(dim=0)
    assert torch.equal(plain.mean, mean)
    assert torch.equal(plain.scale, (share * (x - mean) ** 2).sum(dim=0).sqrt())
    holes = x.clone()
    holes[:15, :3] = NAN
    gappy.set_from(holes, weight)
    dropped.set_from(x[15:], weight[15:])
    torch.testing.assert_close(gappy.mean[:3], dropped.mean[:3])
    torch.testing.assert_close(gappy.scale[:3], dropped.scale[:3])
    torch.testing.assert_close(gappy.mean[3:], plain.mean[3:])
    holes[:, 0] = NAN
    gappy.set_from(holes, weight)
    assert gappy.mean[0] == 0
    assert gappy.scale[0] == 1
    assert torch.isnan(gappy(holes)[:, 0]).all()


@pytest.mark.parametrize("sharing", ["feature", "slice", "all"])
def test_blocks_give_the_same_scaling_as_the_whole(sharing):
    x, weight = 1e3 + random(30, 8), torch.linspace(0.1, 3, 30, dtype=torch.float64)
    x[:10, 2:4] = NAN
    whole, parts, cubes = (Standardize(8, n_slices=4, sharing=sharing).double() for _ in range(3))
    whole.set_from(x, weight, floor=1e-4)
    parts.set_from_blocks(
        [(x[a:b], weight[a:b]) for a, b in ((0, 3), (3, 17), (17, 30))], floor=1e-4
    )
    cubes.set_from(x.unflatten(1, (4, 2)), weight, floor=1e-4)
    for other in (parts, cubes):
        torch.testing.assert_close(whole.mean, other.mean)
        torch.testing.assert_close(whole.scale, other.scale, rtol=1e-7, atol=0)


def test_shared_scaling_by_its_definition():
    x, ones = (
        random(30, 3, 2) * torch.tensor([1.0, 4.0]) + torch.arange(3.0)[:, None],
        torch.ones(30),
    )
    x[:, 1] = NAN
    of_all = Standardize(6, n_slices=3, sharing="all").double()
    of_all.set_from(x, ones)
    known = x[:, [0, 2]].flatten(0, 1)
    torch.testing.assert_close(of_all.mean.view(3, 2), known.mean(dim=0).expand(3, 2))
    torch.testing.assert_close(of_all.scale.view(3, 2), known.std(dim=0, correction=0).expand(3, 2))
    of_slices = Standardize(6, n_slices=3, sharing="slice").double()
    of_slices.set_from(x, ones)
    means = x.mean(dim=0)
    expected = torch.stack([means[0], (means[0] + means[2]) / 2, means[2]])
    torch.testing.assert_close(of_slices.mean.view(3, 2), expected)
    around = (x[:, [0, 2]] - means[[0, 2]]).flatten(0, 1).pow(2).mean(dim=0).sqrt()
    torch.testing.assert_close(of_slices.scale.view(3, 2), around.expand(3, 2))
    with pytest.raises(SpecError, match="sharing"):
        Standardize(6, sharing="electrode")


# The blocks


def trained(kind, n_slices=4, width=6, n_outputs=3, **options):
    """Return a head in float64 with random weights everywhere."""
    head = Head(n_slices * width, n_outputs, kind, double=True, n_slices=n_slices, **options)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head.eval()


def without(x, slice_, n_slices=4):
    """Return features without one slice, and with that slice NaN."""
    cubes = x.unflatten(1, (n_slices, -1))
    holes = cubes.clone()
    holes[:, slice_] = NAN
    kept = [k for k in range(n_slices) if k != slice_]
    return cubes[:, kept].flatten(1), holes.flatten(1), kept


def test_attention_starts_as_the_linear_head_on_the_mean_token():
    x, weight = (
        random(50, 4 * 6) + random(24, seed=2),
        torch.linspace(1, 2, 50, dtype=torch.float64),
    )
    x[:20, 6:12] = NAN
    head, linear = trained("attention"), Head(6, 3, double=True)
    head.body.pooling.query.data.zero_()
    mean = x.unflatten(1, (4, 6)).nanmean(dim=1)
    for floor in (0.0, 0.7):
        head.set_from(x, weight, floor=floor)
        linear.set_from(mean, weight, floor=floor)
        linear.body.load_state_dict(head.body.classify.state_dict())
        torch.testing.assert_close(head(x), linear(mean))
    layer, inputs = head.linear_part(x)
    assert layer is head.body.classify
    torch.testing.assert_close(inputs, linear.standardize(mean))
    assert Head(24, 3, "attention", n_slices=4).body.pooling.query.abs().max() == 0


def test_attention_weighs_by_a_softmax_of_the_recorded_tokens():
    head = trained("attention", width=8).body
    x = random(5, 4, 8)
    recorded = torch.tensor([True, True, False, True]).expand(5, 4)
    weights = head.pooling.weights(x, recorded)
    scores = torch.einsum("nsw,hw->nhs", x[:, [0, 1, 3]], head.pooling.query) / 8**0.5
    torch.testing.assert_close(weights[..., [0, 1, 3]], scores.softmax(dim=-1))
    assert weights.shape == (5, 4, 4)
    assert not weights[..., 2].any()
    parts = [weights[:, k, :, None] * x[..., 2 * k : 2 * k + 2] for k in range(4)]
    torch.testing.assert_close(head.pooling(x, recorded), torch.cat(parts, dim=-1).sum(dim=1))


def test_attention_does_not_care_about_the_order_of_tokens():
    head, x = trained("attention"), random(5, 24)
    moved = x.unflatten(1, (4, 6))[:, [2, 0, 3, 1]].flatten(1)
    torch.testing.assert_close(head(x), head(moved))
    assert not torch.allclose(head(x), head(x.flip(1)))


def test_an_unrecorded_slice_is_as_if_it_were_not_there():
    x = random(5, 24)
    for kind in ("attention", "graph"):
        whole, (fewer, holes, kept) = trained(kind), without(x, 2)
        small = Head(18, 3, kind, double=True, n_slices=3).eval()
        state = whole.state_dict()
        rows = torch.arange(24).view(4, 6)[kept].flatten()
        for name, tensor in state.items():
            if name in ("standardize.mean", "standardize.scale"):
                state[name] = tensor[rows]
            if name.endswith("adjacency"):
                state[name] = tensor[kept][:, kept]
            if name.endswith("emphasis"):
                state[name] = tensor[kept]
        small.load_state_dict(state)
        torch.testing.assert_close(whole(holes), small(fewer))
        assert not torch.allclose(whole(holes), whole(x))
        # one epoch's gaps are its own, and nothing recorded is still a number
        mixed = torch.cat([x[:2], holes[2:]])
        torch.testing.assert_close(whole(mixed), torch.cat([whole(x[:2]), whole(holes[2:])]))
        assert torch.isfinite(whole(torch.full_like(x, NAN))).all()


def test_the_graph_moves_with_its_electrodes():
    head, x, order = trained("graph"), random(5, 24), [2, 0, 3, 1]
    other = trained("graph")
    state = head.state_dict()
    state["body.graph.adjacency"] = state["body.graph.adjacency"][order][:, order]
    state["body.emphasis"] = state["body.emphasis"][order]
    other.load_state_dict(state)
    moved = x.unflatten(1, (4, 6))[:, order].flatten(1)
    torch.testing.assert_close(head(x), other(moved))
    assert not torch.allclose(head(x), head(moved))


def test_the_graph_by_its_formula():
    graph = ElectrodeGraph(4).double()
    nodes = random(2, 4, 3)
    recorded = torch.tensor([[True, True, True, True], [True, False, True, True]])
    plain = graph(nodes, recorded)
    others = (nodes[0].sum(dim=0) - nodes[0]) / 3
    torch.testing.assert_close(plain[0], (nodes[0] + others) / 2)
    graph.adjacency.data.normal_()
    for n, there in enumerate(recorded):
        a = torch.exp((graph.adjacency + graph.adjacency.T) / 2)
        a = a * there[:, None] * there[None] * (1 - torch.eye(4)) / (there.sum() - 1) + torch.eye(4)
        degree = torch.diag(a.sum(dim=1) ** -0.5)
        expected = degree @ a @ degree @ (nodes[n] * there[:, None])
        torch.testing.assert_close(graph(nodes, recorded)[n], expected)
    alone = torch.tensor([[True, False, False, False]])
    assert torch.equal(ElectrodeGraph(4).double()(nodes[:1], alone)[0, 0], nodes[0, 0])


def test_the_temporal_head_sees_neighbouring_moments():
    head = TemporalHead(20, 2, hidden=3, n_slices=5).double().eval()
    seen = torch.autograd.functional.jacobian(
        lambda x: head.convolve(x.unflatten(1, (5, 4)).transpose(1, 2))[0, 0], random(1, 20)
    )[:, 0].view(5, 5, 4)
    reached = seen.abs().sum(dim=-1) > 0
    assert torch.equal(reached, torch.ones(5, 5, dtype=torch.bool).tril(1).triu(-1))
    assert [TemporalHead(4 * n, 2, n_slices=n).convolve.kernel_size for n in (1, 2, 3)] == [
        (1,), (3,), (3,),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", NEW)
@pytest.mark.parametrize("n_slices", [1, 3])
def test_gradients_of_first_and_second_order(kind, n_slices):
    head = trained(kind, n_slices=n_slices, width=2, n_outputs=1, hidden=2)
    x = random(3, 2 * n_slices)
    if n_slices > 1 and kind != "conv_linear":
        x[0, :2] = NAN
    names, values = zip(*[(k, p.detach().requires_grad_()) for k, p in head.named_parameters()])

    def score(*parameters):
        return torch.func.functional_call(head, dict(zip(names, parameters)), (x,))

    assert torch.autograd.gradcheck(score, values)
    assert torch.autograd.gradgradcheck(score, values)


def test_numbers_of_parameters_are_those_of_the_documentation():
    def count(kind, **options):
        return sum(p.numel() for p in Head(5 * 8, 3, kind, n_slices=5, **options).parameters())

    assert count("attention") == 4 * 8 + (8 + 1) * 3
    assert count("graph") == 5 * 5 + (8 + 1) * 32 + 5 * 32 + (32 + 1) * 3
    assert count("conv_linear") == (8 * 3 + 1) * 16 + (5 * 16 + 1) * 3
    assert count("attention", hidden=7) == 4 * 8 + (8 + 1) * 7 + (7 + 1) * 3
    # a width that four does not divide
    assert AttentionHead(5 * 6, 3, n_slices=5).pooling.n_heads == 3
    assert AttentionHead(5 * 1, 3, n_slices=5).pooling.n_heads == 1


@pytest.mark.parametrize("kind", NEW)
def test_dropout_acts_in_training_only(kind):
    head = Head(24, 3, kind, dropout=0.5, n_slices=4)
    nn.init.normal_(head.body.classify.weight)
    x = random(8, 24).float()
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_what_a_head_reads_and_what_is_no_head():
    assert [head_reading(k) for k in ("linear", "mlp", "two_linear", *NEW)] == [
        "pooled", "pooled", "pooled", "tokens", "moments", "channels",
    ]  # fmt: skip
    with pytest.raises(SpecError, match=r"head='lstm' is not one of .*'attention'"):
        head_reading("lstm")
    with pytest.raises(SpecError, match="no 4 slices"):
        Head(10, 2, "attention", n_slices=4)
    for kind, options in (("graph", {}), ("conv_linear", {}), ("attention", {"hidden": 3})):
        with pytest.raises(SpecError, match="head_start='ridge'"):
            Head(24, 2, kind, n_slices=4, **options).linear_part(torch.zeros(1, 24))
