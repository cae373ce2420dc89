"""VQ-NSP: codes, codebook, targets and losses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from eegfound_labram.quantizer import CodebookQuantizer
from eegfound_labram.tokenizer import VQNSP, build_tokenizer, convert_tokenizer, spectral_targets

from eegfound.base import SpecError
from eegfound.models.files import read_tensors
from eegfound.models.loading import load_state
from eegfound.models.network import SignalBatch
from eegfound.nn.codebook import code_margin, cosine_kmeans, nearest, unit

TINY = {
    "out_chans": 4, "depth": 2, "num_heads": 5, "decoder_depth": 1, "decoder_heads": 5,
    "n_codes": 64, "code_dim": 16,
}  # fmt: skip


def _batch(n=3, n_channels=4, n_patches=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    signal = torch.randn(n, n_channels, 200 * n_patches, generator=rng)
    return SignalBatch(signal, torch.arange(10, 10 + n_channels))


def _copy(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def _same(module, state):
    return all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    network = VQNSP(**TINY)
    # Fresh task layers map everything to nearly one direction: spread it out.
    torch.nn.init.normal_(network.encode_task_layer[2].weight)
    network.quantize.embedding.initted.fill_(1)
    return network.eval()


def _directions(n, dim, seed=0):
    return unit(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)))


def test_published_shape_and_size():
    network = build_tokenizer()
    manifest = Path(__file__).parent / "golden" / "manifest_vq_base.json"
    expected = {key: tuple(shape) for key, shape in json.loads(manifest.read_text()).items()}
    assert {key: tuple(v.shape) for key, v in network.state_dict().items()} == expected
    parameters = list(network.parameters())
    assert sum(p.numel() for p in parameters) == 8_579_408
    assert sum(p.numel() for p in parameters if p.requires_grad) == 7_522_640
    deep = build_tokenizer(depth=24)
    assert sum(p.numel() for p in deep.parameters()) == 14_368_208


def test_codes_are_channel_major_and_independent_of_the_batch(tokenizer):
    batch = _batch()
    codes = tokenizer.codes(batch)
    assert codes.shape == (3, 8)
    assert codes.dtype == torch.int64
    assert len(codes.unique()) > 3
    assert torch.equal(codes, tokenizer.codes(batch))
    one = tokenizer.codes(SignalBatch(batch.signal[1:2], batch.rows))
    assert torch.equal(one[0], codes[1])


def test_channels_may_come_in_any_order(tokenizer):
    batch, order = _batch(), torch.tensor([2, 0, 3, 1])
    turned = SignalBatch(batch.signal[:, order], batch.rows[order])
    codes = tokenizer.codes(batch).view(3, 4, 2)
    assert torch.equal(tokenizer.codes(turned).view(3, 4, 2), codes[:, order])


def test_encoding_changes_nothing(tokenizer):
    before = _copy(tokenizer)
    tokenizer.train()
    tokenizer.codes(_batch())
    tokenizer.encode(_batch())
    assert _same(tokenizer, before)


def test_evaluation_counts_codes_and_changes_nothing_else(tokenizer):
    before = _copy(tokenizer)
    with torch.no_grad():
        tokenizer(_batch())
    counts = before.pop("quantize.cluster_size")
    after = tokenizer.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    codes = tokenizer.codes(_batch()).flatten()
    expected = 0.99 * counts + 0.01 * torch.bincount(codes, minlength=64)
    assert torch.allclose(after["quantize.cluster_size"], expected)


def test_an_empty_codebook_is_an_error_when_codes_are_asked_for(tokenizer):
    tokenizer.quantize.embedding.initted.zero_()
    with pytest.raises(SpecError, match="codebook is empty"):
        tokenizer.codes(_batch())


def test_the_first_training_batch_fills_the_codebook(tokenizer):
    tokenizer.quantize.embedding.initted.zero_()
    tokenizer.train()
    losses = tokenizer(_batch(n=20))
    assert tokenizer.quantize.is_initialized
    # 160 vectors for 64 codes found from them: most vectors have a code nearby.
    assert losses.commitment < 0.02
    assert torch.allclose(tokenizer.quantize.embedding.weight.norm(dim=1), torch.ones(64))


def test_losses_add_up_and_reach_everything_but_the_codebook(tokenizer):
    tokenizer.train()
    losses = tokenizer(_batch())
    assert losses.total == losses.commitment + losses.amplitude + losses.phase
    losses.total.backward()
    idle = {key for key, p in tokenizer.named_parameters() if p.grad is None}
    assert idle == {f"quantize.embedding.{k}" for k in ("weight", "cluster_size", "embed_avg")}
    # The gradient passes through the quantizer to the very first layer.
    assert tokenizer.encoder.patch_embed.conv1.weight.grad.abs().max() > 0


def test_training_lowers_the_loss():
    torch.manual_seed(1)
    network, batch = VQNSP(**TINY).train(), _batch(n=4)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    history = []
    for _ in range(25):
        loss = network(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.95 * history[0]


def test_one_patch_can_be_encoded_but_not_decoded(tokenizer):
    batch = _batch(n_patches=1)
    assert tokenizer.codes(batch).shape == (3, 4)
    with pytest.raises(SpecError, match="at least 2 patches"):
        tokenizer(batch)


def test_flat_epochs_are_named(tokenizer):
    batch = _batch()
    batch.signal[1] = 0
    assert tokenizer.codes(batch).shape == (3, 8)
    with pytest.raises(SpecError, match=r"Epochs \[1\] of the batch are flat"):
        tokenizer(batch)


def test_targets_are_standardized_spectra():
    signal = _batch(n=2).signal
    spectrum = np.fft.fft(signal.numpy().reshape(2, 4, 2, 200).astype(np.float64))
    phase = np.angle(spectrum)
    phase[..., [0, 100]] = np.abs(phase[..., [0, 100]])  # 0 or pi: see below
    for ours, theirs in zip(spectral_targets(signal), (np.abs(spectrum), phase), strict=True):
        flat = theirs.reshape(2, -1)
        scored = (flat - flat.mean(1, keepdims=True)) / flat.std(1, ddof=1, keepdims=True)
        assert np.allclose(ours.reshape(2, -1), scored, atol=1e-4)


def test_the_phase_of_negative_real_bins_is_plus_pi():
    # Mean and Nyquist bin of a real signal: libraries differ between pi and -pi.
    swing = torch.tensor([1.0, -1.0]).repeat(200)
    signal = _batch(n=1).signal - 5 - 5 * swing
    _, phase = spectral_targets(signal)
    assert (phase[..., [0, 100]] == phase.max()).all()


@pytest.mark.parametrize("shape", [(2, 1, 400), (1, 5, 3200)])
def test_targets_are_scored_per_epoch(shape):
    for values in spectral_targets(torch.randn(shape)):
        assert torch.allclose(values.mean(dim=(1, 2, 3)), torch.zeros(shape[0]), atol=1e-5)
        assert torch.allclose(values.std(dim=(1, 2, 3)), torch.ones(shape[0]), atol=1e-5)


def test_kmeans_finds_well_separated_directions():
    centers = torch.eye(5, 8)
    noise = 0.05 * torch.randn(5, 40, 8, generator=torch.Generator().manual_seed(3))
    samples = unit(centers[:, None] + noise).flatten(0, 1)
    initial = torch.arange(5) * 40
    found, counts = cosine_kmeans(samples, 5, initial=initial)
    assert counts.tolist() == [40] * 5
    assert ((found * centers).sum(dim=1) > 0.99).all()
    assert torch.allclose(found.norm(dim=1), torch.ones(5))


def test_kmeans_starts_from_distinct_samples_or_repeats_them():
    samples = _directions(6, 4)
    found, counts = cosine_kmeans(samples, 6, n_iter=1)
    assert counts.tolist() == [1] * 6
    assert {tuple(row) for row in found.tolist()} == {tuple(r) for r in unit(samples).tolist()}
    found, counts = cosine_kmeans(samples, 9, generator=torch.Generator().manual_seed(0))
    assert found.shape == (9, 4)
    assert counts.sum() == 6  # a repeated center stays where it is, without members
    assert torch.isfinite(found).all()


def test_nearest_is_the_most_aligned_row():
    vectors, book = _directions(5000, 6), _directions(50, 6, seed=1)
    codes = nearest(vectors, book)  # more vectors than are looked up at once
    assert torch.equal(codes, (vectors @ book.T).argmax(dim=1))
    margin = code_margin(vectors, book)
    aligned = (vectors @ book.T).topk(2, dim=1).values
    assert torch.allclose(margin, 2 * (aligned[:, 0] - aligned[:, 1]), atol=1e-5)


def _quantizer():
    torch.manual_seed(0)
    quantizer = CodebookQuantizer(12, 4, decay=0.9)
    quantizer.embedding.initted.fill_(1)
    return quantizer


def test_the_codebook_follows_running_averages():
    quantizer = _quantizer().train()
    book = quantizer.embedding.weight.clone().numpy().astype(np.float64)
    z = torch.randn(2, 4, 3, 5)
    quantized = quantizer(z)
    rows = z.permute(0, 2, 3, 1).reshape(-1, 4).numpy().astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    codes = (rows @ book.T).argmax(axis=1)
    assert np.array_equal(quantized.codes.numpy().ravel(), codes)
    expected = book.copy()
    for j in set(codes):
        mean = rows[codes == j].mean(axis=0)
        expected[j] = 0.9 * book[j] + 0.1 * mean / np.linalg.norm(mean)
        expected[j] /= np.linalg.norm(expected[j])
    assert np.allclose(quantizer.embedding.weight.numpy(), expected, atol=1e-6)
    assert set(range(12)) - set(codes)  # some code was not used and stayed
    # What is returned belongs to the codebook before it moved.
    chosen = book[codes].reshape(2, 3, 5, 4).transpose(0, 3, 1, 2)
    assert np.allclose(quantized.vectors.numpy(), chosen, atol=1e-6)
    assert quantized.loss.item() == pytest.approx(((rows - book[codes]) ** 2).mean(), abs=1e-6)


def test_gradients_pass_the_quantizer_straight_through():
    quantizer = _quantizer().eval()
    z = torch.randn(2, 4, 3, 5, requires_grad=True)
    weights = torch.randn(2, 4, 3, 5)
    (through,) = torch.autograd.grad((quantizer.lookup(z).vectors * weights).sum(), z)
    (normed,) = torch.autograd.grad((z / z.norm(dim=1, keepdim=True) * weights).sum(), z)
    assert torch.allclose(through, normed, atol=1e-6)


def _follow_in_worker(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    first = CodebookQuantizer(12, 4, decay=0.9).train()
    torch.manual_seed(rank)
    first(torch.randn(2, 4, 3, 5))  # k-means, each on its own batch
    quantizer = _quantizer().train()
    halves = torch.randn(2, 2, 4, 3, 5, generator=torch.Generator().manual_seed(5))
    quantizer(halves[rank])
    torch.save({"started": first.embedding.weight, **quantizer.state_dict()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_workers_keep_one_codebook(tmp_path):
    torch.multiprocessing.spawn(_follow_in_worker, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{i}.pt", weights_only=True) for i in range(2))
    for key in first:
        assert torch.equal(first[key], second[key]), key
    alone = _quantizer().train()
    alone(torch.randn(2, 2, 4, 3, 5, generator=torch.Generator().manual_seed(5)).flatten(0, 1))
    for key, value in alone.state_dict().items():
        assert torch.allclose(value, first[key], atol=1e-6), key


@pytest.mark.parametrize("wrapped", ["model", "state_dict", None])
def test_the_published_layout_loads(tokenizer, tmp_path, wrapped):
    state = _copy(tokenizer)
    raw = {**state, "teacher.w": torch.zeros(1), "scaling_layer.scale": torch.zeros(1)}
    if wrapped:
        raw = {wrapped: raw, "epoch": 3, "args": argparse.Namespace(lr=1.0)}
    torch.save(raw, tmp_path / "vqnsp.pth")
    read = read_tensors(tmp_path / "vqnsp.pth", ("argparse:Namespace",))
    other = VQNSP(**TINY)
    kept, dropped = convert_tokenizer(read, other)
    assert set(dropped) == {"teacher.w", "scaling_layer.scale"}
    assert load_state(other, kept).ok
    assert torch.equal(other.eval().codes(_batch()), tokenizer.codes(_batch()))
    del kept["decode_task_layer.0.bias"]
    assert load_state(other, kept).missing == ("decode_task_layer.0.bias",)


def test_another_file_is_not_taken_for_a_tokenizer(tokenizer):
    with pytest.raises(KeyError, match="not a LaBraM tokenizer"):
        convert_tokenizer({"model": {"student.cls_token": torch.zeros(1)}}, tokenizer)


def test_weight_decay_leaves_tables_alone(tokenizer):
    names = tokenizer.no_weight_decay()
    assert {"encoder.pos_embed", "decoder.time_embed", "encoder.cls_token"} < names
    assert names < {name for name, _ in tokenizer.named_parameters()}
