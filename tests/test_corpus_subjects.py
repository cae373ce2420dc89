"""Who was recorded, and who must not go in, whatever people call them."""

from __future__ import annotations

import warnings

import pytest

from eegfound.base import SignalWarning
from eegfound.corpus import CorpusError, prepare_corpus
from eegfound.corpus.subjects import one_name_each, person, same_people
from tests.helpers_corpus import signals, write_fif


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        data = signals(seconds=10, seed=number)
        write_fif(tmp_path / "in" / f"sub-{number:02}_raw.fif", data)
    return tmp_path / "in"


def prepared(folder, **params):
    given = {"dataset": "lab", "verbose": False} | params
    return prepare_corpus(folder, folder.parent / "store", **given)


@pytest.mark.parametrize("name", ["sub-02", "S002", "02", 2, "subject 2"])
@pytest.mark.parametrize("rule", ["bids", None])
def test_a_person_is_left_out_by_any_name(folder, name, rule):
    done = prepared(folder, subject=rule, exclude_subjects=[name])
    assert done.n_excluded == 1
    assert done.corpus.subjects == ["lab/1", "lab/3"]


def test_a_name_of_nobody_is_an_error_and_the_right_one_takes_them_out(folder):
    with pytest.raises(CorpusError, match=r"\['S22'\] match nobody in 'lab', where 1, 3 are"):
        prepared(folder, exclude_subjects=["S22", "S2"])
    for n_excluded in (2, 2):  # also when it was taken out before
        done = prepared(folder, exclude_subjects=["S2", "S3"])
        assert done.n_excluded == n_excluded
    assert done.corpus.subjects == ["lab/1"]
    (folder / "sub-03_raw.fif").unlink()
    assert prepared(folder, exclude_subjects=["S2", "S3"]).n_excluded == 1


def test_somebody_whose_file_cannot_be_read_is_somebody(folder):
    (folder / "sub-09_raw.fif").write_bytes(b"nothing")
    assert len(prepared(folder, exclude_subjects=["S9"]).failures) == 1


def test_files_that_say_nothing_of_subjects_are_told_once(tmp_path):
    for number, name in enumerate(("subj1_run1", "subj1_run2")):
        write_fif(tmp_path / "in" / f"{name}.fif", signals(seconds=10, seed=number))
    for _ in range(2):  # also what was prepared before
        with pytest.warns(SignalWarning, match="2 files of 'lab'.*subject=") as told:
            prepared(tmp_path / "in")
        assert len([w for w in told if "subject=" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", SignalWarning)
        for rule in ("file", r"subj(\d)"):
            prepared(tmp_path / "in", subject=rule)


def test_names_of_people():
    assert len({person(name) for name in (7, "007", "S007", "sub-07", "subj 7")}) == 1
    assert len({person(name) for name in ("p3", "é", "李", "--", "7a")}) == 5
    people = same_people(["A/1", "B/5", "C/2", "D/4"], [["B/5"], ["C/2"], [], ["D/4"]])
    assert one_name_each(["C/2", "B/5", "D/4"], people) == ["B/5", "B/5", "D/4"]
