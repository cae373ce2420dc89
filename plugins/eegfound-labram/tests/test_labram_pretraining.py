"""Both stages of pretraining as the Pretrainer runs them."""

from __future__ import annotations

import copy

import pytest
import torch
from eegfound_labram.objective import build_objective
from eegfound_labram.stages import (
    TOKENIZERS,
    build_tokenizer,
    masked_stage,
    suited,
    tokenizer_stage,
)
from eegfound_labram.tokenizer import signal_from, spectra, spectral_targets

from eegfound.base import SpecError
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

SIZE = get_model("labram").sizes["tiny"] | {"depth": 1}


def _batch(n=8, n_channels=3, n_patches=2, seed=0):
    # Each patch has a rhythm of its own, which all electrodes share.
    rng = torch.Generator().manual_seed(seed)
    rate = torch.randint(1, 8, (n, 1, n_patches, 1), generator=rng) * 4
    wave = torch.sin(2 * torch.pi * rate * torch.arange(200) / 200)
    noise = torch.randn(n, n_channels, n_patches, 200, generator=rng)
    signal = (wave + 0.3 * noise).flatten(2)
    return SignalBatch(signal, torch.tensor([40, 17, 63][:n_channels]))


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def first():
    torch.manual_seed(0)
    objective = tokenizer_stage(previous={}, **SIZE)
    objective.prepare(_batch(n=30))
    return objective.train()


@pytest.fixture
def second(first):
    torch.manual_seed(1)
    return masked_stage(previous={"tokenizer": first.eval()}, **SIZE).train()


def _train(objective, batch, steps, lr=2e-3):
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr)
    for i in range(steps):
        optimizer.zero_grad()
        objective(batch, generator=_seeded(i)).total.backward()
        optimizer.step()
        objective.after_step((i + 1) / steps)
    with torch.no_grad():
        return objective.eval().measure(batch, generator=_seeded())


def test_every_size_has_a_tokenizer_and_the_published_ones_are_the_default():
    sizes = get_model("labram").sizes
    chosen = {size: suited(**config) for size, config in sizes.items()}
    assert chosen == {
        "base": "base", "large": "large", "huge": "large", "small": "small", "tiny": "tiny"
    }  # fmt: skip
    assert TOKENIZERS["base"] == {}
    count = {
        size: sum(p.numel() for p in build_tokenizer(**sizes[size]).parameters())
        for size in ("small", "tiny")
    }
    assert count["tiny"] < count["small"] < 8_579_408 / 10
    own = build_tokenizer("tiny", n_codes=99, revive_after=7, **sizes["base"])
    assert own.quantize.n_codes == 99
    assert own.quantize.revive_after == 7
    with pytest.raises(SpecError, match="tokenizer_size"):
        build_tokenizer("gigantic", **SIZE)


def test_the_small_encoder_fits_into_six_megabytes():
    network = get_model("labram").build("small", pooling="cls")
    assert sum(p.numel() for p in network.parameters()) <= 1.5e6


def test_two_parts_come_to_the_same_as_one(first):
    batch = _batch()
    parts = [SignalBatch(batch.signal[at], batch.rows) for at in (slice(0, 2), slice(2, 8))]
    other = copy.deepcopy(first)
    whole = first(batch)
    before = copy.deepcopy(first.state_dict())
    losses = [other(part, generator=_seeded()) for part in parts]
    for name in ("total", "amplitude", "phase", "commitment"):
        together = (2 * getattr(losses[0], name) + 6 * getattr(losses[1], name)) / 8
        assert torch.allclose(getattr(whole, name), together, rtol=1e-5), name
    # Until the step is done nothing moves, so a part's loss does not depend on others.
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    with torch.no_grad():
        again = other.eval()(parts[1])  # evaluation collects nothing
    assert torch.allclose(again.total, losses[1].total)
    for objective in (first, other):
        objective.after_step(0.5)
    for key, value in first.state_dict().items():
        assert torch.allclose(other.state_dict()[key], value, atol=1e-6), key
    assert not torch.equal(
        first.tokenizer.quantize.embedding.weight, before["tokenizer.quantize.embedding.weight"]
    )


def test_the_reference_moves_the_codebook_in_its_forward_pass(first):
    batch, other = _batch(), copy.deepcopy(first.tokenizer)
    losses = other.train()(batch)
    assert torch.equal(losses.total, first(batch).total)
    first.after_step(1.0)
    for key in ("embedding.weight", "cluster_size"):
        assert torch.equal(first.tokenizer.quantize.state_dict()[key],
                           other.quantize.state_dict()[key])  # fmt: skip


def test_the_tokenizer_learns_more_than_the_mean_spectrum(first):
    batch = _batch()
    found = _train(first, batch, 25)
    assert found["amplitude"] < 0.7 * found["amplitude_trivial"]
    targets = spectral_targets(batch.signal)
    for name, target in zip(("amplitude", "phase"), targets, strict=True):
        mean = target.flatten(0, 2).mean(dim=0)
        trivial = (target - mean).square().mean()
        assert torch.allclose(found[f"{name}_trivial"], trivial, atol=1e-5)
    assert found["total_trivial"] == found["amplitude_trivial"] + found["phase_trivial"]
    assert found["perplexity"] > 3
    used = first.tokenizer.codes(batch).unique()
    assert len(used) / first.tokenizer.quantize.n_codes <= found["codes_used"] <= 1


def test_use_of_codes_is_counted_by_epoch(first):
    first.start_epoch(0, 2)
    first(_batch())
    first.after_step(0.5)
    assert first.frequencies.counts.sum() == 48
    counted = first.tokenizer.quantize.cluster_size.clone()
    first.start_epoch(0, 2)  # gone on with after an interruption
    assert torch.equal(first.tokenizer.quantize.cluster_size, counted)
    first.start_epoch(1, 2)
    assert first.frequencies.counts.sum() == first.tokenizer.quantize.cluster_size.sum() == 0


