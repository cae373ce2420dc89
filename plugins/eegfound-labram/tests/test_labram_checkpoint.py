"""Published weights: what is taken, what is left out, what is refused."""

from __future__ import annotations

import argparse

import pytest
import torch
from eegfound_labram.network import LaBraM

from eegfound.base import CheckpointError, CheckpointNotFoundError
from eegfound.models import get_model
from eegfound.models.files import read_tensors, save_weights
from eegfound.models.loading import load_encoder

MODEL = get_model("labram")
LEFT_OUT = {
    "logit_scale", "lm_head.weight", "lm_head.bias", "projection_head.0.weight",
    "projection_head.0.bias", "mask_token",
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(published_folder):
    return read_tensors(published_folder / "labram-base.pth", ("argparse:Namespace",))


def student(raw) -> dict:
    return {k.removeprefix("student."): v for k, v in raw["model"].items()}


def write(path, content):
    torch.save(content, path)
    return path


def test_our_own_weights_are_the_default(published):
    loaded = load_encoder(MODEL)
    assert (loaded.weights, loaded.size) == ("labram-small-open", "small")


def test_the_published_layout_loads_by_size(published, raw):
    loaded = load_encoder(MODEL, size="base")
    assert loaded.weights == "labram-base"
    assert loaded.report.ok
    assert set(loaded.report.dropped) == LEFT_OUT | {"norm.weight", "norm.bias"}
    assert set(loaded.report.optional) == {"fc_norm.weight", "fc_norm.bias"}
    own = loaded.network.state_dict()
    for key in set(own) - {"fc_norm.weight", "fc_norm.bias"}:
        assert torch.equal(own[key], student(raw)[key]), key


def test_the_norm_after_pooling_starts_fresh_unless_asked(raw, tmp_path):
    norm = {"student.norm.weight": torch.full((200,), 1.5), "student.norm.bias": torch.ones(200)}
    path = write(tmp_path / "normed.pth", {"model": raw["model"] | norm})
    fresh = load_encoder(MODEL, checkpoint=path)
    assert (fresh.network.fc_norm.weight == 1).all()
    assert (fresh.network.fc_norm.bias == 0).all()
    moved = load_encoder(MODEL, checkpoint=path, config={"transfer_norm": True})
    assert (moved.network.fc_norm.weight == 1.5).all()
    assert (moved.network.fc_norm.bias == 1).all()
    assert moved.fingerprint != fresh.fingerprint
    assert "fc_norm.weight" in moved.report.matched


def test_the_class_token_read_out_takes_the_pretrained_norm(raw, tmp_path):
    norm = {"student.norm.weight": torch.full((200,), 1.5)}
    path = write(tmp_path / "normed.pth", {"model": raw["model"] | norm})
    loaded = load_encoder(MODEL, checkpoint=path, pooling="cls")
    assert loaded.network.fc_norm is None
    assert "norm.bias" in loaded.report.matched
    assert set(loaded.report.dropped) == LEFT_OUT
    assert (loaded.network.norm.weight == 1.5).all()


@pytest.mark.parametrize("wrapped", ["module", None])
def test_other_wrappings_of_the_same_tensors(raw, tmp_path, wrapped):
    content = {wrapped: raw["model"]} if wrapped else raw["model"]
    loaded = load_encoder(MODEL, checkpoint=write(tmp_path / "other.pth", content))
    assert loaded.report.ok
    assert torch.equal(loaded.network.pos_embed, student(raw)["pos_embed"])


def test_a_fine_tuned_file_of_the_reference(tmp_path):
    torch.manual_seed(1)
    tuned = LaBraM(num_classes=4)
    torch.nn.init.normal_(tuned.fc_norm.weight)
    content = {"model": tuned.state_dict(), "args": argparse.Namespace(nb_classes=4), "epoch": 3}
    path = write(tmp_path / "tuned.pth", content)
    loaded = load_encoder(MODEL, checkpoint=path)
    assert set(loaded.report.dropped) == {"head.weight", "head.bias"}
    assert torch.equal(loaded.network.fc_norm.weight, tuned.fc_norm.weight)
    with_head = load_encoder(MODEL, checkpoint=path, config={"num_classes": 4})
    assert torch.equal(with_head.network.head.weight, tuned.head.weight)


def test_an_encoder_tensor_may_not_be_missing(raw, tmp_path):
    state = dict(raw["model"])
    del state["student.blocks.3.attn.q_norm.bias"]
    with pytest.raises(CheckpointError, match=r"blocks\.3\.attn\.q_norm\.bias"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "hole.pth", {"model": state}))


def test_an_unknown_tensor_of_the_encoder_is_refused(raw, tmp_path):
    state = raw["model"] | {"student.blocks.0.attn.rel_pos": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"rel_pos"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "extra.pth", {"model": state}))


def test_weights_of_another_size_are_named(tmp_path):
    state = {f"student.{k}": v for k, v in MODEL.build("tiny", pooling="cls").state_dict().items()}
    path = write(tmp_path / "tiny.pth", {"model": state})
    with pytest.raises(CheckpointError, match="size='tiny'"):
        load_encoder(MODEL, checkpoint=path, size="base")


def test_another_models_file_is_refused(tmp_path):
    path = write(tmp_path / "stranger.pth", {"model": {"encoder.weight": torch.ones(3)}})
    with pytest.raises(CheckpointError, match=r"cls_token.*not a LaBraM encoder"):
        load_encoder(MODEL, checkpoint=path)


def test_no_weights_here_says_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=r"935963004/LaBraM.*EEGFOUND_WEIGHTS"):
        load_encoder(MODEL, checkpoint="labram-base")


@pytest.mark.parametrize(("saved", "wanted"), [("cls", "mean"), ("mean", "cls"), ("mean", "max")])
def test_own_files_serve_other_read_outs(tmp_path, saved, wanted):
    network = MODEL.build("tiny", pooling=saved)
    path = save_weights(
        tmp_path / "own.safetensors", network.state_dict(), {"model": "labram", "size": "tiny"}
    )
    loaded = load_encoder(MODEL, checkpoint=path, pooling=wanted)
    assert loaded.report.ok
    assert torch.equal(loaded.network.blocks[0].attn.qkv.weight, network.blocks[0].attn.qkv.weight)


def test_own_files_move_their_norm_too_when_asked(tmp_path):
    network = MODEL.build("tiny", pooling="cls")
    torch.nn.init.normal_(network.norm.weight)
    path = save_weights(
        tmp_path / "own.safetensors", network.state_dict(), {"model": "labram", "size": "tiny"}
    )
    moved = load_encoder(MODEL, checkpoint=path, config={"transfer_norm": True}).network
    assert torch.equal(moved.fc_norm.weight, network.norm.weight)
    assert (load_encoder(MODEL, checkpoint=path).network.fc_norm.weight == 1).all()
