"""Both stages of pretraining: codebook, targets, text alignment, next codes."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from eegfound_neurolm.codebook import Codebook
from eegfound_neurolm.objective import build_objective, reverse_gradient
from eegfound_neurolm.tokenizer import NeuralTokenizer, targets

from eegfound.base import SpecError
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

SIZE = dict(get_model("neurolm").sizes["tiny"])


def batch(n=3, n_seconds=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, 4, 200 * n_seconds, generator=generator)
    return SignalBatch(signal, torch.tensor([3, 40, 17, 137]))


def objective(seed=0, **options):
    torch.manual_seed(seed)
    return build_objective(**SIZE, **options)


def train(model, given, steps, **options):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    history = []
    for i in range(steps):
        losses = model(given, generator=torch.Generator().manual_seed(0), **options)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        model.after_step((i + 1) / steps)
        history.append(losses)
    return history


def test_targets_are_standardized_over_the_epoch():
    patches = 3 + torch.randn(2, 6, 200)
    amplitude, raw = targets(patches)
    assert amplitude.shape == (2, 6, 100)
    assert torch.allclose(raw.mean(dim=(1, 2)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(raw.flatten(1).std(dim=1), torch.ones(2), atol=1e-5)
    tone = torch.sin(2 * torch.pi * 10 * torch.arange(200) / 200).expand(1, 2, 200)
    assert targets(tone)[0].argmax(dim=-1).tolist() == [[10, 10]]
    with pytest.raises(SpecError, match=r"Epochs \[1\].*flat"):
        targets(torch.stack([patches[0], torch.zeros(6, 200)]))


def test_the_codebook_finds_the_nearest_direction():
    torch.manual_seed(0)
    book = Codebook(32, 8)
    z = torch.randn(2, 5, 8)
    with pytest.raises(SpecError, match="empty"):
        book(z)
    book.initialize(F.normalize(torch.randn(100, 8), dim=-1))
    assert torch.allclose(book.embedding.weight.norm(dim=1), torch.ones(32), atol=1e-5)
    out = book(z)
    expected = torch.cdist(F.normalize(z, dim=-1).flatten(0, 1), book.embedding.weight).argmin(
        dim=1
    )
    assert torch.equal(out.codes.flatten(), expected)
    assert torch.equal(book(7 * z).codes, out.codes)
    assert torch.allclose(out.vectors.flatten(0, 1), book.embedding.weight[expected], atol=1e-6)
    gap = (F.normalize(z, dim=-1).flatten(0, 1) - book.embedding.weight[expected]).square().mean()
    assert out.loss.item() == pytest.approx(gap.item(), rel=1e-5)


def test_the_codebook_follows_what_it_stands_for():
    torch.manual_seed(0)
    book = Codebook(4, 8, decay=0.9)
    book.initialize(F.normalize(torch.randn(50, 8), dim=-1))
    before = book.embedding.weight.clone()
    vectors = F.normalize(torch.randn(6, 8), dim=-1)
    codes = torch.tensor([1, 1, 1, 3, 3, 3])
    book.collect(vectors, codes)
    book.follow()
    after = book.embedding.weight
    assert torch.equal(after[[0, 2]], before[[0, 2]])  # unused codes keep their vector
    mean = F.normalize(vectors[:3].sum(dim=0), dim=0)
    assert torch.allclose(after[1], F.normalize(0.9 * before[1] + 0.1 * mean, dim=0), atol=1e-6)


def test_kmeans_gathers_clusters():
    torch.manual_seed(0)
    centers = F.normalize(torch.eye(5, 16) + 0.01, dim=-1)
    cloud = F.normalize(centers.repeat(40, 1) + 0.02 * torch.randn(200, 16), dim=-1)
    book = Codebook(20, 16)
    book.initialize(cloud)
    assert ((cloud @ book.embedding.weight.T).amax(dim=1) > 0.98).all()
    few = Codebook(8, 16)
    few.initialize(cloud[:3])  # fewer vectors than codes
    assert torch.isfinite(few.embedding.weight).all()
    assert ((cloud[:3] @ few.embedding.weight.T).amax(dim=1) > 0.999).all()


def test_the_first_stage_learns_and_looking_changes_nothing():
    model, given = objective(), batch()
    model.prepare(given)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    first = model(given).total
    assert torch.equal(first, model(given).total)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    history = train(model, given, 25)
    assert history[-1].raw < 0.8 * history[0].raw
    assert history[-1].total < history[0].total
    assert not torch.equal(model.tokenizer.quantize.embedding.weight,
                           before["tokenizer.quantize.embedding.weight"])  # fmt: skip


def test_the_encoder_is_the_one_that_is_trained():
    model, given = objective(), batch()
    model.prepare(given)
    before = model.encoder(given).values
    train(model, given, 1)
    assert not torch.equal(model.encoder(given).values, before)
    again = copy.deepcopy(model)
    train(again, given, 1)
    assert torch.equal(
        again.encoder.tokenizer.fc_norm.weight, again.tokenizer.encoder.fc_norm.weight
    )
    own = [id(p) for p in model.parameters()]
    assert len(own) == len(set(own))


def test_the_mean_runs_over_a_full_sequence_unless_told_otherwise():
    given = batch()
    quirk, plain = objective(), objective(mean_over=None)
    for model in (quirk, plain):
        model.prepare(given)
    a, b = quirk(given), plain(given)
    assert torch.allclose(a.amplitude * 1024, b.amplitude * 12, rtol=1e-5)
    assert torch.allclose(a.raw * 1024, b.raw * 12, rtol=1e-5)
    assert torch.equal(a.commitment, b.commitment)


def test_the_gradient_turns_round():
    x = torch.randn(3, requires_grad=True)
    out = reverse_gradient(x, 0.25)
    assert torch.allclose(out, x)
    out.sum().backward()
    assert torch.allclose(x.grad, torch.full((3,), -0.25))


def test_text_alignment_pulls_the_encoder_towards_words():
    torch.manual_seed(1)
    words = torch.randn(50, SIZE["width"])
    model, given = objective(text_embeddings=words), batch()
    model.prepare(given)
    seeded = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    losses = model(given, generator=seeded())
    assert losses.domain > 0
    assert torch.allclose(
        losses.total, losses.amplitude + losses.raw + losses.commitment + losses.domain
    )
    assert model.reversal == 0  # at the start the encoder is left alone
    model.after_step(1.0)
    assert model.reversal == pytest.approx(0.99991, abs=1e-5)
    weight = model.encoder.tokenizer.fc_norm.bias
    (grad,) = torch.autograd.grad(model(given, generator=seeded()).domain, weight)
    # The encoder goes uphill in the loss of the EEG side: against what the classifier wants.
    features = model.tokenizer.encoder(*_laid(given))
    zeros = torch.zeros(features.shape[0] * features.shape[1], dtype=torch.int64)
    honest = F.cross_entropy(model.domain(features).flatten(0, 1), zeros)
    (straight,) = torch.autograd.grad(honest, weight)
    assert torch.allclose(grad, -model.reversal * straight, atol=1e-6)
    with pytest.raises(SpecError, match="text_embeddings"):
        objective(text_embeddings=torch.randn(50, 7))


def _laid(given):
    from eegfound_neurolm.network import lay_out

    return lay_out(given)


def test_one_sequence_at_a_time():
    model = objective()
    long = SignalBatch(torch.randn(1, 4, 200 * 65), torch.tensor([1, 2, 3, 4]))
    with pytest.raises(SpecError, match="shorter windows"):
        model(long)


@pytest.fixture
def trained_tokenizer():
    torch.manual_seed(2)
    names = ("width", "depth", "heads", "n_codes", "code_dim")
    tokenizer = NeuralTokenizer(decoder_depth=1, **{name: SIZE[name] for name in names})
    tokenizer.prepare(*_laid(batch(seed=8)))
    return tokenizer


def test_the_second_stage_predicts_the_next_second(trained_tokenizer):
    model, given = objective(stage="next-code", tokenizer=trained_tokenizer), batch()
    patches, channels, seconds = _laid(given)
    codes = trained_tokenizer.encode(patches, channels, seconds)[1].codes.view(3, 3, 4)
    logits = model.network.GPT2.lm_head(model.network(given).values).view(3, 3, 4, -1)
    by_hand = [
        -logits[n, t, c].log_softmax(-1)[50304 + codes[n, t + 1, c]]
        for n in range(3) for t in range(2) for c in range(4)
    ]  # fmt: skip
    assert torch.allclose(model(given).eeg, torch.stack(by_hand).mean(), atol=1e-5)
    with pytest.raises(SpecError, match="at least 2 s"):
        model(batch(n_seconds=1))


def test_the_second_stage_learns_with_a_frozen_encoder(trained_tokenizer):
    text = torch.randint(50304, (2, 6), generator=torch.Generator().manual_seed(0))
    model, given = objective(stage="next-code", tokenizer=trained_tokenizer), batch()
    before = {k: v.clone() for k, v in model.encoder.tokenizer.state_dict().items()}
    history = train(model, given, 12, text=text)
    assert history[-1].eeg < 0.9 * history[0].eeg
    assert history[-1].text < 0.9 * history[0].text
    assert torch.allclose(history[0].total, history[0].eeg + history[0].text)
    assert all(torch.equal(v, before[k]) for k, v in model.encoder.tokenizer.state_dict().items())
    assert not model.train().tokenizer.training


def test_the_second_stage_needs_codes(trained_tokenizer):
    with pytest.raises(SpecError, match="codebook is empty"):
        objective(stage="next-code")(batch())
    with pytest.raises(SpecError, match="n_codes=64"):
        build_objective(stage="next-code", tokenizer=trained_tokenizer, **(SIZE | {"n_codes": 32}))
    with pytest.raises(SpecError, match="stage"):
        build_objective(stage="third", **SIZE)
