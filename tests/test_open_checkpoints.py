"""The weights that ship with the plugins: small, complete, loaded by default, with a card."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import eegfound as ef
from eegfound.models.files import fingerprint, read_metadata, read_tensors

NATIVE = ("labram", "mmm", "dare", "eegpt", "eegpt-ar", "specmoe", "neurolm", "fome-style")
#: What a file may lack: the norm after pooling starts fresh, as the authors' does.
MAY_LACK = {"labram": ("fc_norm.",)}
#: Subjects that nothing was to see, some of each set (the rule: every fourth).
LEFT_OUT = {"eegmmidb": {"10", "19", "31", "42"}, "adhd": {"v12p", "v20p", "v107", "v308"}}


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
    assert all(key.startswith(MAY_LACK.get(name, ())) for key in report.optional)


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
    assert not any(set(sets[of]["subjects"]) & left_out for of, left_out in LEFT_OUT.items())
    assert set(told["settings"]) == set(told["stages"])
    assert told["n_steps"] > 500
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
    (never_seen,) = (line for line in card.splitlines() if line.startswith("`eegmat`, "))
    assert "set never seen" in never_seen
    assert "| pretrained |" in card
    assert "tangent_space_recentred" in card
