"""The store: whole values or none, whatever happens to its files."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfound.base import SpecError
from eegfound.cache import CacheWarning, cache_info, clear_cache, place, size_bound, verify_cache
from eegfound.cache.record import pack, unpack
from eegfound.cache.store import EmbeddingStore
from tests.helpers_store import KEYS, TRUTH, WIDTH, N, embed

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def forget():
    """Let every test hear its warnings."""
    place._told.clear()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    out, computed = embed(folder)
    assert computed == list(range(N))
    np.testing.assert_array_equal(out, TRUTH)
    return folder


@pytest.fixture
def copy(filled, tmp_path):
    return Path(shutil.copytree(filled, tmp_path / "copy"))


def the_file(folder):
    return EmbeddingStore(Path(folder), 10**8).path()


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.lists(st.integers(0, 5), max_size=3), st.data())
def test_a_record_is_whole_or_nothing(key, shape, data):
    n = int(np.prod(shape))
    raw = data.draw(st.binary(min_size=4 * n, max_size=4 * n))
    value = np.frombuffer(raw, "<f4").reshape(shape)
    blob = pack(key, value)
    again = unpack(key, blob)
    assert again.shape == value.shape
    assert again.tobytes() == value.tobytes()  # NaN payloads, signed zeros and all
    at = data.draw(st.integers(0, len(blob) - 1))
    changed = bytearray(blob)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert unpack(key, bytes(changed)) is None
    assert unpack(key, blob[:at]) is None
    other = bytearray(key)
    other[at % 32] ^= 1
    assert unpack(bytes(other), blob) is None
    for nonsense in (None, 3, "text", b""):
        assert unpack(key, nonsense) is None


def test_found_again_by_any_subset_in_any_order(filled):
    order = [7, 3, 3, 39, 0, 7]
    out, computed = embed(filled, keys=[KEYS[i] for i in order], truth=TRUTH[order])
    assert not computed
    np.testing.assert_array_equal(out, TRUTH[order])


def test_the_same_epoch_twice_is_computed_once(tmp_path):
    order = [0, 1, 0, 1, 2]
    out, computed = embed(tmp_path, keys=[KEYS[i] for i in order], truth=TRUTH[order])
    assert computed == [0, 1, 4]
    np.testing.assert_array_equal(out, TRUTH[order])


def test_arrays_per_epoch(tmp_path):
    truth = TRUTH.reshape(N, 8, 25)
    for expected in (list(range(N)), []):
        out, computed = embed(tmp_path, truth=truth)
        np.testing.assert_array_equal(out, truth)
        assert computed == expected


FUZZ = """
    import sys, warnings, pathlib, shutil
    import numpy as np
    warnings.simplefilter("ignore")
    from tests.helpers_store import KEYS, SOURCE, TRUTH, WIDTH, N, embed
    from tests.helpers_store import DAMAGES, KEYS, TRUTH, damage, embed
    source, work = map(pathlib.Path, sys.argv[1:3])
    count, suffix = int(sys.argv[3]), sys.argv[4]
    for how in DAMAGES:
        for seed in range(count):
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(source, work)
            for path in work.glob("*" + suffix):
                path.write_bytes(damage(path.read_bytes(), how, seed))
            for _ in range(3):
                out, computed = embed(work)
                assert np.array_equal(out, TRUTH, equal_nan=True), (how, seed)
            # Whatever was lost is there again, if not after the first time then soon.
            assert not computed, (how, seed, len(computed))
    print("survived")
