"""Corpora of real recordings: the bundled sample, and those of EEGFOUND_DATA."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from eegfound.corpus import prepare_corpus
from eegfound.datasets import load_sample
from tests.helpers_corpus import write_fif

DATA = Path(os.environ.get("EEGFOUND_DATA", ""))
needs_data = pytest.mark.skipif(
    not os.environ.get("EEGFOUND_DATA") or not (DATA / "originals").is_dir(),
    reason="needs the original recordings: set EEGFOUND_DATA",
)


def test_the_bundled_sample(tmp_path, toy):
    X, _, groups, info = load_sample(subjects=[0, 1, 2])
    for subject in (0, 1, 2):
        own = np.concatenate(list(X[groups == subject]), axis=1).astype(float)
        write_fif(tmp_path / "in" / f"sub-{subject}_raw.fif", own, info.ch_names, info.sfreq)
    done = prepare_corpus(tmp_path / "in", tmp_path / "out", dataset="sample", band=(0.5, 45))
    assert (done.n_new, done.failures) == (3, [])
    record = done.corpus.record()
    assert record["datasets"][0]["licence"] == "ODC-BY 1.0"
    assert "Zyma" in record["datasets"][0]["citation"]
    assert record["hours"] == pytest.approx(3 * 24 * 4 / 3600, rel=0.02)
    source = done.corpus.source("toy")
    (job,) = source.jobs(range(0, len(source), 5))
    spread = job.signal.std()
    assert 0.03 < spread < 0.3  # 3 to 30 µV, in hundreds


@needs_data
@pytest.mark.parametrize(
    ("path", "dataset", "subjects", "shape"),
    [
        ("eegmmidb", "eegmmidb", ["eegmmidb/1"], (64, 160.0)),
        ("eeglab/eeglab_data.set", "lab", ["lab/eeglab_data"], (30, 128.0)),
        ("brainvision/test_CA_208.vhdr", "lab", ["lab/test_CA_208"], (63, 1000.0)),
        ("adhd", "adhd", ["adhd/v10p"], (19, 128.0)),
        ("muse", "muse", None, (4, 256.0)),
        ("yasa", "lab", None, (2, 200.0)),
    ],
)
def test_originals(tmp_path, path, dataset, subjects, shape):
    done = prepare_corpus(DATA / "originals" / path, tmp_path / "out", dataset=dataset)
    assert done.failures == []
    corpus = done.corpus
    if subjects is not None:
        assert corpus.subjects == subjects
    assert (len(corpus.index["ch_names"][0]), corpus.index["sfreq"][0]) == shape
    data = corpus.read(0)[0]
    assert 1e-6 < np.median(np.abs(data)) < 1e-4


@needs_data
def test_amplifier_inputs_are_a_failure_that_says_what_to_do(tmp_path):
    done = prepare_corpus(DATA / "originals" / "bdf", tmp_path / "out", dataset="lab")
    assert "rename=" in done.failures[0]["reason"]


@needs_data
@pytest.mark.skipif(not (DATA / "packed" / "eegmmidb").is_dir(), reason="needs packed recordings")
def test_a_packed_copy_of_an_edf_file_is_the_same_recording(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (packed,) = (DATA / "packed" / "eegmmidb").glob("S001R04.npz.*")
    shutil.copy(packed, folder)
    for run in ("04", "08"):
        shutil.copy(DATA / "originals" / "eegmmidb" / "S001" / f"S001R{run}.edf", folder)
    done = prepare_corpus(folder, tmp_path / "out", dataset="eegmmidb")
    assert (done.n_new, done.n_duplicates) == (2, 1)
    index = done.corpus.index.set_index("file")["also_known_as"]
    assert [Path(p).name for p in index[str(folder / "S001R04.edf")]] == [packed.name]


@needs_data
@pytest.mark.skipif(not (DATA / "packed" / "eegmat").is_dir(), reason="needs packed recordings")
def test_a_derived_copy_at_another_rate_is_the_same_recording(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(DATA / "originals" / "eegmat" / "Subject00_2.edf", folder)
    (packed,) = (DATA / "packed" / "eegmat").glob("Subject00_2.npz.*")
    shutil.copy(packed, folder)
    done = prepare_corpus(folder, tmp_path / "out", dataset="eegmat")
    assert (done.n_new, done.n_duplicates) == (1, 1)
    assert done.corpus.index["original_sfreq"][0] == 500.0


@needs_data
@pytest.mark.skipif(not (DATA / "packed" / "eegmmidb").is_dir(), reason="needs packed recordings")
def test_subjects_at_another_rate_share_a_batch(tmp_path, toy):
    folder = DATA / "packed" / "eegmmidb"
    files = [next(folder.glob(name)) for name in ("S001R04.npz.*", "S092R04.npz.*")]
    corpus = prepare_corpus(files, tmp_path / "out", dataset="eegmmidb", band=(0.5, 70)).corpus
    assert sorted(corpus.index["sfreq"]) == [128.0, 160.0]
    source = corpus.source("toy")
    assert len(set(source.groups)) == 2
    (job,) = source.jobs([0, len(source) - 1])
    assert job.signal.shape == (2, 19, 400)


@needs_data
def test_raw_converter_units_of_an_unknown_set_are_refused(tmp_path):
    folder = DATA / "packed" / "adhd_children"
    if not folder.is_dir():
        pytest.skip("needs packed recordings")
    file = sorted(folder.glob("*.npz.*"))[0]
    done = prepare_corpus(file, tmp_path / "out", dataset="children")
    assert "unit=" in done.failures[0]["reason"]
    assert prepare_corpus(file, tmp_path / "out", dataset="children", unit=1e-7).n_new == 1
