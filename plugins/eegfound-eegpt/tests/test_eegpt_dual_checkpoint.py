"""Files in the published layout: what is taken, left out and refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from eegfound_eegpt import EEGPTClassifier, EEGPTTransformer

import eegfound as ef
from eegfound.base import CheckpointError, CheckpointNotFoundError, SignalWarning
from eegfound.models import get_model
from eegfound.models.files import save_weights
from eegfound.models.loading import load_encoder
from eegfound.nn.slices import EEGPT_SIZES, PretrainingNetworks

MODEL = get_model("eegpt")
NAME = "eegpt_mcae_58chs_4s_large4E.ckpt"


@pytest.fixture(scope="module")
def networks():
    """Networks of a small size; online and momentum encoder differ."""
    torch.manual_seed(5)
    made = PretrainingNetworks(**EEGPT_SIZES["tiny2"])
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.add_(1)
    return made


@pytest.fixture(scope="module")
def lightning(networks, tmp_path_factory):
    """A file with the published file's surroundings."""
    path = tmp_path_factory.mktemp("weights") / "tiny2.ckpt"
    content = {
        "epoch": 199, "global_step": 1000, "pytorch-lightning_version": "2.0.0",
        "state_dict": networks.state_dict(), "loops": {}, "callbacks": {},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 5e-4}]}], "lr_schedulers": [],
    }  # fmt: skip
    torch.save(content, path)
    return path


def load(path, **options):
    return load_encoder(MODEL, checkpoint=path, size="tiny2", **options)


def test_the_momentum_encoder_is_what_is_taken(networks, lightning):
    loaded = load(lightning)
    assert loaded.report.ok
    for key, value in networks.target_encoder.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value), key
    parts = {key.split(".")[0] for key in loaded.report.dropped}
    assert parts == {"encoder", "predictor", "reconstructor"}


@pytest.mark.parametrize("kind", ["predictor", "reconstructor"])
def test_a_read_out_takes_its_network_from_pretraining(networks, lightning, kind):
    loaded = load(lightning, pooling=f"{kind}_mean")
    assert loaded.report.ok
    assert set(loaded.report.optional) == {
        f"{kind}.cls_token", "fc_norm.weight", "fc_norm.bias"
    }  # fmt: skip
    own = loaded.network.state_dict()
    for key, value in getattr(networks, kind).state_dict().items():
        assert torch.equal(own[f"{kind}.{key}"], value), key
    assert {key.split(".")[0] for key in loaded.report.dropped} == {
        "encoder", *({"predictor", "reconstructor"} - {kind})
    }  # fmt: skip


@pytest.mark.parametrize("bare", [False, True])
def test_other_wrappings_of_the_same_tensors(networks, tmp_path, bare):
    state = (networks.target_encoder if bare else networks).state_dict()
    torch.save(state, tmp_path / "other.pt")
    loaded = load(tmp_path / "other.pt")
    assert torch.equal(loaded.network.summary_token, networks.target_encoder.summary_token)


def test_tensors_that_miss_or_are_too_many_are_refused(networks, tmp_path):
    hole = dict(networks.state_dict())
    del hole["target_encoder.blocks.1.attn.qkv.bias"]
    torch.save({"state_dict": hole}, tmp_path / "hole.ckpt")
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.qkv\.bias"):
        load(tmp_path / "hole.ckpt")
    extra = networks.state_dict() | {"target_encoder.rel_pos": torch.zeros(2)}
    torch.save({"state_dict": extra}, tmp_path / "extra.ckpt")
    with pytest.raises(CheckpointError, match="rel_pos"):
        load(tmp_path / "extra.ckpt")
    torch.save({"state_dict": {"encoder.weight": torch.ones(3)}}, tmp_path / "stranger.ckpt")
    with pytest.raises(CheckpointError, match="it is not EEGPT"):
        load(tmp_path / "stranger.ckpt")


def test_weights_of_another_size_are_named(lightning):
    with pytest.raises(CheckpointError, match="size='tiny2'"):
        load_encoder(MODEL, checkpoint=lightning, size="tiny1")


def test_no_weights_here_says_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=r"figshare\.com/s/.*EEGFOUND_WEIGHTS"):
        load_encoder(MODEL, size="large")
    with pytest.raises(CheckpointNotFoundError, match="size 'tiny1'"):
        load_encoder(MODEL, size="tiny1")


def test_electrodes_that_no_pretraining_had_are_announced(lightning):
    X = 1e-5 * np.random.default_rng(0).standard_normal((3, 3, 256))
    odd = ef.ChannelInfo(["Cz", "AF7", "PO6"], 256.0)
    given = {"size": "tiny2", "checkpoint": str(lightning)}
    with pytest.warns(SignalWarning, match="AF7, PO6"):
        EEGPTTransformer(info=odd, **given).fit_transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SignalWarning)
        plain = ef.ChannelInfo(["Cz", "C3", "C4"], 256.0)
        EEGPTTransformer(info=plain, **given).fit_transform(X)
        EEGPTTransformer(info=odd, size="tiny2", checkpoint=None).fit_transform(X)


def test_own_files_serve_read_outs_that_they_hold(tmp_path):
    network = MODEL.build("tiny1", pooling="predictor_mean")
    path = save_weights(
        tmp_path / "own.safetensors", network.state_dict(), {"model": "eegpt", "size": "tiny1"}
    )
    loaded = load_encoder(MODEL, checkpoint=path, pooling="mean")
    assert loaded.report.ok
    assert torch.equal(loaded.network.summary_token, network.summary_token)
    with pytest.raises(CheckpointError, match="reconstructor"):
        load_encoder(MODEL, checkpoint=path, pooling="reconstructor_cls")


def test_fine_tuning_starts_from_the_file(lightning):
    X = 1e-5 * np.random.default_rng(0).standard_normal((8, 3, 256))
    y = np.tile([0, 1], 4)
    info = ef.ChannelInfo(["Cz", "C3", "C4"], 256.0)
    clf = EEGPTClassifier(
        info=info, size="tiny2", checkpoint=str(lightning), tuning="full", max_epochs=1,
        pooling="reconstructor_cls", random_state=0,
    ).fit(X, y)  # fmt: skip
    moved = clf.net_.module_.network.state_dict()
    before = clf.encoder_.network.state_dict()
    freqs = "reconstructor.time_embed.freqs"
    assert torch.equal(moved[freqs], before[freqs])
    assert not torch.equal(moved["summary_token"], before["summary_token"])
    assert clf.predict_proba(X).shape == (8, 2)
