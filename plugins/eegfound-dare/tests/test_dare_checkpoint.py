"""DARE-EEG's files: Lightning checkpoints and fine-tuned models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_dare import DARETransformer
from eegfound_dare.adapters import TUHModel
from eegfound_dare.checkpoint import plain_state
from eegfound_dare.network import build_encoder
from eegfound_dare.objective import build_objective
from eegfound_dare.plugin import MODEL

import eegfound as ef
from eegfound.base import CheckpointError, SignalWarning

INFO = ef.ChannelInfo(("Fz", "C3", "Cz", "C4", "Pz"), 256.0)
X = 1e-5 * np.random.default_rng(0).standard_normal((3, 5, 256))
NAME = MODEL.checkpoint("dare-nano").filename


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(3)
    networks = build_objective(**MODEL.sizes["nano"]).networks
    for parameter in networks.encoder.parameters():
        parameter.data.add_(0.1)  # the online encoder is another one
    return networks


def expected(encoder):
    enc = DARETransformer(checkpoint=None, info=INFO).fit(X)
    network = build_encoder(**MODEL.sizes["nano"]).eval()
    network.load_state_dict(encoder.state_dict())
    # Frozen as loaded ones are: torch rounds otherwise where gradients could flow.
    enc.encoder_._network = network.requires_grad_(False)
    return enc.transform(X)


def test_lightning_checkpoint(networks, tmp_path, monkeypatch):
    state = {"state_dict": networks.state_dict(), "epoch": 196, "optimizer_states": []}
    torch.save(state, tmp_path / NAME)
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(tmp_path))
    enc = DARETransformer(size="nano", info=INFO).fit(X)  # the size's checkpoint is found
    assert enc.weights_ == "dare-nano"
    np.testing.assert_array_equal(enc.transform(X), expected(networks.target_encoder))
    dropped = set(enc.load_report_.dropped)
    assert {"encoder.summary_token", "loss_mc.temperature", "predictor.mask_token"} <= dropped
    assert not any(key.startswith("target_encoder.") for key in dropped)


def test_finetuned_model(networks, tmp_path):
    model = TUHModel(networks.encoder, n_slices=4)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "checkpoint-best.pth")
    enc = DARETransformer(checkpoint=tmp_path / "checkpoint-best.pth", size="nano", info=INFO)
    np.testing.assert_array_equal(enc.fit_transform(X), expected(networks.encoder))
    again = TUHModel(build_encoder(**MODEL.sizes["nano"]), n_slices=4)
    again.load_state_dict(plain_state({"model": state}))
    x = torch.randn(2, 23, 4 * 64 + 14)
    assert torch.equal(again.eval()(x), model.eval()(x))


def test_bare_encoder(networks, tmp_path):
    torch.save(networks.target_encoder.state_dict(), tmp_path / "bare.pt")
    enc = DARETransformer(checkpoint=tmp_path / "bare.pt", info=INFO)
    np.testing.assert_array_equal(enc.fit_transform(X), expected(networks.target_encoder))


def test_wrong_files_say_what_is_wrong(networks, tmp_path):
    torch.save({"state_dict": {"head.weight": torch.zeros(2, 2)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not DARE-EEG"):
        DARETransformer(checkpoint=tmp_path / "other.ckpt", info=INFO).fit(X)
    torch.save({"state_dict": networks.state_dict()}, tmp_path / "nano.ckpt")
    with pytest.raises(CheckpointError, match="size='nano'"):
        DARETransformer(checkpoint=tmp_path / "nano.ckpt", size="small", info=INFO).fit(X)
    state = networks.state_dict() | {"target_encoder.extra": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "extra.ckpt")
    with pytest.raises(CheckpointError, match="extra"):
        DARETransformer(checkpoint=tmp_path / "extra.ckpt", info=INFO).fit(X)
    (tmp_path / "empty.ckpt").write_bytes(b"\r\n")  # what the repository has now
    with pytest.raises(CheckpointError):
        DARETransformer(checkpoint=tmp_path / "empty.ckpt", info=INFO).fit(X)


def test_untrained_electrodes_are_announced(networks, tmp_path):
    torch.save({"state_dict": networks.state_dict()}, tmp_path / "nano.ckpt")
    info = ef.ChannelInfo(("AF7", "C3", "Cz", "C4", "PO5"), 256.0)
    with pytest.warns(SignalWarning, match="saw no AF7, PO5 in pretraining"):
        DARETransformer(checkpoint=tmp_path / "nano.ckpt", info=info).fit_transform(X)
