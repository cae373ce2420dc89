"""``eegfound cache``, and the cache of ``eegfound embed``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from typer.testing import CliRunner

from eegfound.base import SpecError
from eegfound.cache import cache_info, report
from eegfound.cli import _output
from eegfound.cli.app import app
from tests.helpers_cache import COUNTED, counted, passes
from tests.helpers_toy import eeg


@pytest.fixture
def run(monkeypatch):
    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)

    monkeypatch.setattr(_output.console, "_width", 200)
    return call


@pytest.fixture
def filled(tmp_path):
    """A cache of two read-outs of one model and one of another."""
    place = tmp_path / "cache"
    for _ in range(2):  # the second time they are found
        counted(cache=place).fit_transform(eeg(6))
    counted(cache=place, pooling="max", layer=1).fit_transform(eeg(6))
    counted(cache=place, model="counted-slow").fit(eeg(4))
    return place


def file_of(place):
    return report.open_store(place).path()


def change(place, statement, *values):
    with closing(sqlite3.connect(file_of(place))) as db, db:
        db.execute(statement, values)


def test_info(run, filled):
    done = run("cache", "info", filled)
    assert done.exit_code == 0, done.output
    for told in (filled, "16", "counted small", "max layer 1", "5 × 200 at 100 Hz", "10 GB"):
        assert str(told) in done.output
    facts = json.loads(run("cache", "info", filled, "--json").output)
    assert facts["entries"] == 16
    assert [s["entries"] for s in facts["sources"]] == [6, 6, 4]
    assert facts["sources"][0]["hits"] > 0
    assert facts["bytes"] == file_of(filled).stat().st_size


def test_info_of_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    assert str(tmp_path / "embeddings") in run("cache", "info").output
    assert json.loads(run("cache", "info", "--json").output)["entries"] == 0
    assert not list(tmp_path.iterdir())  # looking makes nothing
    assert run("cache", "verify").exit_code == 0
    assert "0 embedding(s) deleted" in run("cache", "clear").output


def test_clear_a_model_or_what_is_old(run, filled):
    assert (
        "4 embedding(s) deleted" in run("cache", "clear", filled, "--model", "counted-slow").output
    )
    change(filled, "UPDATE entries SET used = used - 40 * 86400 WHERE source = 1")
    assert "0 embedding(s) deleted" in run("cache", "clear", filled, "--older-than", "50d").output
    assert "6 embedding(s) deleted" in run("cache", "clear", filled, "--older-than", "4w").output
    assert "6 embedding(s) deleted" in run("cache", "clear", filled).output
    assert cache_info(filled).sources == []
    assert isinstance(run("cache", "clear", filled, "--older-than", "soon").exception, SpecError)


def test_what_was_just_used_is_not_cleared(run, filled):
    """Use is noted once a day."""
    change(filled, "UPDATE entries SET used = used - 22 * 3600")
    counted(cache=filled).fit_transform(eeg(6))
    assert "0 embedding(s) deleted" in run("cache", "clear", filled, "--older-than", "12h").output


def test_verify_drops_what_is_damaged(run, filled):
    assert run("cache", "verify", filled).exit_code == 0
    (blob,) = sqlite3.connect(file_of(filled)).execute("SELECT value FROM entries").fetchone()
    broken = bytearray(blob)
    broken[20] ^= 4
    change(filled, "UPDATE entries SET value = ? WHERE id = 3", bytes(broken))
    change(filled, "UPDATE entries SET value = 'text' WHERE id = 9")
    done = run("cache", "verify", filled)
    assert done.exit_code == 1
    assert "16 embedding(s) checked, 2 damaged and dropped" in done.output
    told = json.loads(run("cache", "verify", filled, "--json").output)
    assert told == {"checked": 14, "bad": 0, "damaged_file": False}


def test_verify_finds_a_damaged_file(run, filled):
    raw = bytearray(file_of(filled).read_bytes())
    raw[3 * 8192 : 4 * 8192] = bytes(8192)
    file_of(filled).write_bytes(raw)
    done = run("cache", "verify", filled)
    assert done.exit_code == 1
    assert run("cache", "verify", filled).exit_code == 0
    assert "damaged-0001.sqlite" in run("cache", "info", filled).output


def test_a_damaged_description_harms_nothing(run, filled):
    change(filled, "UPDATE sources SET facts = ?, model = ? WHERE id = 1", b"\xff\xfe{", b"\xff")
    change(filled, "DELETE FROM sources WHERE id = 2")
    assert run("cache", "info", filled).exit_code == 0
    found = counted(cache=filled).fit_transform(eeg(6))
    np.testing.assert_array_equal(found, counted().fit_transform(eeg(6)))


def test_embed_with_a_cache(run, tmp_path, monkeypatch):
    mne = pytest.importorskip("mne")
    data = eeg(1, 2, 1300)[0]
    raw = mne.io.RawArray(data, mne.create_info(["C3", "Cz"], 125.0, "eeg"), verbose="error")
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    monkeypatch.setenv(COUNTED, str(tmp_path / "counted"))
    for _ in range(2):
        out = tmp_path / "out.csv"
        done = run(
            "embed", tmp_path / "a_raw.fif", "--model", "counted", "--checkpoint", "none",
            "--out", out, "--window", "2", "--cache", tmp_path / "cache",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        out.unlink()
    assert cache_info(tmp_path / "cache").entries == 5
    assert len(passes(tmp_path / "counted")) == 5