def test_masked_modelling_needs_and_uses_the_trained_tokenizer(first, second):
    assert first.tokenizer.encoder.pos_embed.requires_grad  # a copy is frozen
    assert second.network.lm_head.out_features == first.tokenizer.quantize.n_codes
    with pytest.raises(SpecError, match="needs a trained tokenizer"):
        masked_stage(previous={}, **SIZE)
    before = copy.deepcopy(second.tokenizer.state_dict())
    batch = _batch(n=4)
    found = _train(second, batch, 40, lr=5e-3)
    assert found["accuracy"] > found["accuracy_trivial"] + 0.2
    assert found["total"] < found["total_trivial"]
    assert all(torch.equal(v, before[k]) for k, v in second.tokenizer.state_dict().items())
    codes = first.tokenizer.codes(batch)
    assert torch.equal(codes, second.tokenizer.codes(batch))
    assert second.frequencies.counts.sum() == 40 * codes.numel()
    assert found["accuracy_trivial"].item() == pytest.approx(
        (codes == second.frequencies.counts.argmax()).float().mean().item()
    )


def test_everything_trainable_gets_a_gradient(first, second):
    for objective in (first.train(), second):
        objective(_batch(), generator=_seeded()).total.backward()
        trained = {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}
        assert [name for name, gradient in trained.items() if gradient is None] == []


def test_what_is_kept_is_the_plain_encoder(second):
    kept = second.eval().kept
    plain = get_model("labram").build("tiny", pooling="cls", depth=1)
    plain.load_state_dict(kept.state_dict())
    batch = _batch()
    with torch.no_grad():
        expected = second.network.student(batch).values
        assert torch.equal(plain.eval()(batch).values, expected)
        assert torch.equal(kept(batch).values, expected)
    # It follows the training, and is no part of the objective itself.
    second.network.student.pos_embed.data.add_(1)
    assert torch.equal(kept.pos_embed, second.network.student.pos_embed)


def test_illustrations_have_the_shape_of_the_signal(first, second):
    batch = _batch()
    with torch.no_grad():
        for objective in (first.eval(), second.eval()):
            shown = objective.illustrate(batch, generator=_seeded())
            assert torch.equal(shown["signal"], batch.signal[0])
            assert shown["reconstruction"].shape == (3, 400)
            assert shown["code_use"].sum() == 48
    assert shown["hidden"].shape == (3, 2)
    assert shown["hidden"].sum() == 3


def test_true_spectra_give_the_signal_back():
    signal = _batch().signal
    targets = (values.flatten(1, 2) for values in spectral_targets(signal))
    assert torch.allclose(signal_from(*targets, signal), signal, atol=1e-4)
    assert torch.isfinite(spectra(signal)[0]).all()


def test_the_kit_gets_a_tokenizer_that_suits():
    objective = build_objective(**SIZE)
    assert objective.tokenizer.quantize.n_codes == TOKENIZERS["tiny"]["n_codes"]
    with pytest.raises(SpecError, match="mask_ratio"):
        build_objective(mask_ratio=1.0, **SIZE)


def test_windows_are_tokenized_once(second, monkeypatch):
    asked = []
    tokenize = type(second.tokenizer).codes
    monkeypatch.setattr(
        type(second.tokenizer), "codes", lambda self, b: asked.append(b) or tokenize(self, b)
    )
    whole, order = _batch(n=13), torch.randperm(13, generator=_seeded())
    fresh = copy.deepcopy(second)
    some = second.memory.codes(SignalBatch(whole.signal[:5], whole.rows), second.tokenizer)
    again = second.memory.codes(SignalBatch(whole.signal[order], whole.rows), second.tokenizer)
    assert len(asked) == 2  # 5 windows, then the 8 others
    assert torch.equal(again[torch.argsort(order)][:5], some)
    other = fresh.memory.codes(SignalBatch(whole.signal[order], whole.rows), fresh.tokenizer)
    assert torch.equal(other, again)  # whatever stood beside a window
    assert torch.equal(
        again, tokenize(second.tokenizer, SignalBatch(whole.signal[order], whole.rows))
    )
    second.memory.codes(SignalBatch(whole.signal, whole.rows.flip(0)), second.tokenizer)
    assert len(second.memory.known) == 26  # the same samples of other electrodes


def test_codes_of_another_tokenizer_are_forgotten(second):
    batch = _batch(n=4)
    before = second.memory.codes(batch, second.tokenizer)
    with torch.no_grad():
        second.tokenizer.quantize.embedding.weight.copy_(
            second.tokenizer.quantize.embedding.weight.flip(0)
        )
    n_codes = second.tokenizer.quantize.n_codes
    assert torch.equal(second.memory.codes(batch, second.tokenizer), n_codes - 1 - before)
    second.memory.most_bytes = 0
    second.memory.codes(_batch(n=4, seed=1), second.tokenizer)
    assert len(second.memory.known) == 4


def test_options_of_the_tokenizer_may_be_told_to_both_stages():
    torch.manual_seed(0)
    options = SIZE | {"n_codes": 24, "code_dim": 8, "revive_after": None}
    first = tokenizer_stage(previous={}, **options)
    second = masked_stage(previous={"tokenizer": first}, **options)
    assert second.network.lm_head.out_features == 24
    with pytest.raises(SpecError, match="n_codes=48: the trained tokenizer has 24"):
        masked_stage(previous={"tokenizer": first}, **options | {"n_codes": 48})
