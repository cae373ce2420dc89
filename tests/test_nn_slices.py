"""The slice backbone: what its structure promises, whatever the weights."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from eegfound.base import SpecError
from eegfound.estimators._threads import torch_threads
from eegfound.models.network import SignalBatch
from eegfound.nn.slices import (
    DARE_SIZES,
    EEGPT_SIZES,
    PRETRAINING_CHANNELS,
    VOCABULARY,
    PretrainingNetworks,
    SliceEncoder,
    SliceMasks,
    SlicePredictor,
    SliceReconstructor,
    draw_masks,
    feature_targets,
    patch_targets,
    visible_per_slice,
)
from eegfound.nn.slices.blocks import Attention, TimeEmbed

#: Parameters of encoder, predictor and reconstructor, counted in the authors' code.
COUNTS = {
    "tiny1": (108_288, 108_484, 212_420),
    "tiny2": (108_480, 108_676, 212_420),
    "tiny3": (408_384, 408_580, 412_356),
    "little": (1_603_200, 1_619_976, 1_619_272),
    "base1": (4_771_840, 4_870_928, 4_837_456),
    "base2": (6_352_128, 6_451_216, 6_416_976),
    "base3": (18_980_864, 19_441_168, 19_243_088),
    "large": (25_287_168, 25_747_472, 25_547_856),
}


def encoder(seed=0, **config):
    torch.manual_seed(seed)
    made = SliceEncoder(**({"width": 32, "n_summary": 2, "heads": 2} | config)).eval()
    with torch.no_grad():  # the initial weights are too small to tell much apart
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def signal(n=2, n_channels=5, n_times=320, seed=1):
    return torch.randn(n, n_channels, n_times, generator=torch.Generator().manual_seed(seed))


def n_numbers(module):
    return sum(value.numel() for value in module.state_dict().values())


def test_the_tables_need_no_torch():
    code = "import sys, eegfound.nn.slices.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_vocabulary_is_that_of_the_published_table():
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 62
    assert [VOCABULARY.index(n) for n in ("AF7", "CZ", "PO5", "O2")] == [3, 29, 53, 61]
    assert len(PRETRAINING_CHANNELS) == 58
    left_out = {"AF7", "AF8", "PO5", "PO6"}
    assert [n for n in VOCABULARY if n not in left_out] == list(PRETRAINING_CHANNELS)


@pytest.mark.parametrize("size", EEGPT_SIZES)
def test_sizes_have_the_counted_parameters(size):
    with torch.device("meta"):
        networks = PretrainingNetworks(**EEGPT_SIZES[size])
    parts = ("encoder", "predictor", "reconstructor")
    assert tuple(n_numbers(getattr(networks, part)) for part in parts) == COUNTS[size]


def test_dares_light_size_has_the_counted_parameters():
    with torch.device("meta"):
        networks = PretrainingNetworks(**DARE_SIZES["light"])
    total = n_numbers(networks) - n_numbers(networks.target_encoder)
    assert (n_numbers(networks.encoder), total) == (1_206_272, 3_652_048)


def test_initial_weights():
    torch.manual_seed(0)
    made = SliceEncoder(width=64, n_summary=4, depths=(3, 1, 1))
    assert made.chan_embed.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert made.summary_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert made.patch_embed.proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not made.patch_embed.proj.bias.any()
    for i, block in enumerate(made.blocks, start=1):
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for last in (block.attn.proj, block.mlp.fc2):
            assert last.weight.std().item() == pytest.approx(0.02 / (2 * i) ** 0.5, rel=0.05)
            assert not last.bias.any()


@torch.no_grad()
def test_a_slice_knows_its_own_samples_only():
    made, x = encoder(), signal()
    z = made.encode(x)
    other = x.clone()
    other[..., 64:128] += 1
    changed = (made.encode(other) - z).abs().amax(dim=(0, 2, 3))
    assert changed[1] > 1e-3
    assert not changed[[0, 2, 3, 4]].any()
    torch.testing.assert_close(made.encode(x[..., 128:192])[:, 0], z[:, 2])


@torch.no_grad()
def test_channels_travel_with_their_rows():
    made, x = encoder(), signal()
    ids, order = torch.tensor([7, 3, 61, 0, 29]), torch.tensor([4, 2, 0, 1, 3])
    z = made.encode(x, ids)
    torch.testing.assert_close(made.encode(x[:, order], ids[order]), z)
    assert (made.encode(x, ids[order]) - z).abs().max() > 1e-3
    torch.testing.assert_close(made.encode(x), made.encode(x, torch.arange(5)))


@torch.no_grad()
def test_a_visible_mask_leaves_the_other_channels_out():
    made, x = encoder(), signal(n_channels=4, n_times=256)
    ids = torch.tensor([5, 6, 7, 8])
    mask = torch.tensor([[3, 1], [8, 10]])  # channels 3, 1 of slice 0; 0, 2 of slice 2
    z = made.encode(x, ids, mask)
    first = made.encode(x[:, [3, 1]], ids[[3, 1]])[:, 0]
    second = made.encode(x[:, [0, 2]], ids[[0, 2]])[:, 2]
    torch.testing.assert_close(z, torch.stack([first, second], dim=1))


@torch.no_grad()
@pytest.mark.parametrize("layer", [1, 2, None])
def test_leaving_out_channels_in_the_last_block_changes_nothing(layer):
    made, x = encoder(depths=(3, 1, 1)), signal()
    tokens = made.embed(x)
    n, n_slices = tokens.shape[:2]
    summary = made.summary_token.expand(n * n_slices, -1, -1)
    whole = torch.cat([tokens.flatten(0, 1), summary], dim=1)
    for block in made.blocks[:layer]:
        whole = block(whole)
    expected = whole[:, -2:] if layer is not None else made.norm(whole)[:, -2:]
    torch.testing.assert_close(made.encode(x, layer=layer), expected.view(n, n_slices, 2, 32))


def test_gradients_go_the_same_way_as_inference():
    made, x = encoder(), signal()
    with torch.inference_mode():
        expected = made.encode(x)
    z = made.encode(x)
    torch.testing.assert_close(z.detach(), expected)
    z.square().sum().backward()
    assert all(p.grad is not None for p in made.parameters())


@torch_threads(1)  # as estimators run it: threads would share rows as they like
@torch.inference_mode()
@pytest.mark.parametrize("n_channels", [1, 5, 19])
@pytest.mark.parametrize("size", ["tiny1", "tiny2", "little"])
def test_numbers_of_an_epoch_do_not_depend_on_its_place(size, n_channels):
    torch.manual_seed(0)
    made = SliceEncoder(**EEGPT_SIZES[size]).eval()
    for batch in (2, 4):
        x = signal(batch, n_channels, 192)
        z = made.encode(x)
        assert torch.equal(made.encode(x.flip(0)).flip(0), z)
        assert all(torch.equal(row, z[0]) for row in made.encode(x[:1].repeat(batch, 1, 1)))


@torch.no_grad()
def test_overlapping_slices_and_left_over_samples():
    made, half = encoder(), encoder(stride=32)
    x = signal(n_times=330)
    assert made.encode(x).shape == (2, 5, 2, 32)
    z = half.encode(x)
    assert z.shape == (2, 9, 2, 32)
    torch.testing.assert_close(z[:, ::2], made.encode(x))
    torch.testing.assert_close(z[:, 3], made.encode(x[..., 96:160])[:, 0])


def test_too_short_a_signal_is_refused():
    with pytest.raises(SpecError, match="63 samples"):
        encoder().encode(signal(n_times=63))


@torch.no_grad()
def test_tokens_say_where_they_are():
    made, x = encoder(), signal()
    ids = torch.tensor([7, 3, 61, 0, 29])
    tokens = made(SignalBatch(x, ids))
    z = made.encode(x, ids)
    assert tokens.is_summary.all()
    assert tokens.times.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert (tokens.channels == -1).all()
    flat = z.flatten(2)
    torch.testing.assert_close(made.pool(tokens, "mean"), flat.mean(dim=1))
    torch.testing.assert_close(made.pool(tokens, "max"), flat.amax(dim=1))
    spread = flat.std(dim=1, correction=0)
    torch.testing.assert_close(made.pool(tokens, "mean_std")[:, 64:], spread)
    assert made.pool(tokens, "flatten") is None
    patches = made(SignalBatch(x, ids), layer=0)
    torch.testing.assert_close(patches.values.view(2, 5, 5, 32), made.embed(x, ids))
    assert patches.channels.tolist() == [0, 1, 2, 3, 4] * 5
    assert not patches.is_summary.any()


@torch.no_grad()
def test_attention_weights_are_those_that_attention_uses():
    made, x = encoder(depths=(2, 1, 1)), signal()
    weights = made.attention_weights(x, layer=2)
    assert weights.shape == (10, 2, 7, 7)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(10, 2, 7))
    block = made.blocks[1]
    tokens = made.blocks[0](
        torch.cat([made.embed(x).flatten(0, 1), made.summary_token.expand(10, -1, -1)], dim=1)
    )
    normed = block.norm1(tokens)
    v = block.attn.project(normed)[2]
    by_hand = block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_hand, block.attn(normed))
    with pytest.raises(SpecError, match=r"layer=3"):
        made.attention_weights(x, layer=3)


def test_half_of_each_head_turns_by_half_a_step():
    angles = TimeEmbed(16)(torch.arange(4))
    for n in range(4):
        for i in range(4):
            assert angles[n, i].item() == pytest.approx(n / 2 * 10000 ** (-2 * i / 8), rel=1e-6)
    attention = Attention(32, 2)
    x = torch.randn(1, 4, 32)
    plain, turned = attention.project(x), attention.project(x, angles)
    for before, after in zip(plain[:2], turned[:2]):
        assert torch.equal(after[..., 8:], before[..., 8:])
        assert torch.equal(after[:, :, 0], before[:, :, 0])
        pair, pair_after = before[0, 0, 3, 2:4], after[0, 0, 3, 2:4]
        c, s = angles[3, 1].cos(), angles[3, 1].sin()
        expected = torch.stack([pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s])
        torch.testing.assert_close(pair_after, expected)
    assert torch.equal(turned[2], plain[2])


def test_frequencies_are_in_the_state_dict_and_are_used():
    predictor = SlicePredictor(width=32, n_summary=2, depth=1, heads=2)
    assert "time_embed.freqs" in predictor.state_dict()
    assert "time_embed.freqs" not in dict(predictor.named_parameters())
    z = torch.randn(1, 3, 2, 32)
    before = predictor(z, torch.arange(3), 3)[0]
    predictor.time_embed.freqs.zero_()
    assert (predictor(z, torch.arange(3), 3)[0] - before).abs().max() > 1e-6


@torch.no_grad()
def test_the_predictor_keeps_what_was_seen():
    torch.manual_seed(0)
    predictor = SlicePredictor(width=32, n_summary=2, depth=2, heads=2).eval()
    z, seen = torch.randn(3, 2, 2, 32), torch.tensor([1, 4])
    predicted, combined = predictor(z, seen, 5)
    assert predicted.shape == combined.shape == (3, 5, 2, 32)
    assert torch.equal(combined[:, seen], z)
    assert torch.equal(combined[:, [0, 2, 3]], predicted[:, [0, 2, 3]])
    assert not torch.equal(predicted[:, seen], z)
    # Hidden slices differ by their time alone.
    assert (predicted[:, 0] - predicted[:, 2]).abs().max() > 1e-8
    turned = predictor(z.flip(1), seen.flip(0), 5)[0]
    torch.testing.assert_close(turned, predicted)


@torch.no_grad()
def test_the_reconstructors_queries_have_no_order():
    torch.manual_seed(0)
    made = SliceReconstructor(width=32, n_summary=2, depth=2, heads=2).eval()
    torch.nn.init.normal_(made.chan_embed.weight)
    features, ids = torch.randn(2, 4, 2, 32), torch.tensor([3, 9, 27])
    mask = torch.tensor([0, 4, 11, 7])
    rebuilt = made(features, ids, mask)
    assert rebuilt.shape == (2, 4, 64)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(made(features, ids, mask[order]), rebuilt[:, order])
    assert (made(features, ids[[1, 0, 2]], mask) - rebuilt).abs().max() > 1e-4
    torch.testing.assert_close(
        made(features, None, mask, n_channels=3), made(features, torch.arange(3), mask)
    )


def test_masks_hide_half_the_slices_and_most_channels():
    generator, n_seen, n_rebuilt = torch.Generator().manual_seed(0), [], []
    for _ in range(200):
        visible, hidden = draw_masks(16, 58, generator=generator)
        assert visible.shape[1] == 12
        slices = visible // 58
        assert (slices == slices[:, :1]).all()  # a row is one slice
        assert (slices[:, 0].diff() > 0).all()
        everything = torch.cat([visible.flatten(), hidden])
        assert len(everything.unique()) == len(everything)
        unseen = sorted(set(range(16)) - set(slices[:, 0].tolist()))
        whole = torch.cat([torch.arange(58) + 58 * n for n in unseen] or [torch.tensor([])])
        assert set(whole.tolist()) <= set(hidden.tolist())
        n_seen.append(len(visible))
        n_rebuilt.append((len(hidden) - len(whole)) / (46 * len(visible)))
    assert sum(n_seen) / 200 == pytest.approx(8, abs=0.6)
    assert sum(n_rebuilt) / 200 == pytest.approx(0.2, abs=0.02)


def test_masks_follow_the_generator():
    first, second, third = (
        draw_masks(16, 19, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.visible, second.visible)
    assert torch.equal(first.hidden, second.hidden)
    assert not torch.equal(first.hidden, third.hidden)


def test_masks_of_small_windows_always_rebuild_a_channel_of_a_visible_slice():
    for seed in range(50):
        visible, hidden = draw_masks(1, 2, generator=torch.Generator().manual_seed(seed))
        assert sorted([*visible.flatten().tolist(), *hidden.tolist()]) == [0, 1]


@pytest.mark.parametrize(("n_channels", "expected"), [(58, 12), (19, 4), (5, 1), (2, 1)])
def test_the_share_of_visible_channels_is_kept(n_channels, expected):
    assert visible_per_slice(n_channels) == expected


@pytest.mark.parametrize(
    "wrong",
    [{"n_channels": 1}, {"n_visible": 4}, {"hide_slice": 1.0}, {"rebuild": 0.0}, {"n_slices": 0}],
)
def test_masks_that_cannot_be_are_refused(wrong):
    with pytest.raises(SpecError):
        draw_masks(**({"n_slices": 3, "n_channels": 4} | wrong))


def test_targets_are_normed():
    x = 3 + 2 * torch.randn(2, 3, 4, 64)
    chosen = patch_targets(x, torch.tensor([5, 0]))
    raw = torch.stack([x[:, 1, 1], x[:, 0, 0]], dim=1)
    spread = (raw.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    expected = (raw - raw.mean(-1, keepdim=True)) / spread
    torch.testing.assert_close(chosen, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(patch_targets(x, torch.tensor([5, 0]), norm=False), raw)
    torch.testing.assert_close(feature_targets(x), F.layer_norm(x, (64,), eps=1e-5))


def test_the_momentum_encoder_follows_without_gradient():
    torch.manual_seed(0)
    networks = PretrainingNetworks(width=32, n_summary=2, heads=2)
    parts = {"encoder", "target_encoder", "predictor", "reconstructor"}
    assert {key.split(".")[0] for key in networks.state_dict()} == parts
    slow, fast = networks.target_encoder.norm.weight, networks.encoder.norm.weight
    assert torch.equal(slow, fast)
    with torch.no_grad():
        fast.add_(1)
    networks.update_momentum(0.75)
    torch.testing.assert_close(slow, torch.full_like(slow, 1.25))
    other = copy.deepcopy(networks)
    other.update_momentum(0.0)
    torch.testing.assert_close(other.target_encoder.norm.weight, fast.detach())
    torch.testing.assert_close(slow, torch.full_like(slow, 1.25))  # the original did not move
    assert not networks.train().target_encoder.training
    masks = draw_masks(5, 5, generator=torch.Generator().manual_seed(0))
    made = networks(signal(), None, masks)
    ((made.predicted - made.features) ** 2).mean().backward()
    assert all(p.grad is None for p in networks.target_encoder.parameters())
    assert not made.features.requires_grad


@torch.no_grad()
def test_without_the_skip_the_reconstructor_reads_predictions():
    torch.manual_seed(0)
    networks = PretrainingNetworks(width=32, n_summary=2, heads=2).eval()
    x = signal(n_channels=3)
    masks = SliceMasks(torch.tensor([[0, 1], [6, 8]]), torch.tensor([2, 3, 4, 5]))
    with_skip, without = (networks(x, None, masks, skip=skip) for skip in (True, False))
    assert torch.equal(with_skip.combined, without.combined)
    ids = torch.arange(3)
    torch.testing.assert_close(
        without.rebuilt, networks.reconstructor(without.predicted, ids, masks.hidden)
    )
    torch.testing.assert_close(
        with_skip.rebuilt, networks.reconstructor(with_skip.combined, ids, masks.hidden)
    )
    assert (with_skip.rebuilt - without.rebuilt).abs().max() > 1e-9


def test_dropout_and_stochastic_depth_act_in_training_only():
    torch.manual_seed(0)
    rates = {"drop_rate": 0.2, "attn_drop_rate": 0.2, "drop_path_rate": 0.3}
    made, x = SliceEncoder(width=32, n_summary=2, heads=2, depths=(3, 1, 1), **rates), signal()
    assert [block.drop_path for block in made.blocks] == pytest.approx([0, 0.15, 0.3])
    made.eval()
    assert torch.equal(made.encode(x), made.encode(x))
    made.train()
    assert not torch.equal(made.encode(x), made.encode(x))
