"""The weights that ship with the plugins: small, complete, loaded by default, with a card."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import eegfound as ef
from eegfound.models.files import fingerprint, read_metadata, read_tensors

NATIVE = ("labram", "mmm", "dare", "eegpt", "eegpt-ar", "specmoe", "neurolm", "fome-style")
#: Where half of the subjects were left out of pretraining by rule.
HELD_OUT_EVERY = 4


def shipped(name):
    package, _, relative = ef.get_model(name).checkpoints[0].packaged.partition(":")
    return Path(str(files(package))) / relative


@pytest.mark.parametrize("name", NATIVE)
def test_a_pretrained_encoder_is_the_default_and_needs_no_net(name, monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    X, _, _, info = ef.datasets.load_sample()
    encoder = ef.make_transformer(name, info=info, on_unknown="drop")
    embeddings = encoder.fit_transform(X[:4])
    assert encoder.weights_ == ef.get_model(name).checkpoints[0].name
    assert np.isfinite(embeddings).all()
    assert embeddings.std(axis=0).max() > 0
    report = encoder.load_report_
    assert report.ok
    assert not report.optional


@pytest.mark.parametrize("name", NATIVE)
def test_a_file_tells_what_went_in(name):
    path = shipped(name)
    assert path.stat().st_size <= 6_000_000
    told = read_metadata(path)
    assert (told["model"], told["size"]) == (name, ef.get_model(name).checkpoints[0].size)
    assert told["fingerprint"] == fingerprint(read_tensors(path))
    sets = {each["name"]: each for each in told["record"]["datasets"]}
    assert set(sets) == {"eegmmidb", "adhd"}  # and so nothing of the bundled EEGMAT sample
    assert all(each["hours"] > 1 and len(each["subjects"]) > 10 for each in sets.values())
    assert told["n_steps"] > 1000
    assert {row["split"] for row in told["history"]} == {"train", "valid"}


@pytest.mark.parametrize("name", NATIVE)
def test_a_card_stands_beside_it(name):
    path = shipped(name)
    told, card = read_metadata(path), path.with_suffix(".md").read_text()
    assert told["fingerprint"] in card
    assert "CC BY 4.0" in card
    assert "ODC-BY 1.0" in card
    assert f"open_checkpoints.py OUT --models {name}" in card
    for stage in told["stages"]:
        assert f"{path.stem}-{stage}.svg" in card
        assert path.with_name(f"{path.stem}-{stage}.svg").read_text().count("<path") > 3
    for each in told["record"]["datasets"]:
        assert f"{each['hours']:.2f}" in card
        assert all(str(subject) in card for subject in each["subjects"])
    assert "| eegmat" not in card or "set never seen" in card