"""


def fuzz(source, work, count, suffix=".sqlite"):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(FUZZ), source, work,
         str(count), suffix],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "survived" in done.stdout


@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_a_damaged_file_never_gives_a_wrong_number_nor_a_crash(filled, tmp_path, count):
    fuzz(filled, tmp_path / "work", count)


@pytest.mark.slow
def test_any_byte_may_change(filled, tmp_path):
    """Every byte of the file that is not within a value, and every 37th of those that are."""
    raw = the_file(filled).read_bytes()
    blobs = np.zeros(len(raw), dtype=bool)
    for key, row in zip(KEYS, TRUTH):
        at = raw.find(pack(key, row))
        blobs[at : at + WIDTH * 4] = at >= 0
    chosen = np.flatnonzero(~blobs | (np.arange(len(raw)) % 37 == 0))
    changed = 0
    for at in chosen[:: max(1, len(chosen) // 6000)]:
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        broken = bytearray(raw)
        broken[at] ^= 0xFF
        (work / the_file(filled).name).write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            out, computed = embed(work)
        np.testing.assert_array_equal(out, TRUTH, err_msg=str(at))
        changed += bool(computed)
    assert changed  # the damage was real


HALFWAY = """
    import os, signal, sys
    from tests.helpers_store import KEYS, TRUTH
    from eegfound.cache.schema import connect
    from eegfound.cache.record import pack
    import hashlib, pathlib
    db = connect(pathlib.Path(sys.argv[1]), 10**9)
    db.execute("PRAGMA cache_size = 5")  # pages go to the file before the commit
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE entries SET value = zeroblob(817)")
    for i in range(400):
        key = hashlib.sha256(b"new%d" % i).digest()
        row = (key, pack(key, TRUTH[0]))
        db.execute("INSERT INTO entries (key, source, used, value) VALUES (?, 1, 0, ?)", row)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(copy):
    """A store whose writer was killed in the middle of a transaction."""
    before = the_file(copy).stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HALFWAY), the_file(copy)], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert the_file(copy).stat().st_size > before  # part of it had been written
    assert list(copy.glob("*-journal"))
    return copy


def test_a_writer_killed_in_the_middle_leaves_the_store_as_it_was(killed):
    out, computed = embed(killed)
    np.testing.assert_array_equal(out, TRUTH)
    assert not computed
    assert verify_cache(killed).bad == 0


def test_a_damaged_journal_gives_no_wrong_number(killed, tmp_path):
    fuzz(killed, tmp_path / "work", 6, "-journal")


def test_what_is_damaged_as_a_whole_is_set_aside(copy):
    the_file(copy).write_bytes(b"something else entirely" * 1000)
    with pytest.warns(CacheWarning, match="set aside, and begun anew"):
        out, computed = embed(copy)
    np.testing.assert_array_equal(out, TRUTH)
    assert len(computed) == N
    assert [p.name for p in cache_info(copy).set_aside] == ["damaged-0001.sqlite"]
    assert embed(copy)[1] == []
    clear_cache(copy)
    assert not cache_info(copy).set_aside


def test_a_large_damaged_file_does_not_take_the_room_of_the_new_one(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "embeddings-v1-0001.sqlite").write_bytes(os.urandom(900_000))
    with pytest.warns(CacheWarning):
        embed(folder, bound=1_000_000)
    assert sum(p.stat().st_size for p in folder.iterdir()) < 1_000_000


def test_a_store_of_another_layout_or_program_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "embeddings-v1-0001.sqlite") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.warns(CacheWarning):
        out, _ = embed(tmp_path)
    np.testing.assert_array_equal(out, TRUTH)
    with sqlite3.connect(tmp_path / "damaged-0001.sqlite") as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    db.close()


class TestRoom:
    """A bound on disk, and what was not used for longest goes first."""

    BOUND = 1_000_000

    def fill(self, folder, first, count):
        keys = [hashlib.sha256(b"%d" % i).digest() for i in range(first, first + count)]
        truth = np.zeros((count, 1000), np.float32)
        embed(folder, bound=self.BOUND, keys=keys, truth=truth)
        return keys

    def test_the_folder_stays_below_the_bound(self, tmp_path):
        most = 0
        for first in range(0, 1200, 60):
            keys = self.fill(tmp_path, first, 60)
            most = max(most, sum(p.stat().st_size for p in tmp_path.iterdir()))
        assert self.BOUND / 2 < most <= self.BOUND
        assert embed(tmp_path, bound=self.BOUND, keys=keys, truth=np.zeros((60, 1000)))[1] == []

    def test_what_was_not_used_for_longest_goes_first(self, tmp_path):
        old, new = self.fill(tmp_path, 0, 60), self.fill(tmp_path, 60, 60)
        store = EmbeddingStore(tmp_path, self.BOUND)
        long_ago = int(time.time()) - 10 * 86_400
        store.attempt(lambda db: db.execute("UPDATE entries SET used = ?", (long_ago,)).rowcount, 0)
        assert len(store.read(old)) == 60  # and so they are used
        self.fill(tmp_path, 1000, 100)
        assert len(store.read(old)) == 60
        assert len(store.read(new)) < 60

    def test_a_lowered_bound_shrinks_the_file(self, filled, tmp_path):
        keys = [hashlib.sha256(b"%d" % i).digest() for i in range(2000)]
        embed(tmp_path, keys=keys, truth=np.zeros((2000, 1000), np.float32))
        assert the_file(tmp_path).stat().st_size > 8_000_000
        self.fill(tmp_path, 5000, 10)
        assert the_file(tmp_path).stat().st_size <= self.BOUND

    def test_an_embedding_larger_than_the_cache_is_not_kept(self, tmp_path):
        truth = np.ones((1, 300_000), np.float32)
        with pytest.warns(CacheWarning, match="too large"):
            out, _ = embed(tmp_path, bound=self.BOUND, keys=KEYS[:1], truth=truth)
        np.testing.assert_array_equal(out, truth)

    def test_clearing_gives_the_room_back(self, tmp_path):
        self.fill(tmp_path, 0, 150)
        assert the_file(tmp_path).stat().st_size > 600_000
        assert clear_cache(tmp_path) == 150
        assert the_file(tmp_path).stat().st_size < 100_000

    @pytest.mark.parametrize(
        ("text", "bound"),
        [("", 10**10), ("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5T", 1.5e12)],
    )
    def test_the_bound_is_read_from_the_environment(self, monkeypatch, text, bound):
        monkeypatch.setenv("EEGFOUND_CACHE_SIZE", text)
        assert size_bound() == bound

    @pytest.mark.parametrize("text", ["much", "-3GB", "10", "GB"])
    def test_nonsense_is_refused(self, monkeypatch, text):
        monkeypatch.setenv("EEGFOUND_CACHE_SIZE", text)
        with pytest.raises(SpecError, match="EEGFOUND_CACHE_SIZE"):
            size_bound()


