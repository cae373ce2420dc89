"""Both stages of pretraining as the Pretrainer runs them (journey 10)."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from eegfound_neurolm.stages import next_code_stage, vq_stage

import eegfound as ef
from eegfound.base import SpecError
from eegfound.datasets import load_sample
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

#: The smallest size without words.
SIZE = {
    "width": 32, "depth": 1, "heads": 4, "lm_width": 24, "lm_depth": 1, "lm_heads": 4,
    "n_codes": 32, "code_dim": 8, "text_rows": 0,
}  # fmt: skip


def _batch(n=8, n_channels=3, n_seconds=3):
    # Every window has a rhythm, which goes on.
    rng = torch.Generator().manual_seed(0)
    rate = torch.randint(1, 8, (n, 1, 1), generator=rng) * 4
    wave = torch.sin(2 * torch.pi * rate * torch.arange(200 * n_seconds) / 200)
    noise = torch.randn(n, n_channels, 200 * n_seconds, generator=rng)
    return SignalBatch(wave + 0.3 * noise, torch.tensor([40, 17, 63][:n_channels]))


@pytest.fixture
def first():
    torch.manual_seed(0)
    objective = vq_stage(previous={}, **SIZE)
    objective.prepare(_batch())
    return objective.train()


@pytest.fixture
def second(first):
    torch.manual_seed(1)
    return next_code_stage(previous={"vq": first.eval()}, **SIZE).train()


def _train(objective, batch, steps, lr=3e-3):
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr)
    for i in range(steps):
        optimizer.zero_grad()
        objective(batch, generator=torch.Generator().manual_seed(i)).total.backward()
        optimizer.step()
        objective.after_step((i + 1) / steps)
    with torch.no_grad():
        return objective.eval().measure(batch)


def test_two_parts_come_to_the_same_as_one(first):
    batch, other = _batch(), copy.deepcopy(first)
    parts = [SignalBatch(batch.signal[at], batch.rows) for at in (slice(0, 2), slice(2, 8))]
    whole = first(batch)
    before = copy.deepcopy(other.state_dict())
    losses = [other(part) for part in parts]
    for name in ("total", "amplitude", "raw", "commitment"):
        together = (2 * getattr(losses[0], name) + 6 * getattr(losses[1], name)) / 8
        assert torch.allclose(getattr(whole, name), together, rtol=1e-4), name
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    for objective in (first, other):
        objective.after_step(0.5)
    for key, value in first.state_dict().items():
        assert torch.allclose(other.state_dict()[key], value, atol=1e-6), key
    book = "tokenizer.quantize.embedding.weight"
    assert not torch.equal(first.state_dict()[book], before[book])


def test_the_first_stage_learns_more_than_means(first):
    batch = _batch()
    first.start_epoch(0, 1)
    found = _train(first, batch, 25)
    assert found["amplitude"] < 0.7 * found["amplitude_trivial"]
    assert found["raw_trivial"].item() == pytest.approx(1, abs=0.01)
    assert found["total_trivial"] == found["amplitude_trivial"] + found["raw_trivial"]
    assert found["perplexity"] > 2
    assert 0 < found["codes_used"] <= 1
    with torch.no_grad():
        shown = first.illustrate(batch)
    assert torch.allclose(shown["signal"], batch.signal[0], atol=1e-6)
    assert shown["reconstruction"].shape == batch.signal[0].shape
    assert shown["code_use"].sum() == 72


def test_the_second_stage_needs_and_uses_the_first(first, second):
    with pytest.raises(SpecError, match="needs a trained tokenizer"):
        next_code_stage(previous={}, **SIZE)
    own, used = first.tokenizer.state_dict(), second.tokenizer.state_dict()
    assert all(torch.equal(used[key], value) for key, value in own.items())
    batch = _batch()
    found = _train(second, batch, 40, lr=1e-2)
    assert found["accuracy"] > found["accuracy_trivial"] + 0.1
    assert found["eeg"] < found["eeg_trivial"]
    assert all(torch.equal(used[key], value) for key, value in own.items())
    codes = first.tokenizer.encode(*_laid(batch))[1].codes.view(8, 3, 3)
    following = codes[:, 1:]
    assert second.frequencies.counts.sum() == 40 * following.numel()
    assert found["accuracy_repeat"] == (codes[:, :-1] == following).float().mean()
    with torch.no_grad():
        shown = second.illustrate(batch)
    assert shown["reconstruction"].shape == batch.signal[0].shape
    assert shown["hidden"].tolist() == [[False, True, True]] * 3


def _laid(batch):
    from eegfound_neurolm.network import lay_out

    return lay_out(batch)


def test_everything_trainable_gets_a_gradient(first, second):
    for objective in (first.train(), second):
        objective(_batch()).total.backward()
        trained = {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}
        assert [name for name, gradient in trained.items() if gradient is None] == []


def test_a_size_without_words_says_so(second):
    with pytest.raises(SpecError, match="no words"):
        second.network.GPT2.embed_text(torch.tensor([1]))
    model = get_model("neurolm")
    with pytest.raises(SpecError, match="needs words"):
        model.build("small", features="prompt", prompt=[1], options=[[2], [3]])
    whole = model.build("small", features="lm")
    assert sum(p.numel() for p in whole.parameters()) <= 1.5e6


def test_texts_are_drawn():
    torch.manual_seed(0)
    texts = torch.randint(50, (6, 5))
    sized = SIZE | {"text_rows": 50}
    first = vq_stage(previous={}, **sized)
    first.prepare(_batch())
    second = next_code_stage(previous={"vq": first}, texts=texts, **sized)
    losses = [
        second(_batch(), generator=torch.Generator().manual_seed(seed)).text for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    with pytest.raises(SpecError, match="no words"):
        next_code_stage(previous={"vq": first}, texts=texts, **SIZE)


def test_from_unlabelled_windows_to_a_transformer(tmp_path):
    X, _, groups, info = load_sample(subjects=range(2))
    X, groups = X[::4, :3, :400], groups[::4]
    info = ef.ChannelInfo(list(info.ch_names)[:3], sfreq=info.sfreq)
    pre = ef.make_pretrainer(
        "neurolm", size="small", info=info, max_epochs=2, train_batch_size=6, model_params=SIZE,
        validation_fraction=None,
    ).fit(X)  # fmt: skip
    assert list(pre.objectives_) == ["vq", "next-code"]
    pre.save(tmp_path / "my-neurolm.safetensors")
    enc = ef.make_transformer("neurolm", checkpoint=tmp_path / "my-neurolm.safetensors", info=info)
    embedded = enc.fit_transform(X)
    assert embedded.shape == (len(X), 32)
    direct = ef.make_transformer("neurolm", checkpoint=pre.to_checkpoint(), info=info)
    assert np.array_equal(direct.fit_transform(X), embedded)


def test_going_on_with_both_stages_takes_up_the_new_tokenizer(tmp_path):
    X, _, _, info = load_sample(subjects=range(1))
    X, info = X[::4, :3, :400], ef.ChannelInfo(list(info.ch_names)[:3], sfreq=info.sfreq)
    given = {"size": "small", "info": info, "train_batch_size": 6, "model_params": SIZE,
             "validation_fraction": None, "max_epochs": 2, "device": "cpu"}  # fmt: skip
    pre = ef.make_pretrainer("neurolm", **given).fit(X)
    path = pre.save(tmp_path / "stages.safetensors", what="objective")
    again = ef.make_pretrainer("neurolm", checkpoint=path, **given).fit(3 * X)
    first, second = again.objectives_.values()
    own, used = first.tokenizer.state_dict(), second.tokenizer.state_dict()
    assert all(torch.equal(own[key], used[key]) for key in own)
    inside, old = second.network.tokenizer.state_dict(), pre.encoder_.tokenizer.state_dict()
    encoder = first.tokenizer.encoder.state_dict()
    assert all(torch.equal(inside[key], encoder[key]) for key in inside)
    assert any(not torch.equal(inside[key], old[key]) for key in inside)
    assert second.frequencies.counts.sum() == len(X) * 3
