"""Weights: found in order, checked, read without running code, loaded strictly."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings

import pytest
import torch

from eegfound.base import CheckpointError, CheckpointNotFoundError, RandomWeightsWarning, SpecError
from eegfound.models import Checkpoint, registry
from eegfound.models.files import (
    check_sha256,
    fingerprint,
    read_metadata,
    read_tensors,
    save_weights,
    sha256_of,
)
from eegfound.models.loading import build_random, load_encoder, load_state
from eegfound.models.store import find_checkpoint
from eegfound.testing.toy import toy_model


def convert(raw, network):
    """A published layout: tensors under 'model' with a prefix, and a stranger."""
    state = raw["model"]
    kept = {k.removeprefix("student."): v for k, v in state.items() if k.startswith("student.")}
    return kept, [k for k in state if not k.startswith("student.")]


@pytest.fixture
def model():
    checkpoint = Checkpoint(
        name="published", size="small", filename="published.pth",
        converter=f"{__name__}:convert", safe_globals=("argparse:Namespace",),
        how_to_get="Ask its authors.", optional_keys=("norm.*",),
    )  # fmt: skip
    with registry.registered(toy_model("stored", checkpoints=(checkpoint,))) as record:
        yield registry.get(record.models[0])


@pytest.fixture(autouse=True)
def _own_places(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    import sys

    sys.modules.setdefault(__name__, sys.modules[convert.__module__])


@pytest.fixture
def published(model, tmp_path):
    """A file in the published layout, with an optimizer and arguments."""
    network = build_random(model, "small", None, {}, seed=5)
    state = {f"student.{k}": v for k, v in network.state_dict().items()}
    state["logit_scale"] = torch.zeros(())
    path = tmp_path / "published.pth"
    torch.save(
        {"model": state, "optimizer": {"step": 3}, "args": argparse.Namespace(lr=1e-3)}, path
    )
    return path, network


def test_published_layout_loads_and_is_reported(model, published):
    path, network = published
    loaded = load_encoder(model, checkpoint=path)
    assert loaded.fingerprint == fingerprint(network.state_dict())
    assert loaded.report.ok
    assert loaded.report.dropped == ("logit_scale",)
    assert len(loaded.report.matched) == len(network.state_dict())
    assert "matched" in str(loaded.report)


def test_search_order(model, published, monkeypatch, tmp_path):
    path, _ = published
    with pytest.raises(CheckpointNotFoundError, match=r"Ask its authors\..*EEGFOUND_WEIGHTS"):
        find_checkpoint(model)
    cached = tmp_path / "cache" / "weights" / "stored" / "published.pth"
    cached.parent.mkdir(parents=True)
    os.link(path, cached)
    assert find_checkpoint(model).path == cached
    (tmp_path / "env" / "stored").mkdir(parents=True)
    os.link(path, tmp_path / "env" / "stored" / "published.pth")
    monkeypatch.setenv("EEGFOUND_WEIGHTS", str(tmp_path / "env"))
    assert find_checkpoint(model).path.parent.parent == tmp_path / "env"
    assert find_checkpoint(model, path).path == path


def test_unreachable_download_says_what_to_do(model, monkeypatch):
    monkeypatch.delenv("EEGFOUND_OFFLINE")
    # Nothing listens on the discard port of this machine.
    spec = Checkpoint(
        name="web", size="small", filename="w.pth", urls=("http://127.0.0.1:9/w.pth",)
    )
    with (
        registry.registered(toy_model("web", checkpoints=(spec,))),
        pytest.raises(CheckpointNotFoundError, match=r"could not be downloaded.*checkpoint="),
    ):
        find_checkpoint(registry.get("web"))


def test_wrong_hash(published, tmp_path):
    path, _ = published
    assert check_sha256(path, sha256_of(path).upper()) == sha256_of(path)
    with pytest.raises(CheckpointError, match="sha256"):
        check_sha256(path, "0" * 64)
    spec = Checkpoint(name="p", size="small", filename=path.name, sha256="0" * 64)
    with (
        registry.registered(toy_model("hashed", checkpoints=(spec,))),
        pytest.raises(CheckpointError, match="not the published file"),
    ):
        find_checkpoint(registry.get("hashed"), path)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.98])
def test_truncated_file(published, tmp_path, keep):
    path, _ = published
    raw = path.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(raw[: int(keep * len(raw))])
    with pytest.raises(CheckpointError, match="truncated"):
        read_tensors(cut)


def test_truncated_safetensors(model, tmp_path):
    network = build_random(model, "small", None, {}, seed=1)
    path = save_weights(tmp_path / "w.safetensors", network.state_dict(), {"model": "stored"})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        read_tensors(path)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_file_that_wants_to_run_code_is_refused(tmp_path, writer):
    target = tmp_path / "was-run"
    path = tmp_path / "evil.pth"
    if writer == "torch":
        torch.save({"model": {"w": torch.ones(2)}, "x": Evil(str(target))}, path)
    else:
        path.write_bytes(pickle.dumps({"x": Evil(str(target))}))
    with pytest.raises(CheckpointError, match=r"refused.*Nothing was run"):
        read_tensors(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "empty"),
        (b"\r\n", "empty"),
        (b"just some text, no weights at all", "not a PyTorch file"),
    ],
)
def test_what_is_no_weight_file(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(path)


def test_missing_file(model):
    with pytest.raises(CheckpointNotFoundError, match="does not exist"):
        find_checkpoint(model, "no/such/file.pth")


def test_checkpoint_of_another_size_names_it(model, tmp_path):
    wide = build_random(model, "wide", None, {}, seed=0)
    state = {f"student.{k}": v for k, v in wide.state_dict().items()}
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="size='wide'"):
        load_encoder(model, checkpoint=tmp_path / "other.pth", size="small")
    assert load_encoder(model, checkpoint=tmp_path / "other.pth", size="wide").report.ok


def test_missing_and_unexpected_tensors_are_named(model, published, tmp_path):
    path, _ = published
    raw = read_tensors(path, ("argparse:Namespace",))
    raw["model"]["student.stranger"] = torch.ones(1)
    del raw["model"]["student.embed.weight"]
    del raw["model"]["student.norm.weight"]  # declared optional
    torch.save({"model": raw["model"]}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"missing: embed.weight\. unexpected: stranger"):
        load_encoder(model, checkpoint=tmp_path / "odd.pth")


def test_a_refused_state_changes_nothing(model):
    network = build_random(model, "small", None, {}, seed=0)
    before = fingerprint(network.state_dict())
    state = {k: v + 1 for k, v in network.state_dict().items()}
    state.pop("embed.bias")
    assert not load_state(network, state).ok
    assert fingerprint(network.state_dict()) == before


def test_nan_weights_are_refused(model, published, tmp_path):
    raw = read_tensors(published[0], ("argparse:Namespace",))
    raw["model"]["student.embed.weight"][0, 0] = float("nan")
    torch.save({"model": raw["model"]}, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"embed\.weight.*NaN"):
        load_encoder(model, checkpoint=tmp_path / "nan.pth")


def test_own_format_round_trip_and_whose_it_is(model, tmp_path):
    network = build_random(model, "wide", None, {}, seed=2)
    path = save_weights(
        tmp_path / "mine.safetensors", network.state_dict(), {"model": "stored", "size": "wide"}
    )
    assert read_metadata(path)["size"] == "wide"
    loaded = load_encoder(model, checkpoint=str(path))
    assert loaded.size == "wide"
    assert loaded.fingerprint == fingerprint(network.state_dict())
    with pytest.raises(CheckpointError, match="holds size 'wide'"):
        load_encoder(model, checkpoint=path, size="small")
    with (
        registry.registered(toy_model("stranger")),
        pytest.raises(CheckpointError, match="weights of 'stored'"),
    ):
        load_encoder(registry.get("stranger"), checkpoint=path)
    assert not list(tmp_path.glob(".*part"))


def test_random_weights_are_announced_and_reproducible(model):
    with pytest.warns(RandomWeightsWarning, match="random weights"):
        one = load_encoder(model, checkpoint=None, seed=3)
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = load_encoder(model, checkpoint=None, seed=3, size="small")
        other = load_encoder(model, checkpoint=None, seed=4)
    assert again.network is one.network
    assert other.fingerprint != one.fingerprint
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_size_and_checkpoint(model):
    with pytest.raises(SpecError, match="size='huge'"):
        build_random(model, "huge", None, {}, seed=0)
    with pytest.raises(SpecError, match="not size='wide'"):
        find_checkpoint(model, "published", size="wide")
    with pytest.raises(CheckpointNotFoundError, match="No weights are published"):
        find_checkpoint(model, size="wide")


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "eegfound"},
        {"format": "eegfound", "eegfound": "{not json"},
        {"format": "eegfound", "eegfound": "[1]"},
        {"format": "eegfound", "eegfound": '{"model": "stored", "config": [1]}'},
        {"format": "eegfound", "eegfound": '{"model": "stored", "size": ["small"]}'},
    ],
)
def test_odd_metadata(model, tmp_path, metadata):
    from safetensors.torch import save_file

    path = tmp_path / "odd.safetensors"
    save_file({"w": torch.ones(1)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="damaged"):
        load_encoder(model, checkpoint=path)


def test_configuration_in_a_file_must_fit(model, tmp_path):
    network = build_random(model, "small", None, {}, seed=0)
    path = save_weights(
        tmp_path / "w.safetensors", network.state_dict(), {"model": "stored", "config": {"foo": 1}}
    )
    with pytest.raises(SpecError, match="foo"):
        load_encoder(model, checkpoint=path)


@pytest.mark.parametrize("kind", [torch.int32, torch.complex64])
def test_tensors_of_another_kind_are_refused(model, published, tmp_path, kind):
    raw = read_tensors(published[0], ("argparse:Namespace",))["model"]
    torch.save({"model": {k: v.to(kind) for k, v in raw.items()}}, tmp_path / "kind.pth")
    with pytest.raises(CheckpointError):
        load_encoder(model, checkpoint=tmp_path / "kind.pth")


def test_half_precision_files_are_taken(model, published, tmp_path):
    raw = read_tensors(published[0], ("argparse:Namespace",))["model"]
    torch.save({"model": {k: v.half() for k, v in raw.items()}}, tmp_path / "half.pth")
    loaded = load_encoder(model, checkpoint=tmp_path / "half.pth")
    assert next(loaded.network.parameters()).dtype == torch.float32


@pytest.mark.parametrize("content", [torch.ones(3), {}, [1, 2], {"model": 3}])
def test_files_that_hold_something_else(model, tmp_path, content):
    torch.save(content, tmp_path / "else.pth")
    with pytest.raises(CheckpointError):
        load_encoder(model, checkpoint=tmp_path / "else.pth")


def test_garbage_is_not_accused_of_running_code(tmp_path):
    for i, content in enumerate((b"x" * 100, b"\x93NUMPY" + bytes(200), bytes(range(256)))):
        path = tmp_path / f"{i}.pth"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a PyTorch file"):
            read_tensors(path)


def test_damaged_bytes_always_end_in_our_error(published, tmp_path, rng):
    good = published[0].read_bytes()
    for i in range(40):
        raw = bytearray(good)
        for at in rng.integers(0, len(raw), 12):
            raw[at] = rng.integers(256)
        path = tmp_path / f"{i}.pth"
        path.write_bytes(raw)
        try:
            read_tensors(path, ("argparse:Namespace",))
        except CheckpointError:
            continue


def test_only_the_published_file_has_its_name(model, published, tmp_path):
    path, network = published
    assert load_encoder(model, checkpoint=path).weights == "published"
    own = tmp_path / "own.pth"
    state = {f"student.{k}": v + 1 for k, v in network.state_dict().items()}
    torch.save({"model": state}, own)
    assert load_encoder(model, checkpoint=own).weights == str(own)
