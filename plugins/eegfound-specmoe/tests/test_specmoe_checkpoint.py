"""Experts from files: published, self-trained, assembled, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from eegfound_specmoe import assemble_experts
from eegfound_specmoe.checkpoint import load_pretrained
from eegfound_specmoe.objective import build_objective
from eegfound_specmoe.plugin import SAFE_GLOBALS

import eegfound as ef
from eegfound.base import CheckpointError, CheckpointNotFoundError, SpecError
from eegfound.models import get_model
from eegfound.models.files import read_metadata, read_tensors, save_weights
from eegfound.models.loading import load_encoder

MODEL = get_model("specmoe")
INFO = ef.ChannelInfo(("C3", "Cz", "C4"), 200)


def state_of(path):
    return {
        key.removeprefix("module."): value
        for key, value in read_tensors(path, SAFE_GLOBALS)["model_state"].items()
    }


def eeg(n=4, n_times=400):
    return 1e-5 * np.random.default_rng(0).standard_normal((n, 3, n_times))


@pytest.fixture(scope="module")
def assembled(published, tmp_path_factory):
    return assemble_experts(published, tmp_path_factory.mktemp("own") / "specmoe.safetensors")


def test_a_published_expert_loads_by_name(published_folder, published, monkeypatch):
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(published_folder))
    loaded = load_encoder(MODEL, checkpoint="specmoe-expert-2")
    assert loaded.size == "expert"
    assert loaded.weights == "specmoe-expert-2"
    own, there = loaded.network.state_dict(), state_of(published[1])
    for key, value in own.items():
        assert torch.equal(value, there[key.removeprefix("experts.0.")]), key
    assert len(loaded.report.matched) == len(own)
    assert len(loaded.report.matched) + len(loaded.report.dropped) == 334
    assert all(k.startswith(("Up", "TransformerEnc3", "aux_")) for k in loaded.report.dropped)


def test_three_experts_become_the_published_size(assembled, published, monkeypatch):
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(assembled.parent))
    X = eeg()
    enc = ef.make_transformer("specmoe", size="moe", info=INFO, pooling="per_feature")
    out = enc.fit_transform(X)
    assert enc.weights_ == "specmoe"
    assert out.shape == (4, 384)
    for i, path in enumerate(published):
        alone = ef.make_transformer(
            "specmoe", checkpoint=path, info=INFO, pooling="per_feature"
        ).fit_transform(X)
        np.testing.assert_allclose(out[:, 128 * i : 128 * (i + 1)], alone, rtol=1e-5, atol=1e-6)


def test_what_was_assembled_says_of_what(assembled, published):
    facts = read_metadata(assembled)
    assert facts["model"] == "specmoe"
    assert facts["size"] == "moe"
    assert facts["config"] == {"n_experts": 3, "heads": 8, "features": 128}
    assert [origin["file"] for origin in facts["experts"]] == [path.name for path in published]
    assert len({origin["fingerprint"] for origin in facts["experts"]}) == 3


def test_own_experts_are_assembled_like_published_ones(published, tmp_path):
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trained = build_objective(n_channels=3).encoder
        files.append(
            save_weights(
                tmp_path / f"own{seed}.safetensors", trained.state_dict(),
                {"model": "specmoe", "size": "expert", "config": {"n_experts": 1}},
            )
        )  # fmt: skip
    out = assemble_experts([files[0], published[0], files[1]], tmp_path / "mixed.safetensors")
    network = load_encoder(MODEL, checkpoint=out).network
    first = read_tensors(files[0])
    assert torch.equal(
        network.experts[0].Bottom2.features[4].weight, first["experts.0.Bottom2.features.4.weight"]
    )
    assert torch.equal(
        network.experts[1].Down1.features1[0].weight,
        state_of(published[0])["Down1.features1.0.weight"],
    )


def test_two_or_four_experts_work_too(published, tmp_path):
    out = assemble_experts([published[0], published[2]], tmp_path / "pair.safetensors")
    enc = ef.make_transformer("specmoe", checkpoint=out, info=INFO)
    assert enc.fit_transform(eeg()).shape == (4, 256)
    assert enc.load_report_.ok


def test_fused_read_out_starts_with_fresh_gates(assembled, tmp_path):
    loaded = load_encoder(MODEL, checkpoint=assembled, pooling="fused")
    gates = {f"gate_LinearT_{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")}
    assert set(loaded.report.optional) == gates
    path = save_weights(
        tmp_path / "gated.safetensors", loaded.network.state_dict(),
        {"model": "specmoe", "size": "moe", "config": {"n_experts": 3}},
    )  # fmt: skip
    again = load_encoder(MODEL, checkpoint=path, pooling="fused", seed=5)
    assert torch.equal(again.network.gate_LinearT_2.weight, loaded.network.gate_LinearT_2.weight)
    plain = load_encoder(MODEL, checkpoint=path, pooling="reference")
    assert set(plain.report.dropped) == gates


def test_a_fused_network_of_the_reference_loads(assembled, tmp_path):
    network = load_encoder(MODEL, checkpoint=assembled, pooling="fused").network
    state = {key: value.clone() for key, value in network.state_dict().items()}
    state |= {"classifier.net.4.weight": torch.zeros(5, 384)}
    path = tmp_path / "tuned.pth"
    torch.save({"arch": "MoE", "epoch": 3, "state_dict": state}, path)
    loaded = load_encoder(MODEL, checkpoint=path, size="moe", pooling="fused")
    assert loaded.report.dropped == ("classifier.net.4.weight",)
    assert not loaded.report.optional
    with pytest.raises(CheckpointError, match=r"holds 3 expert.*size='moe'"):
        load_encoder(MODEL, checkpoint=path)


def test_files_of_numpy_1_are_read(published, tmp_path):
    old = tmp_path / "old.pth"
    with zipfile.ZipFile(published[0]) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert b"cnumpy._core.multiarray\n" in data
                data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            target.writestr(name, data)
    assert read_tensors(old, SAFE_GLOBALS)["best_loss"] == 1.25
    assert load_encoder(MODEL, checkpoint=old).report.ok


def test_nothing_else_than_numbers_is_allowed(make_published, tmp_path):
    path = make_published(tmp_path / "evil.pth", 1, params=PurePosixPath("config.yaml"))
    with pytest.raises(CheckpointError, match="Nothing was run"):
        load_encoder(MODEL, checkpoint=path)
    with pytest.raises(CheckpointError, match="Nothing was run"):
        assemble_experts([path, path], tmp_path / "out.safetensors")


def test_one_expert_is_no_mixture(published):
    with pytest.raises(CheckpointError, match=r"one expert.*assemble_experts"):
        load_encoder(MODEL, checkpoint=published[0], size="moe")


def test_a_truncated_file_is_refused(published, tmp_path):
    short = tmp_path / "short.pth"
    short.write_bytes(published[0].read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="truncated"):
        assemble_experts([published[1], short, published[2]], tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def _missing(state):
    del state["Down2.features3.8.weight"]


def _unknown(state):
    state["Down4.weight"] = torch.zeros(2)


def _wrong_shape(state):
    state["TransformerEnc1.lin_1.weight"] = torch.zeros(32, 32)


def _not_finite(state):
    state["Bottom1.features.0.weight"] = torch.full((128, 128, 8), float("nan"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_missing, r"missing: Down2\.features3\.8\.weight"),
        (_unknown, r"unexpected: Down4\.weight"),
        (_wrong_shape, r"TransformerEnc1\.lin_1\.weight: file \(32, 32\)"),
        (_not_finite, "NaN or infinity"),
    ],
)
def test_a_damaged_expert_is_named(published, tmp_path, change, told):
    state = state_of(published[0])
    change(state)
    bad = tmp_path / "bad.pth"
    torch.save(state, bad)
    with pytest.raises(CheckpointError, match=f"bad.pth.*{told}"):
        assemble_experts([published[1], bad], tmp_path / "out.safetensors")


def test_strangers_and_mixtures_are_no_experts(assembled, published, tmp_path):
    stranger = tmp_path / "stranger.pth"
    torch.save({"model": {"cls_token": torch.zeros(1)}}, stranger)
    out = tmp_path / "out.safetensors"
    with pytest.raises(CheckpointError, match="neither SpecHi-Net nor SpecMoE"):
        assemble_experts([published[0], stranger], out)
    with pytest.raises(CheckpointError, match="holds 3 experts; a file of one"):
        assemble_experts([published[0], assembled], out)
    other = save_weights(tmp_path / "labram.safetensors", {"x": torch.ones(1)}, {"model": "labram"})
    with pytest.raises(CheckpointError, match="weights of 'labram'"):
        assemble_experts([published[0], other], out)


def test_experts_must_agree_on_heads(published, tmp_path):
    own = save_weights(
        tmp_path / "four.safetensors", MODEL.build("expert", heads=4).state_dict(),
        {"model": "specmoe", "size": "expert", "config": {"heads": 4}},
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=r"shape: 8 heads, .* and 4 heads, .*four"):
        assemble_experts([published[0], own], tmp_path / "out.safetensors")
    pair = assemble_experts([own, own], tmp_path / "pair.safetensors")
    assert load_encoder(MODEL, checkpoint=pair).network.experts[1].TransformerEnc1.heads == 4


@pytest.mark.parametrize("sources", ["one.pth", ["one.pth"], []])
def test_one_file_is_nothing_to_assemble(sources, tmp_path):
    with pytest.raises(SpecError, match="at least two files"):
        assemble_experts(sources, tmp_path / "out.safetensors")


@pytest.mark.parametrize("name", ["specmoe", "specmoe-expert-1"])
def test_no_weights_here_says_why_and_what_to_do(monkeypatch, tmp_path, name):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=r"TeraXj78/SpecMoE.*licence") as caught:
        load_encoder(MODEL, checkpoint=name)
    assert ("assemble_experts" in str(caught.value)) == (name == "specmoe")


def test_nothing_of_the_authors_is_offered():
    ours, *theirs = MODEL.checkpoints
    assert ours.name == "specmoe-small-open"
    assert not any(checkpoint.urls or checkpoint.packaged for checkpoint in theirs)


def test_pretraining_goes_on_from_a_published_file(published):
    objective = build_objective()
    load_pretrained(objective, [published[2]])
    there = state_of(published[2])
    assert torch.equal(objective.decoders[0].Up3.features3[13].weight,
                       there["Up3.features3.13.weight"])  # fmt: skip
    assert torch.equal(objective.encoder.experts[0].Bottom2.features[0].weight,
                       there["Bottom2.features.0.weight"])  # fmt: skip
    with pytest.raises(SpecError, match=r"list of 1 file"):
        load_pretrained(objective, published)


def test_pretraining_does_not_go_on_without_the_decoder(published, tmp_path):
    state = {k: v for k, v in state_of(published[0]).items() if not k.startswith("Up3")}
    path = tmp_path / "half.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="does not fit the decoder"):
        load_pretrained(build_objective(), [path])
