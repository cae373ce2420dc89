"""Claims: nobody computes what another one is computing; nobody waits for the dead."""

from __future__ import annotations

import time

import numpy as np
import pytest

from eegfound.cache import CacheWarning, cache_info
from eegfound.cache import place as cache_place
from eegfound.cache.claims import Claimant
from eegfound.cache.once import Rows, encode_once
from eegfound.cache.store import EmbeddingStore
from tests.helpers_store import KEYS, SOURCE, TRUTH, N, embed


@pytest.fixture(autouse=True)
def forget():
    """Let every test hear its warnings."""
    cache_place._told.clear()


@pytest.fixture
def copy(tmp_path):
    embed(tmp_path / "copy")
    return tmp_path / "copy"


def test_what_is_claimed_is_left_to_the_other(tmp_path):
    store = EmbeddingStore(tmp_path, 10**8)
    with Claimant(store) as one, Claimant(store) as two:
        assert one.claim(KEYS[:10], 6) == (KEYS[:6], [])
        assert two.claim(KEYS[:10], 100) == (KEYS[6:10], [])
        assert two.claim(KEYS[:10], 100)[0] == KEYS[6:10]  # its own it has already
        store.write(SOURCE, [(KEYS[0], TRUTH[0])], one.name)
        mine, ready = two.claim(KEYS[:10], 100)
        assert ready == [KEYS[0]]
        assert KEYS[1] not in mine
    with Claimant(store) as three:  # given back at the end
        assert three.claim(KEYS[:10], 100)[0] == KEYS[1:10]


@pytest.mark.parametrize(
    "owner",
    ["{host}|999999999|1|x", "{host}|1|not its start|x", "{host}|abc|1|x"],
)
def test_a_claim_ends_with_its_process(tmp_path, owner):
    from eegfound.cache.process import host

    store = EmbeddingStore(tmp_path, 10**8)
    rows = [(key, owner.format(host=host()), time.time() + 20) for key in KEYS]
    store.attempt(
        lambda db: db.executemany("INSERT INTO claims VALUES (?, ?, ?)", rows).rowcount, 0
    )
    with Claimant(store) as claimant:
        assert claimant.claim(KEYS, 100)[0] == KEYS


@pytest.mark.parametrize("expires", [10**6, -1, "text", b"bytes"])
def test_a_claim_whose_lease_is_nonsense_does_not_count(tmp_path, expires):
    store = EmbeddingStore(tmp_path, 10**8)
    if isinstance(expires, int):
        expires += time.time()
    rows = [(key, "elsewhere|1|1|x", expires) for key in KEYS]
    store.attempt(
        lambda db: db.executemany("INSERT INTO claims VALUES (?, ?, ?)", rows).rowcount, 0
    )
    with Claimant(store) as claimant:
        assert claimant.claim(KEYS, 100)[0] == KEYS


def test_a_claim_of_another_machine_counts_until_its_lease_ends(tmp_path):
    store = EmbeddingStore(tmp_path, 10**8)
    with Claimant(store) as other, Claimant(store, lease=0.4) as mine:
        other.name = "elsewhere|1|1|x"
        other.lease = 0.3
        other.claim(KEYS[:3], 3)
        other._ended.set()  # its machine is gone: nobody renews
        assert mine.claim(KEYS[:3], 3)[0] == []
        time.sleep(0.4)
        assert mine.claim(KEYS[:3], 3)[0] == KEYS[:3]


def test_a_claim_is_renewed_while_its_process_computes(tmp_path):
    store = EmbeddingStore(tmp_path, 10**8)
    with Claimant(store, lease=0.4) as slow, Claimant(store, lease=0.4) as other:
        slow.claim(KEYS[:3], 3)
        time.sleep(0.9)
        assert other.claim(KEYS[:3], 3)[0] == []


def test_an_error_gives_claims_back(tmp_path):
    rows = Rows(KEYS, lambda shape: np.empty((N, *shape)), None)

    def fail(chosen, done):
        raise RuntimeError("out of memory")

    store = EmbeddingStore(tmp_path, 10**8)
    with pytest.raises(RuntimeError, match="out of memory"):
        encode_once(store, SOURCE, rows, fail, step=8)
    assert cache_info(tmp_path).claims == 0


def test_a_claimant_that_never_ends_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("eegfound.cache.once.PATIENCE", 0.3)
    with Claimant(EmbeddingStore(tmp_path, 10**8)) as stuck:
        stuck.claim(KEYS, N)
        out, computed = embed(tmp_path)
    np.testing.assert_array_equal(out, TRUTH)
    assert len(computed) == N


def test_a_value_that_can_neither_be_read_nor_dropped(copy, monkeypatch):
    """As in a read-only folder with a damaged value: it is computed, every time."""
    store = EmbeddingStore(copy, 10**8)
    store.attempt(lambda db: db.execute("UPDATE entries SET value = x'00'").rowcount, 0)
    monkeypatch.setattr(EmbeddingStore, "_drop", lambda *_: None)
    monkeypatch.setattr(EmbeddingStore, "write", lambda *_: False)
    with pytest.warns(CacheWarning, match="damaged"):
        out, computed = embed(copy)
    np.testing.assert_array_equal(out, TRUTH)
    assert sorted(computed) == list(range(N))
