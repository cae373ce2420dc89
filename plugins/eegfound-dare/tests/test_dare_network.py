"""DARE-EEG's encoder: sizes, options, structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_dare import DAREClassifier, DARERegressor, DARETransformer
from eegfound_dare.objective import build_objective
from eegfound_dare.plugin import MODEL

import eegfound as ef
from eegfound.base import CheckpointNotFoundError, SpecError
from eegfound.nn.slices import PRETRAINING_CHANNELS, VOCABULARY

#: Of the paper's sizes: encoder, encoder + predictor + reconstructor, projection head.
COUNTS = {
    "nano": (108_288, 429_192, 164_608),
    "light": (1_206_272, 3_652_048, 197_376),
    "small": (4_771_840, 14_480_224, 262_912),
    "base": (6_352_128, 19_220_320, 656_128),
    "deep": (25_287_168, 76_582_496, 1_180_416),
}
INFO = ef.ChannelInfo(("Fz", "C3", "Cz", "C4", "Pz"), 256.0)


def eeg(n=4, n_channels=5, n_times=256):
    return 1e-5 * np.random.default_rng(0).standard_normal((n, n_channels, n_times))


@pytest.mark.parametrize("size", list(COUNTS))
def test_sizes(size):
    with torch.device("meta"):
        networks = build_objective(**MODEL.sizes[size]).networks

    def count(module):
        # The reference counts the rotary frequencies as parameters.
        frequencies = sum(b.numel() for n, b in module.named_buffers() if n.endswith("freqs"))
        return sum(p.numel() for p in module.parameters()) + frequencies

    encoder, three, head = COUNTS[size]
    assert count(networks.encoder) == encoder
    parts = (networks.encoder, networks.predictor, networks.reconstructor)
    assert sum(map(count, parts)) == three
    assert count(networks.loss_mc) == head
    assert networks.encoder.blocks[0].attn.heads == (8 if size == "deep" else 4)


def transformer(**params):
    return DARETransformer(**({"checkpoint": None, "info": INFO} | params))


def test_embedding_is_the_mean_over_slices_of_all_summary_tokens():
    X = eeg()
    enc = transformer(size="nano", model_params={"n_summary": 3})
    assert enc.fit_transform(X).shape == (4, 3 * 64)
    flat = enc.set_params(pooling="flatten").fit_transform(X)
    np.testing.assert_allclose(
        flat.reshape(4, 4, -1).mean(axis=1), enc.set_params(pooling="mean").fit_transform(X),
        atol=1e-5,
    )  # fmt: skip


def test_slices_know_nothing_of_each_other():
    X = eeg()
    enc = transformer(pooling="flatten").fit(X)
    before = enc.transform(X).reshape(4, 4, -1)
    X[:, :, 64:128] *= -1
    after = enc.transform(X).reshape(4, 4, -1)
    same = (before == after).all(axis=(0, 2))
    assert same.tolist() == [True, False, True, True]


def test_first_rows_instead_of_named_ones():
    X = eeg()
    named = transformer(info=ef.ChannelInfo(VOCABULARY[:5], 256.0)).fit_transform(X)
    first = transformer(model_params={"virtual_ids": "first"}).fit_transform(X)
    np.testing.assert_array_equal(first, named)
    assert np.abs(transformer().fit_transform(X) - named).max() > 1e-4
    with pytest.raises(SpecError, match="virtual_ids='other'"):
        transformer(model_params={"virtual_ids": "other"}).fit(X)


def test_heads_and_scale_are_options():
    X = eeg()
    plain = transformer().fit_transform(X)
    other = transformer(model_params={"heads": 8})
    assert np.abs(other.fit_transform(X) - plain).max() > 1e-5
    assert other.encoder_.network.blocks[0].attn.heads == 8
    scaled = transformer(model_params={"input_scale": 10.0}).fit_transform(X)
    np.testing.assert_allclose(scaled, transformer().fit_transform(10 * X), atol=1e-5)


def test_no_weights_is_an_error_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    for size in ("nano", "deep"):
        with pytest.raises(CheckpointNotFoundError, match="nobody offers them for download"):
            DARETransformer(info=INFO, size=size).fit(eeg())
    with pytest.raises(CheckpointNotFoundError, match="No weights are published"):
        DARETransformer(info=INFO, size="light").fit(eeg())


def test_conv_linear_probing_and_the_authors_heads():
    rng = np.random.default_rng(0)
    y = np.tile(["left", "right"], 12)
    X = 1e-5 * rng.standard_normal((24, 3, 250))
    X[y == "right", 1] += 4e-5 * np.sin(2 * np.pi * 8 * np.arange(250) / 125)
    info = ef.ChannelInfo(("EEG-left", "EEG-mid", "EEG-right"), 125.0)
    for head in (None, "dare_v2", "dare_mlp", "dare_small"):
        clf = DAREClassifier(
            checkpoint=None, info=info, tuning="conv_linear", head=head, lr=1e-2, max_epochs=25,
            adapter_channels=["C5", "C3", "C1", "CZ", "C2", "C4", "C6"],
        )  # fmt: skip
        assert clf.fit(X, y).score(X, y) > 0.8, head
        module = clf.net_.module_
        assert module.network.target.rows == tuple(range(26, 33))
        assert clf.n_features_out_ == 8 * 64  # two seconds are eight slices
    assert clf.net_.module_.head.body.mlp[1].max_norm == 1
    reg = DARERegressor(
        checkpoint=None, info=info, tuning="conv_linear", max_epochs=1,
        adapter_channels=list(PRETRAINING_CHANNELS),
    )  # fmt: skip
    assert reg.fit(X, np.arange(24.0)).predict(X).shape == (24,)


def test_a_channel_on_its_own_is_not_referenced_away():
    X = eeg(n_channels=1)
    enc = transformer(info=ef.ChannelInfo(("Cz",), 256.0)).fit(X)
    signal = enc.plan_.apply(X, np.ones((4, 1), bool))
    np.testing.assert_allclose(signal, 1e3 * X, rtol=1e-5)
    several = transformer().fit(eeg())
    X = eeg()
    X[0, 1:] = np.nan  # one of five was recorded
    presence = ~np.isnan(X[..., 0])
    mixed = several.plan_.apply(X, presence)
    np.testing.assert_allclose(mixed[0, 0], 1e3 * X[0, 0], rtol=1e-5)
    np.testing.assert_allclose(mixed[1:].mean(axis=1), 0, atol=1e-8)
