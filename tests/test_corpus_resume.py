"""Preparations that are killed, run out of disk, or meet each other."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sys
import time

import pytest

from eegfound.corpus import Corpus, CorpusError, prepare_corpus
from tests.helpers_corpus import signals, write_fif

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")
N = 2


@pytest.fixture
def folder(tmp_path):
    for number in range(N):
        write_fif(tmp_path / "in" / f"{number}_raw.fif", signals(seconds=10, seed=number))
    return tmp_path / "in"


def prepared(folder, out, **params):
    return prepare_corpus(folder, out, **({"dataset": "lab", "subject": "file"} | params))


def forked(task):
    process = multiprocessing.get_context("fork").Process(target=task)
    process.start()
    return process


def contents(out):
    index = Corpus(out).index
    return index[["recording", "content", "bytes", "subject"]].values.tolist()


@pytest.mark.parametrize("moment", range(1, 2 * N + 4))
def test_killed_at_any_moment_it_goes_on_and_ends_the_same(folder, tmp_path, moment):
    """Kill it in its k-th write: header, shards and journal lines in turn, both tables."""
    out, there = tmp_path / "out", tmp_path / "there"

    def until_killed():
        real, calls = os.fsync, []

        def fsync(file):
            calls.append(file)
            if len(calls) == moment:
                there.touch()
                time.sleep(600)
            real(file)

        os.fsync = fsync
        prepared(folder, out)

    process = forked(until_killed)
    while not there.exists():
        assert process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for shard in out.rglob("*.arrow"):  # what has its name is whole
        assert shard.stat().st_size > 20_000
    again = prepared(folder, out)
    assert again.n_new + again.n_done == N
    # The k-th write is after (k - 2) // 2 recordings were written down, in the table at last.
    assert again.n_done >= min(N, (moment - 2) // 2)
    prepared(folder, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.rglob("*.tmp"))


def test_an_unfinished_store_says_what_to_do(folder, tmp_path):
    prepared(folder, tmp_path / "out")
    (tmp_path / "out" / "index.parquet").unlink()
    with pytest.raises(CorpusError, match="run it again"):
        Corpus(tmp_path / "out")


def test_half_a_line_and_half_a_file_are_cleared_away(folder, tmp_path):
    out = tmp_path / "out"
    prepared(folder, out)
    before = contents(out)
    journal = out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:50])
    (out / "shards" / "lab" / "x.arrow.1.tmp").write_bytes(b"half")
    done = prepared(folder, out)
    assert (done.n_done, done.n_new) == (N - 1, 1)
    assert contents(out) == before
    assert not list(out.rglob("*.tmp"))
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_lost_or_shortened_shard_is_refused_and_made_again(folder, tmp_path, toy):
    out = tmp_path / "out"
    corpus = prepared(folder, out).corpus
    before = contents(out)
    shard = out / corpus.index["shard"][0]
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(CorpusError, match="prepare again"):
        corpus.source("toy")
    with pytest.raises(CorpusError, match="damaged"):
        corpus.read(0)
    assert prepared(folder, out).n_new == 1
    assert contents(out) == before


def test_a_changed_file_is_prepared_again(folder, tmp_path):
    out = tmp_path / "out"
    prepared(folder, out)
    write_fif(folder / "1_raw.fif", signals(seconds=12, seed=77))
    done = prepared(folder, out)
    assert (done.n_new, done.n_done) == (1, N - 1)
    assert sorted(done.corpus.index["seconds"]) == [10.0] * (N - 1) + [12.0]


def test_a_full_disk_stops_with_the_reason_and_leaves_nothing_half_written(folder, tmp_path):
    """The kernel refuses to write (limit on the size of files, which a full disk acts like)."""
    import resource

    out, said = tmp_path / "out", tmp_path / "said"

    def without_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        try:
            prepared(folder, out)
        except CorpusError as error:
            said.write_text(str(error))

    write_fif(folder / "1_raw.fif", signals(seconds=20, seed=9))  # 40 kB
    process = forked(without_room)
    process.join()
    assert f"out={str(out)!r}" in said.read_text()
    assert "limit of this process" in said.read_text()
    assert len(Corpus(out)) == 1  # what was finished before can be used
    assert not list(out.rglob("*.tmp"))
    assert len(list(out.rglob("*.arrow"))) == 1
    done = prepared(folder, out)
    assert (done.n_new, done.n_done, done.failures) == (N - 1, 1, [])


@pytest.mark.parametrize("name", ["journal.jsonl", "index.parquet", "corpus.json"])
def test_no_room_for_the_journal_or_the_tables(folder, tmp_path, monkeypatch, name):
    import builtins

    out, real = tmp_path / "out", builtins.open

    def full(file, mode="r", *args, **kwargs):
        if name in str(file) and mode in ("ab", "wb"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", full)
    with pytest.raises(CorpusError, match=r"out=.*the disk is full"):
        prepared(folder, out)
    monkeypatch.undo()
    done = prepared(folder, out)
    assert done.n_new + done.n_done == N
    assert contents(out) == contents(done.path)
    assert not list(out.rglob("*.tmp"))


def test_a_folder_that_cannot_be_made(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="Cannot write"):
        prepared(folder, tmp_path / "file" / "out")


def test_two_at_once_are_one_too_many(folder, tmp_path):
    from eegfound.corpus.journal import locked

    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(CorpusError, match="another process"):
        prepared(folder, tmp_path / "out")
    assert prepared(folder, tmp_path / "out").n_new == N


def test_an_interruption_keeps_what_is_done(folder, tmp_path, monkeypatch):
    from eegfound.corpus import prepare

    real, seen = prepare.prepare_one, []

    def interrupted(task, path):
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(task, path)

    monkeypatch.setattr(prepare, "prepare_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(folder, tmp_path / "out")
    assert len(Corpus(tmp_path / "out")) == 1
    monkeypatch.undo()
    assert prepared(folder, tmp_path / "out").n_done == 1
