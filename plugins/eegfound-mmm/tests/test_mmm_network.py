"""The encoder: topology, missing electrodes, region tokens, read-outs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_mmm import MMMClassifier, MMMTransformer
from eegfound_mmm.blocks import Block
from eegfound_mmm.heads import make_reference
from eegfound_mmm.network import MMM
from eegfound_mmm.objective import build_objective
from eegfound_mmm.plugin import MODEL
from eegfound_mmm.topology import VOCABULARY

from eegfound import ChannelInfo
from eegfound.base import SpecError
from eegfound.models.network import SignalBatch

CAP = ("FP1", "FP2", "F3", "FZ", "F4", "C3", "CZ", "C4", "PZ", "O1", "O2")
pytestmark = pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")


def network(**options):
    torch.manual_seed(0)
    built = MMM(**({"width": 16, "depth": 2} | options)).eval().requires_grad_(False)
    if options.get("region_tokens") is None:  # a token that is zero would hide mistakes
        torch.nn.init.normal_(built.supernodes)
    return built


def batch(names=CAP, n=3, n_windows=2, seed=0):
    torch.manual_seed(seed)
    rows = torch.tensor([VOCABULARY.index(name) for name in names])
    return SignalBatch(torch.randn(n, len(names), n_windows, 5), rows, tuple(names))


def part(whole, keep):
    return SignalBatch(whole.signal[:, keep], whole.rows[keep])


def n_parameters(module, leave=()):
    return sum(p.numel() for k, p in module.named_parameters() if not k.startswith(leave))


@pytest.mark.parametrize(
    ("size", "encoder", "published", "tuned", "pair"),
    [("base", 305_728, 300_608, 382_232, 615_642), ("paper", 21_136, 19_856, 40_616, 42_618)],
)
def test_sizes_have_the_parameters_of_the_specification(size, encoder, published, tuned, pair):
    built = MODEL.build(size)
    assert n_parameters(built, ("supernodes",)) == encoder
    assert n_parameters(built, ("supernodes", "network.pos_embed")) == published
    head = make_reference(18 * built.width, 3)
    assert n_parameters(built) + n_parameters(head) == tuned
    assert n_parameters(build_objective(**MODEL.sizes[size])) == pair


def test_the_residual_stream_is_normed_input():
    # Scaling and shifting a token changes nothing: the block starts with a norm
    # and has no path around it.
    torch.manual_seed(0)
    block, x, allowed = Block(16, 4), torch.randn(2, 5, 16), torch.ones(5, 5, dtype=torch.bool)
    torch.testing.assert_close(block(3 * x + 2, allowed), block(x, allowed), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"attention": "local"}, {"position": "sph"}])
def test_the_order_of_channels_does_not_matter(options):
    net, whole = network(**options), batch()
    order = torch.randperm(len(CAP))
    a, b = net(whole).values, net(part(whole, order)).values
    n = len(CAP)
    a, b = a.view(3, 2, n + 18, 16), b.view(3, 2, n + 18, 16)
    torch.testing.assert_close(b[:, :, n:], a[:, :, n:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(b[:, :, :n], a[:, :, order], atol=1e-5, rtol=1e-5)


def test_a_position_that_counts_tokens_depends_on_the_order():
    net, whole = network(position="1d"), batch()
    a = net.pool(net(whole), "regions")
    b = net.pool(net(part(whole, torch.arange(len(CAP)).flip(0))), "regions")
    assert (a - b).abs().max() > 1e-3


def test_windows_are_samples_of_their_own():
    net, whole = network(), batch(n_windows=3)
    single = [
        net.pool(net(SignalBatch(whole.signal[:, :, i : i + 1], whole.rows)), "flatten")
        for i in range(3)
    ]
    mean = net.pool(net(whole), "flatten")
    torch.testing.assert_close(mean, torch.stack(single).mean(dim=0), atol=1e-5, rtol=1e-5)
    net.windows = "concat"
    torch.testing.assert_close(
        net.pool(net(whole), "flatten"), torch.cat(single, dim=1), atol=1e-5, rtol=1e-5
    )


def test_read_outs_are_regions_and_class_token():
    net, whole = network(), batch(n_windows=1)
    tokens = net(whole)
    values = tokens.values
    assert tokens.is_summary.sum() == 18
    assert tokens.channels[: len(CAP)].tolist() == list(range(len(CAP)))
    regions, cls = values[:, -18:-1], values[:, -1]
    read = {name: net.pool(tokens, name) for name in ("flatten", "regions", "mean", "cls")}
    torch.testing.assert_close(read["regions"], regions.flatten(1))
    torch.testing.assert_close(read["flatten"], torch.cat([regions.flatten(1), cls], dim=1))
    torch.testing.assert_close(read["mean"], regions.mean(dim=1))
    torch.testing.assert_close(read["cls"], cls)
    assert net.pool(tokens, "max") is None


def test_zero_is_masking_and_drop_is_not():
    names = list(VOCABULARY)
    keep = torch.tensor([names.index(name) for name in CAP])
    whole = batch(names)
    masked = torch.zeros_like(whole.signal)
    masked[:, keep] = whole.signal[:, keep]
    full = SignalBatch(masked, whole.rows)
    zero, drop = network(missing="zero"), network()
    read = drop.pool(drop(full), "flatten")
    tokens = zero(part(whole, keep))
    torch.testing.assert_close(zero.pool(tokens, "flatten"), read, atol=1e-5, rtol=1e-5)
    # Only recorded electrodes have tokens in what comes out.
    assert tokens.values.shape[1] == 2 * (len(CAP) + 18)
    torch.testing.assert_close(
        tokens.values[:, : len(CAP)], drop(full).values[:, keep], atol=1e-5, rtol=1e-5
    )
    dropped = drop.pool(drop(part(whole, keep)), "flatten")
    assert (dropped - read).abs().max() > 1e-2


def test_an_electrode_speaks_to_its_own_region_first():
    net, one = network(depth=1, attention="local"), batch(n=1, n_windows=1)
    louder = one.signal.clone()
    louder[:, CAP.index("O1")] += 1
    moved = (net(SignalBatch(louder, one.rows)).values - net(one).values).abs().amax(dim=-1)[0]
    reached = {i for i in range(18) if moved[len(CAP) + i] > 1e-6}
    assert reached == {15, 17}  # S16, the occipital region, and the class token


def test_region_tokens():
    assert not MMM().supernodes.any()
    assert not MMM(region_tokens="zeros").supernodes.any()
    torch.manual_seed(5)
    drawn = MMM(region_tokens="normal").supernodes
    assert 0.7 < drawn.std() < 1.3
    given = np.arange(85, dtype=np.float64).reshape(17, 5)
    for form in (given, given.tolist(), given[None]):
        np.testing.assert_array_equal(MMM(region_tokens=form).supernodes[0].detach(), given)
    assert MMM().readout_parameters() == {"supernodes"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region_tokens": "ones"}, "region_tokens='ones'"),
        ({"region_tokens": np.zeros((5, 17))}, "17 regions"),
        ({"missing": "noise"}, "missing='noise'"),
        ({"windows": "max"}, "windows='max'"),
        ({"attention": "own"}, "attention='own'"),
        ({"position": "4d"}, "position='4d'"),
        ({"width": 20, "n_heads": 8}, "n_heads=8"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(SpecError, match=message):
        MMM(**options)


def test_a_raw_signal_is_refused():
    with pytest.raises(SpecError, match="front end"):
        network()(SignalBatch(torch.zeros(2, 3, 400), torch.arange(3)))


def eeg(n=6, n_times=600):
    return 1e-5 * np.random.default_rng(0).standard_normal((n, len(CAP), n_times))


PAPER = {"size": "paper", "checkpoint": None, "info": ChannelInfo(CAP, 200)}


@pytest.mark.parametrize(
    ("params", "width"),
    [
        ({}, 18 * 16),
        ({"pooling": "regions"}, 17 * 16),
        ({"pooling": "mean"}, 16),
        ({"pooling": "channels"}, len(CAP) * 16),
        ({"model_params": {"windows": "concat"}}, 3 * 18 * 16),
        ({"model_params": {"windows": "concat", "window_seconds": 1.5}}, 2 * 18 * 16),
        ({"model_params": {"missing": "zero", "attention": "local", "smoothing": "lds"}}, 18 * 16),
    ],
)
def test_options_reach_network_and_front_end(params, width):
    assert MMMTransformer(**PAPER, **params).fit_transform(eeg()).shape == (6, width)


def test_caps_in_one_array_are_encoded_with_what_they_have():
    X = eeg()
    X[3:, [0, 4, 7]] = np.nan
    enc = MMMTransformer(**PAPER).fit(X)
    both = enc.transform(X)
    assert np.isfinite(both).all()
    fewer = X.copy()
    fewer[:, [0, 4, 7]] = np.nan
    np.testing.assert_array_equal(enc.transform(fewer)[3:], both[3:])
    assert np.abs(enc.transform(fewer)[:3] - both[:3]).max() > 1e-2


def test_fine_tuning_moves_regions_and_positions():
    X, y = eeg(12), np.tile([0, 1], 6)
    X[::2, :3] *= 4
    clf = MMMClassifier(
        **PAPER, tuning="full", max_epochs=2, model_params={"region_tokens": "normal"},
        random_state=7,
    ).fit(X, y)  # fmt: skip
    tuned, own = clf.net_.module_.network.state_dict(), clf.encoder_.network.state_dict()
    for moved in ("supernodes", "network.pos_embed", "network.blocks.5.mlp.fc2.weight"):
        assert not torch.equal(tuned[moved], own[moved]), moved
    assert torch.equal(tuned["network.norm.weight"], own["network.norm.weight"])  # never called
    other = MMMClassifier(
        **PAPER, model_params={"region_tokens": "normal"}, random_state=8, tuning="head"
    ).fit(X, y)
    assert not torch.equal(other.encoder_.network.supernodes, clf.encoder_.network.supernodes)
