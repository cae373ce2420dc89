"""Published weights: what is taken, what is left out, what is refused."""

from __future__ import annotations

import pytest
import torch
from eegfound_neurolm.checkpoint import convert_tokenizer
from eegfound_neurolm.tokenizer import build_tokenizer

from eegfound.base import CheckpointError, CheckpointNotFoundError
from eegfound.models import get_model
from eegfound.models.files import read_tensors, save_weights
from eegfound.models.loading import load_encoder, load_state

MODEL = get_model("neurolm")


def write(path, content):
    torch.save(content, path)
    return path


def raw(published, which="lm"):
    return read_tensors(published[which], ("argparse:Namespace",))


def test_the_encoder_is_taken_from_the_language_models_file(published):
    loaded = load_encoder(MODEL, checkpoint=published["lm"], size="tiny")
    own = loaded.network.state_dict()
    assert loaded.report.ok
    assert own
    for key, value in own.items():
        assert torch.equal(value, published["lm_state"][key]), key
    assert "GPT2.lm_head.weight" in loaded.report.dropped
    assert "pos_embed.weight" in loaded.report.dropped
    assert any(key.endswith("attn.bias") for key in loaded.report.dropped)


def test_the_language_model_is_taken_where_it_is_wanted(published):
    loaded = load_encoder(MODEL, checkpoint=published["lm"], size="tiny", config={"features": "lm"})
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, published["lm_state"][key]), key
    # Nothing but the buffers with causal masks is left out.
    assert {key.split(".")[-2:][0] for key in loaded.report.dropped} == {"attn"}


def test_the_tokenizers_file_serves_as_encoder(published):
    loaded = load_encoder(MODEL, checkpoint=published["vq"], size="tiny")
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, published["vq_state"][key.replace("tokenizer.", "encoder.")])
    assert "wte.weight" in loaded.report.dropped
    assert "VQ.quantize.embedding.weight" in loaded.report.dropped
    with pytest.raises(CheckpointError, match=r"GPT2\.transformer\.wte"):
        load_encoder(MODEL, checkpoint=published["vq"], size="tiny", config={"features": "lm"})


def test_the_whole_tokenizer_loads(published):
    torch.manual_seed(9)
    tokenizer = build_tokenizer(
        width=64, depth=2, heads=4, decoder_depth=1, n_codes=64, code_dim=16
    )
    state, dropped = convert_tokenizer(raw(published, "vq"), tokenizer)
    assert load_state(tokenizer, state, dropped=tuple(dropped)).ok
    assert set(dropped) == {"domain_classifier.0.weight", "wte.weight"}
    for key, value in tokenizer.state_dict().items():
        assert torch.equal(value, published["vq_state"][key])
    with pytest.raises(KeyError, match="not a NeuroLM tokenizer"):
        convert_tokenizer(raw(published), tokenizer)


@pytest.mark.parametrize("prefix", ["", "gpt.", "lm."])
def test_the_language_model_is_known_by_its_parts(published, tmp_path, prefix):
    state = {
        key.replace("_orig_mod.", "").replace("GPT2.", prefix): value
        for key, value in raw(published)["model"].items()
    }
    path = write(tmp_path / "NeuroLM-B.pt", state)
    loaded = load_encoder(MODEL, checkpoint=path, size="tiny", config={"features": "lm"})
    assert torch.equal(
        loaded.network.GPT2.lm_head.weight, published["lm_state"]["GPT2.lm_head.weight"]
    )


def test_the_file_is_found_by_its_name(published, monkeypatch):
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(published["folder"]))
    with pytest.raises(CheckpointError, match="size='tiny'"):
        load_encoder(
            MODEL, checkpoint="neurolm-b"
        )  # it is found, and it is not of the published size


def test_a_missing_or_unknown_tensor_is_an_error(published, tmp_path):
    state = dict(raw(published)["model"])
    hole = {k: v for k, v in state.items() if "tokenizer.blocks.1.ln_2" not in k}
    with pytest.raises(CheckpointError, match=r"blocks\.1\.ln_2\.weight"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "NeuroLM-B.pt", hole), size="tiny")
    extra = state | {"tokenizer.blocks.0.attn.rel_pos": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="rel_pos"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "NeuroLM-B.pt", extra), size="tiny")
    alien = {"encoder.weight": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="not a NeuroLM file"):
        load_encoder(MODEL, checkpoint=write(tmp_path / "NeuroLM-B.pt", alien), size="tiny")


def test_no_weights_here_says_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=r"NeuroLM-L\.pt.*Weibang/NeuroLM"):
        load_encoder(MODEL, size="large")


def test_own_files_serve_the_encoder_alone(published, tmp_path):
    path = save_weights(
        tmp_path / "own.safetensors", published["lm_state"], {"model": "neurolm", "size": "tiny"}
    )
    loaded = load_encoder(MODEL, checkpoint=path)
    assert loaded.report.ok
    assert "GPT2.lm_head.weight" in loaded.report.dropped