def in_child(work):
    """Run a function in a fork, which may give up rights; returns what it printed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                told = work()
            told += [str(w.message) for w in heard if issubclass(w.category, CacheWarning)]
            os.write(write, "\n".join(told).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read().splitlines()


class TestTrouble:
    """Computing goes on, with one warning."""

    def test_no_such_place(self):
        if not os.path.isdir("/proc/self"):
            pytest.skip("needs a folder in which nobody can write")
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            found = [embed("/proc/self/nothing") for _ in range(2)]
        for out, computed in found:
            np.testing.assert_array_equal(out, TRUTH)
            assert len(computed) == N
        assert ["cannot be used" in str(w.message) for w in heard] == [True]

    def test_a_full_disk(self, copy):
        extra = [hashlib.sha256(b"extra%d" % i).digest() for i in range(500)]
        truth = np.ones((500, WIDTH), np.float32)

        def work():
            # The kernel refuses to let files grow, as a full disk does.
            size = the_file(copy).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40_000, size + 40_000))
            out, computed = embed(copy, keys=extra, truth=truth)
            right = np.array_equal(out, truth) and len(computed) == 500
            return [f"right {right}"]

        told = in_child(work)
        assert told[0] == "right True"
        assert len(told) == 2, told
        assert "cannot be used" in told[1]
        assert not embed(copy)[1]  # what was there is there

    def test_a_read_only_folder_is_read(self, filled):
        folder = Path(tempfile.mkdtemp())
        try:
            target = shutil.copytree(filled, folder / "c")
            for path in (folder, target):
                path.chmod(0o555)
            the_file(target).chmod(0o444)

            def work():
                if os.getuid() == 0:
                    os.setuid(65534)  # root may write everywhere
                first = embed(target)
                more = [*KEYS, hashlib.sha256(b"more").digest()]
                out, computed = embed(target, keys=more, truth=np.vstack([TRUTH, TRUTH[:1]]))
                return [f"{len(first[1])} {computed} {out.shape}"]

            told = in_child(work)
        finally:
            for path in (folder, folder / "c"):
                path.chmod(0o755)
            shutil.rmtree(folder)
        assert told[0] == f"0 [{N}] ({N + 1}, {WIDTH})"
        assert len(told) == 2, told
        assert "cannot be used" in told[1]

    def test_a_lock_that_is_never_given_back(self, copy, monkeypatch):
        monkeypatch.setattr("eegfound.cache.store.PATIENCE", 0.3)
        holder = sqlite3.connect(the_file(copy), isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.warns(CacheWarning, match="locked"):
            out, computed = embed(copy)
        np.testing.assert_array_equal(out, TRUTH)
        assert len(computed) == N
        holder.close()

    @pytest.mark.parametrize("cache", [3, 1.5, b"bytes", ""])
    def test_what_is_no_place(self, cache):
        with pytest.raises(SpecError, match="cache="):
            place.resolve_place(cache)

    def test_a_file_is_no_place(self, tmp_path):
        (tmp_path / "f").touch()
        with pytest.raises(SpecError, match="is a file"):
            place.resolve_place(tmp_path / "f")
