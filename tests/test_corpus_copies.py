"""A recording that two sets share: whoever is held out or left out is so under every name."""

from __future__ import annotations

import pytest

from eegfound.base import SpecError
from eegfound.corpus import Corpus, prepare_corpus
from tests.helpers_corpus import signals, write_fif
from tests.helpers_pretraining import pretrainer

#: Seeds of the recordings; B/5 has a copy of A/1's, and another one.
SETS = {"A": {"1": [1], "2": [2], "3": [3]}, "B": {"5": [1, 50], "6": [6]}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    for dataset, people in SETS.items():
        for subject, seeds in people.items():
            for run, seed in enumerate(seeds):
                path = folder / dataset / f"sub-{subject}_run-{run}_raw.fif"
                write_fif(path, signals(seconds=40, seed=seed))
        prepare_corpus(folder / dataset, folder / "store", dataset=dataset, verbose=False)
    return Corpus(folder / "store")


def names(corpus):
    return {each["name"]: each["subjects"] for each in corpus.record()["datasets"]}


def test_the_store_keeps_the_copy_once(store):
    assert store.subjects == ["A/1", "A/2", "A/3", "B/5", "B/6"]
    assert len(store) == 5


@pytest.mark.parametrize("wanted", ["A/1", "B/5"])
def test_a_hold_out_by_name_keeps_the_person_together(store, wanted):
    pre = pretrainer(info=None, max_epochs=1, validation_fraction=[wanted]).fit(store)
    assert pre.record_["held_out"] == ["A/1", "B/5"]
    source = store.source("masked-toy")
    assert set(source.groups) == {"A/1", "A/2", "A/3", "B/6"}
    assert source.aliases == {"B/5": "A/1"}
    n_held = sum(source.groups == "A/1")
    seen = [row["n_windows"] for row in pre.history_ if row["split"] == "train"]
    assert max(seen) == len(source) - n_held
    known = set(pre.partial_fit(store).record_["held_out"])
    assert known == {"A/1", "B/5"}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("5", {"A": ["2", "3"], "B": ["6"]}),
        ("B/5", {"A": ["2", "3"], "B": ["6"]}),
        ("A/1", {"A": ["2", "3"], "B": ["6"]}),
        ("B/*", {"A": ["2", "3"]}),
    ],
)
def test_who_is_left_out_is_so_under_every_name(store, exclude, left):
    assert names(store.select(exclude=[exclude])) == left


def test_selecting_takes_a_copy_for_what_it_is(store):
    assert names(store.select(["5"])) == {"A": ["1"], "B": ["5"]}
    assert len(store.select(["B/*"])) == 3
    assert len(store.select(["A/*"])) == 3


@pytest.mark.parametrize("seed", range(6))
def test_a_split_separates_people(store, seed):
    train, held_out = (set(part.subjects) for part in store.split(0.4, seed=seed))
    for side in (train, held_out):
        assert ("A/1" in side) == ("B/5" in side)


def test_a_part_without_the_shared_recording_still_knows(store):
    part = store._with((store.index["shard"] != store.index["shard"][0]).to_numpy())
    assert part.subjects == ["A/2", "A/3", "B/5", "B/6"]
    assert set(part.source("masked-toy").groups) == {"A/2", "A/3", "B/5", "B/6"}


def test_sets_that_share_a_recording_are_one_group_of_sets(store):
    source = store.source("masked-toy", groups="dataset")
    assert set(source.groups) == {"A"}
    pre = pretrainer(info=None, max_epochs=1, validation_fraction=["B"])
    with pytest.raises(SpecError, match="holds out all groups"):
        pre.fit(source)
