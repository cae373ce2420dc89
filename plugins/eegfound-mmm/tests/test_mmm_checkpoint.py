"""Published weights: what is taken, what is left out, what is refused."""

from __future__ import annotations

import shutil

import pytest
import torch
from eegfound_mmm.network import MMM

from eegfound.base import CheckpointError, CheckpointNotFoundError
from eegfound.models import get_model
from eegfound.models.loading import load_encoder

MODEL = get_model("mmm")
NOT_IN_THE_FILE = {"supernodes", "network.pos_embed"}


@pytest.fixture(scope="module")
def raw(published_layout):
    return torch.load(published_layout, weights_only=True)


def write(path, content):
    torch.save(content, path)
    return path


def test_the_published_layout_loads(published_layout, raw):
    loaded = load_encoder(MODEL, checkpoint=published_layout)
    assert len(raw) == 79
    assert sum(value.numel() for value in raw.values()) == 300_608
    assert loaded.size == "base"
    assert set(loaded.report.optional) == NOT_IN_THE_FILE
    assert loaded.report.dropped == ()
    own = loaded.network.state_dict()
    for key, value in raw.items():
        assert torch.equal(own[key], value), key
    assert not own["supernodes"].any()
    assert torch.equal(own["network.pos_embed"], MMM().network.pos_embed)


def test_our_own_weights_are_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(tmp_path))
    loaded = load_encoder(MODEL)
    assert (loaded.weights, loaded.size) == ("mmm-small-open", "small")
    assert not loaded.report.optional
    assert {each["name"] for each in loaded.report.record["datasets"]} == {"eegmmidb", "adhd"}


def test_the_published_file_loads(published):
    loaded = load_encoder(MODEL, checkpoint="mmm-tuh-base")
    assert loaded.weights == "mmm-tuh-base"
    assert set(loaded.report.optional) == NOT_IN_THE_FILE
    # Norms that training never called were only ever decayed: one value throughout.
    norm = loaded.network.network.norm.weight
    assert float(norm.min()) == float(norm.max()) == pytest.approx(0.8827, abs=1e-4)


def test_another_file_of_that_name_is_refused(published_layout, tmp_path, monkeypatch):
    shutil.copy(published_layout, tmp_path / "tuh_pretrained_encoder_base.pt")
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"not the published file.*6d9354d5"):
        load_encoder(MODEL, size="base")


def test_no_weights_here_says_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=r"seqml\.github\.io/MMM.*EEGFOUND_WEIGHTS"):
        load_encoder(MODEL, size="base")


@pytest.mark.parametrize("tokens", ["zeros", "normal"])
def test_region_tokens_of_a_file_count_and_are_drawn_otherwise(raw, tmp_path, tokens):
    bare = load_encoder(
        MODEL, checkpoint=write(tmp_path / "bare.pt", raw), config={"region_tokens": tokens}, seed=4
    )
    assert bool(bare.network.supernodes.any()) == (tokens == "normal")
    own = torch.full((1, 17, 5), 0.25)
    path = write(tmp_path / "tuned.pt", raw | {"supernodes": own})
    loaded = load_encoder(MODEL, checkpoint=path, config={"region_tokens": tokens})
    assert torch.equal(loaded.network.supernodes, own)


def test_a_drawn_token_is_a_function_of_the_seed(raw, tmp_path):
    path = write(tmp_path / "bare.pt", raw)
    draws = [
        load_encoder(MODEL, checkpoint=path, config={"region_tokens": "normal"}, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert draws[0].fingerprint == draws[1].fingerprint != draws[2].fingerprint


def test_a_fine_tuned_file_of_the_reference(raw, tmp_path):
    head = {
        "fc_norm1.weight": torch.ones(1152), "fc_norm1.num_batches_tracked": torch.tensor(3),
        "fc_out1.weight": torch.zeros(64, 1152), "fc_norm2.running_var": torch.ones(64),
        "fc_out2.bias": torch.zeros(3),
    }  # fmt: skip
    tables = {"network.pos_embed": torch.full((80, 64), 0.5)}
    mask = {"network.attn_mask": torch.zeros(80, 80, dtype=torch.bool)}
    state = {f"module.{k}": v for k, v in (raw | head | tables | mask).items()}
    loaded = load_encoder(MODEL, checkpoint=write(tmp_path / "tuned.pt", state))
    assert set(loaded.report.dropped) == {*head, *mask}
    assert (loaded.network.network.pos_embed == 0.5).all()  # trained positions count


def test_positions_of_another_montage_are_left_out(raw, tmp_path):
    state = raw | {"network.pos_embed": torch.ones(40, 64)}
    loaded = load_encoder(MODEL, checkpoint=write(tmp_path / "few.pt", state))
    assert loaded.report.dropped == ("network.pos_embed",)
    assert torch.equal(loaded.network.network.pos_embed, MMM().network.pos_embed)


def test_an_encoder_tensor_may_not_be_missing(raw, tmp_path):
    state = {k: v for k, v in raw.items() if k != "network.blocks.3.mlp.fc1.bias"}
    with pytest.raises(CheckpointError, match=r"blocks\.3\.mlp\.fc1\.bias"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "hole.pt", state))


def test_an_unknown_tensor_is_refused(raw, tmp_path):
    state = raw | {"network.blocks.0.gamma": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=r"gamma"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "extra.pt", state))


def test_weights_of_another_size_are_named(tmp_path):
    path = write(tmp_path / "small.pt", MODEL.build("paper").state_dict())
    with pytest.raises(CheckpointError, match="size='paper'"):
        load_encoder(MODEL, checkpoint=path)
    assert load_encoder(MODEL, checkpoint=path, size="paper").report.ok


def test_another_models_file_is_refused(tmp_path):
    path = write(tmp_path / "stranger.pt", {"encoder.weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"network\.cls_token.*not an MMM encoder"):
        load_encoder(MODEL, checkpoint=path)
