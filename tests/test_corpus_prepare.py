"""Recordings of any format become one store."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eegfound.base import SpecError
from eegfound.corpus import Corpus, CorpusError, prepare_corpus
from tests.helpers_corpus import (
    NAMES,
    raw_of,
    signals,
    write_brainvision,
    write_edf,
    write_eeglab,
    write_fif,
    write_packed,
)

WRITERS = {
    "a.edf": write_edf,
    "a_raw.fif": write_fif,
    "a.vhdr": write_brainvision,
    "a.set": write_eeglab,
}


def prepared(folder, out, **params):
    return prepare_corpus(folder, out, **({"dataset": "lab", "subject": "file"} | params))


def reason(done):
    assert len(done.failures) == 1
    return done.failures[0]["reason"]


@pytest.mark.parametrize("name", WRITERS)
def test_formats_give_the_same_volts(tmp_path, name):
    data = signals()
    WRITERS[name](tmp_path / "in" / name, data)
    done = prepared(tmp_path / "in", tmp_path / "out")
    assert (done.n_new, done.failures) == (1, [])
    found, info, rejected = done.corpus.read(0)
    assert tuple(info.ch_names) == NAMES
    assert info.sfreq == 100.0
    assert len(rejected) == 0
    centred = data - data.mean(axis=1, keepdims=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, centred, atol=5e-8)  # a step of the coarsest format


def test_packed_recordings(tmp_path):
    data = signals()
    write_packed(tmp_path / "in" / "x.npz.bz2", 1e6 * data, licence="CC0", subject="042")
    corpus = prepared(tmp_path / "in", tmp_path / "out", subject=None).corpus
    centred = data - data.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(corpus.read(0)[0], centred, atol=5e-8)
    assert corpus.subjects == ["lab/42"]
    assert corpus.record()["datasets"][0]["licence"] == "CC0"


def test_a_shard_is_an_ordinary_arrow_file(tmp_path):
    import pyarrow as pa

    write_edf(tmp_path / "in" / "a.edf", signals())
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    with pa.memory_map(str(tmp_path / "out" / corpus.index["shard"][0])) as file:
        table = pa.ipc.open_file(file).read_all()
        assert table.column_names == list(NAMES)
        assert {str(kind) for kind in table.schema.types} == {"float"}
        assert json.loads(table.schema.metadata[b"eegfound"])["sfreq"] == 100.0


def test_rate_band_and_notch_are_those_of_the_suite(tmp_path):
    from eegfound.preprocessing import bandpass, notch, resample

    data = signals(sfreq=250.0)
    write_fif(tmp_path / "in" / "a_raw.fif", data, sfreq=250.0)
    corpus = prepared(
        tmp_path / "in", tmp_path / "out", sfreq=200, band=(0.5, 40), notch=50, max_abs=None
    ).corpus
    stored = data.astype(np.float32).astype(float)
    expected = stored - stored.mean(axis=1, keepdims=True)
    expected = resample(notch(bandpass(expected, 250.0, 0.5, 40), 250.0, 50), 250.0, 200.0)
    np.testing.assert_allclose(corpus.read(0)[0], expected, atol=1e-10)
    row = corpus.index.iloc[0]
    assert (row["sfreq"], row["original_sfreq"], row["n_times"]) == (200.0, 250.0, 4000)


def test_a_band_beyond_a_slow_file_is_no_reason_to_fail(tmp_path):
    write_edf(tmp_path / "in" / "slow.edf", signals(sfreq=128.0), sfreq=128)
    write_edf(tmp_path / "in" / "fast.edf", signals(sfreq=250.0, seed=1), sfreq=250)
    done = prepared(tmp_path / "in", tmp_path / "out", band=(0.5, 75), notch=60)
    assert done.failures == []
    assert sorted(done.corpus.index["sfreq"]) == [128.0, 250.0]


def test_what_is_no_electrode_stays_out_and_is_named(tmp_path):
    names = ("EEG Fp1-REF", "Fc5.", "EEG T3", "ECG", "A2-A1", "whatever")
    write_fif(
        tmp_path / "in" / "a_raw.fif",
        signals(6),
        names,
        kinds=["eeg", "eeg", "eeg", "eeg", "eeg", "eeg"],
    )
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    assert corpus.index["ch_names"][0].tolist() == ["Fp1", "FC5", "T3"]
    assert {pair[0] for pair in corpus.index["left_out"][0]} == {"ECG", "A2-A1", "whatever"}


def test_types_and_bad_channels_of_the_file_count(tmp_path):
    raw = raw_of(signals(5), NAMES, kinds=["eeg", "eog", "eeg", "eeg", "misc"])
    raw.info["bads"] = ["C4"]
    (tmp_path / "in").mkdir()
    raw.save(tmp_path / "in" / "a_raw.fif", verbose="error")
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    assert corpus.index["ch_names"][0].tolist() == ["Fp1", "Cz"]
    told = dict(map(tuple, corpus.index["left_out"][0]))
    assert told == {"C3": "eog by type", "C4": "marked as bad", "O1": "misc by type"}


def test_names_that_say_nothing_can_be_renamed(tmp_path):
    names = [f"EEG 00{i}" for i in range(5)]
    write_fif(tmp_path / "in" / "a_raw.fif", signals(), names)
    done = prepared(tmp_path / "in", tmp_path / "out")
    assert "rename=" in reason(done)
    again = prepared(tmp_path / "in", tmp_path / "out", rename=dict(zip(names, reversed(NAMES))))
    assert again.corpus.index["ch_names"][0].tolist() == list(reversed(NAMES))


def test_raw_converter_numbers_need_a_unit(tmp_path):
    counts = np.round(signals() / 1e-7)
    write_packed(
        tmp_path / "in" / "v1p.npz.bz2", counts, scale=1, unit_note="raw ADC units", subject="v1p"
    )
    assert "unit=" in reason(prepared(tmp_path / "in", tmp_path / "out"))
    assert len(Corpus(tmp_path / "out")) == 0
    done = prepared(tmp_path / "in", tmp_path / "out", unit=1e-7)
    centred = signals() - signals().mean(axis=1, keepdims=True)
    np.testing.assert_allclose(done.corpus.read(0)[0], centred, atol=2e-7)
    known = prepared(tmp_path / "in", tmp_path / "known", dataset="adhd", subject=None)
    np.testing.assert_array_equal(known.corpus.read(0)[0], done.corpus.read(0)[0])
    assert known.corpus.index["unit"][0] == "1e-07 V per unit"


def test_a_wrong_unit_is_a_failure_that_names_the_right_one(tmp_path):
    write_fif(tmp_path / "in" / "a_raw.fif", 1e6 * signals())  # microvolts as if they were volts
    assert "unit='uV'" in reason(prepared(tmp_path / "in", tmp_path / "out"))
    done = prepared(tmp_path / "in", tmp_path / "out", unit="uV")
    assert done.n_new == 1
    assert np.abs(done.corpus.read(0)[0]).max() < 1e-4


def test_artefacts_are_marked_not_deleted(tmp_path):
    data = signals(seconds=60)
    data[1, 1000:1010] = 5e-3  # 10.0 s: too large
    data[2, 2000:2500] = data[2, 2000]  # 20 to 25 s: no change
    write_fif(tmp_path / "in" / "a_raw.fif", data)
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    found, _, rejected = corpus.read(0)
    assert found.shape == data.shape
    assert rejected.tolist() == [[975, 1035], [2001, 2500]]
    assert corpus.index["usable_seconds"][0] == pytest.approx(60 - 0.6 - 4.99)
    everything = prepared(tmp_path / "in", tmp_path / "all", max_abs=None, flat_seconds=None).corpus
    assert len(everything.read(0)[2]) == 0


def test_gaps_are_rejected_and_do_not_spread_through_filters(tmp_path):
    data = signals(seconds=60)
    data[0, 3000:3100] = np.nan
    write_fif(tmp_path / "in" / "a_raw.fif", data)
    found, _, rejected = prepared(tmp_path / "in", tmp_path / "out", band=(1, 30)).corpus.read(0)
    assert rejected.tolist() == [[3000, 3100]]
    assert np.isnan(found[0]).sum() == 100
    assert np.isfinite(found[1:]).all()


def test_a_dead_channel_costs_the_channel_not_the_recording(tmp_path):
    data = signals(seconds=30)
    data[3] = 1e-6
    write_fif(tmp_path / "in" / "a_raw.fif", data)
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    assert corpus.index["ch_names"][0].tolist() == ["Fp1", "C3", "Cz", "O1"]
    assert ["C4", "bad throughout"] in [list(p) for p in corpus.index["left_out"][0]]
    assert len(corpus.read(0)[2]) == 0


def test_annotations_called_bad_are_rejected(tmp_path):
    import mne

    raw = raw_of(signals(seconds=60))
    raw.set_annotations(mne.Annotations([30.0, 5.0], [2.0, 1.0], ["BAD_movement", "T1"]))
    (tmp_path / "in").mkdir()
    raw.save(tmp_path / "in" / "1_raw.fif", verbose="error")
    raw.crop(tmin=7.0).save(tmp_path / "in" / "2_raw.fif", verbose="error")
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    assert corpus.read(0)[2].tolist() == [[3000, 3201]]
    assert corpus.read(1)[2].tolist() == [[2300, 2501]]


def test_damaged_and_short_files_are_reported_and_skipped(tmp_path):
    folder = tmp_path / "in"
    write_edf(folder / "good.edf", signals())
    write_edf(folder / "short.edf", signals(seconds=2, seed=1))
    whole = write_fif(folder / "cut_raw.fif", signals(seed=2))
    whole.write_bytes(whole.read_bytes()[:4000])
    (folder / "garbage.edf").write_bytes(b"\x00garbage" * 100)
    (folder / "empty.bdf").write_bytes(b"")
    write_packed(folder / "torn.npz.bz2", 1e6 * signals(seed=3))
    torn = folder / "torn.npz.bz2"
    torn.write_bytes(torn.read_bytes()[:-200])
    write_brainvision(folder / "headless.vhdr", signals(seed=4)).with_suffix(".eeg").unlink()
    done = prepared(folder, tmp_path / "out")
    assert done.n_new == 1
    failed = {f["file"].rpartition("/")[2]: f["reason"] for f in done.failures}
    assert set(failed) == {
        "short.edf", "cut_raw.fif", "garbage.edf", "empty.bdf", "torn.npz.bz2", "headless.vhdr",
    }  # fmt: skip
    assert "min_seconds=4" in failed["short.edf"]
    assert set(done.corpus.failures["file"]) == {f["file"] for f in done.failures}
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_truncated_edf_is_read_as_far_as_it_goes_with_a_note(tmp_path):
    path = write_edf(tmp_path / "in" / "a.edf", signals())
    path.write_bytes(path.read_bytes()[: -10 * 5 * 100 * 2])  # ten records of a second
    corpus = prepared(tmp_path / "in", tmp_path / "out").corpus
    assert corpus.index["seconds"][0] == pytest.approx(10)
    assert any("file size" in note for note in corpus.index["notes"][0])


def test_a_failure_that_was_repaired_is_forgotten(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.edf").write_bytes(b"not yet")
    assert len(prepared(tmp_path / "in", tmp_path / "out").failures) == 1
    write_edf(tmp_path / "in" / "a.edf", signals())
    done = prepared(tmp_path / "in", tmp_path / "out")
    assert (done.n_new, len(done.corpus.failures)) == (1, 0)


def test_the_same_recording_is_kept_once(tmp_path):
    data = signals(seconds=40.3)
    folder = tmp_path / "in"
    write_fif(folder / "1_raw.fif", data)
    # EDF has whole seconds and rounds in another way.
    write_edf(folder / "2_other_name.edf", np.pad(data, ((0, 0), (0, 70))))
    write_brainvision(folder / "3.vhdr", data)
    order = [3, 1, 4, 0, 2]
    write_fif(folder / "4_shuffled_raw.fif", data[order], [NAMES[i] for i in order])
    write_fif(folder / "5_other_raw.fif", signals(seconds=40.3, seed=9))
    done = prepared(folder, tmp_path / "out")
    assert (done.n_new, done.n_duplicates) == (2, 3)
    row = done.corpus.index[done.corpus.index["file"].str.contains("1_raw")].iloc[0]
    assert [p.rpartition("/")[2] for p in row["also_known_as"]] == [
        "2_other_name.edf", "3.vhdr", "4_shuffled_raw.fif",
    ]  # fmt: skip
    again = prepared(folder, tmp_path / "out")
    assert (again.n_new, again.n_done, again.n_duplicates) == (0, 2, 3)


def test_a_copy_at_another_rate_or_in_another_set_is_the_same_recording(tmp_path):
    from eegfound.preprocessing import resample

    data = signals(seconds=40, sfreq=500.0)
    write_fif(tmp_path / "a" / "x_raw.fif", data, sfreq=500.0)
    write_fif(tmp_path / "b" / "y_raw.fif", resample(data, 500.0, 200.0), sfreq=200.0)
    prepared(tmp_path / "a", tmp_path / "out", dataset="original")
    done = prepared(tmp_path / "b", tmp_path / "out", dataset="derived")
    assert (done.n_new, done.n_duplicates) == (0, 1)
    assert done.corpus.datasets == ["original"]


def test_mixed_up_channels_are_another_recording(tmp_path):
    data = signals(seconds=40)
    write_fif(tmp_path / "in" / "a_raw.fif", data)
    write_fif(tmp_path / "in" / "b_raw.fif", data, NAMES[1:] + NAMES[:1])
    assert prepared(tmp_path / "in", tmp_path / "out").n_new == 2


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("folder", ["lab/one", "lab/two"]),
        ("bids", ["lab/7", "lab/B2"]),
        (r"sub-0*(\w+)_", ["lab/7", "lab/B2"]),
        (lambda path: path.name[-9], ["lab/6", "lab/7"]),
        (None, ["lab/7", "lab/B2"]),
    ],
)
def test_subjects(tmp_path, rule, expected):
    write_edf(tmp_path / "in" / "one" / "sub-007_run-6_eeg.edf", signals())
    write_edf(tmp_path / "in" / "two" / "sub-B2_run-7_eeg.edf", signals(seed=1))
    corpus = prepared(tmp_path / "in", tmp_path / "out", subject=rule).corpus
    assert corpus.subjects == expected


def test_a_rule_that_does_not_fit_is_a_failure_and_one_that_is_none_an_error(tmp_path):
    write_edf(tmp_path / "in" / "a.edf", signals())
    assert "subject" in reason(prepared(tmp_path / "in", tmp_path / "out", subject=r"S(\d+)"))
    with pytest.raises(SpecError, match="group"):
        prepared(tmp_path / "in", tmp_path / "out", subject="S")


def test_a_changed_rule_or_licence_counts_without_reading_again(tmp_path):
    write_edf(tmp_path / "in" / "one" / "a.edf", signals())
    prepared(tmp_path / "in", tmp_path / "out")
    done = prepared(tmp_path / "in", tmp_path / "out", subject="folder", licence="CC BY 4.0")
    assert (done.n_new, done.n_done) == (0, 1)
    assert done.corpus.record()["datasets"][0] | {"hours": 0} == {
        "name": "lab", "licence": "CC BY 4.0", "citation": "", "subjects": ["one"],
        "n_recordings": 1, "hours": 0,
    }  # fmt: skip


def test_excluded_subjects_never_stay(tmp_path):
    for number in (1, 2, 3):
        write_edf(tmp_path / "in" / f"S{number}.edf", signals(seed=number))
    rule = {"subject": r"S(\d)"}
    done = prepared(tmp_path / "in", tmp_path / "out", exclude_subjects=[2], **rule)
    assert (done.n_new, done.n_excluded) == (2, 1)
    assert done.corpus.subjects == ["lab/1", "lab/3"]
    again = prepared(tmp_path / "in", tmp_path / "out", exclude_subjects=["3"], **rule)
    assert again.corpus.subjects == ["lab/1", "lab/2"]
    shards = {p.name for p in (tmp_path / "out").rglob("*.arrow")}
    assert shards == {name.rpartition("/")[2] for name in again.corpus.index["shard"]}


@pytest.mark.slow  # processes of joblib take seconds to start
def test_several_processes_keep_the_same(tmp_path):
    for number in range(4):
        write_edf(tmp_path / "in" / f"{number}.edf", signals(seed=number % 3))
    one = prepared(tmp_path / "in", tmp_path / "one")
    two = prepared(tmp_path / "in", tmp_path / "two", n_jobs=2)
    assert (one.n_new, one.n_duplicates) == (two.n_new, two.n_duplicates) == (3, 1)
    assert one.corpus.index.drop(columns=[]).equals(two.corpus.index)


def test_sets_are_recorded_and_other_settings_refused(tmp_path):
    write_edf(tmp_path / "a" / "1.edf", signals())
    write_edf(tmp_path / "b" / "2.edf", signals(seed=1))
    prepared(tmp_path / "a", tmp_path / "out", dataset="one")
    done = prepared(tmp_path / "b", tmp_path / "out", dataset="two", sfreq=50)
    assert done.corpus.datasets == ["one", "two"]
    assert done.corpus.summary()["sfreq"].tolist() == ["100", "50"]
    with pytest.raises(CorpusError, match=r"sfreq was 50\.0, is None"):
        prepared(tmp_path / "b", tmp_path / "out", dataset="two")


def test_mistakes_are_told_before_anything_is_read(tmp_path):
    write_edf(tmp_path / "in" / "a.edf", signals())
    for wrong, word in (
        ({"dataset": ""}, "dataset="), ({"sfreq": 1}, "sfreq=1"), ({"band": 40}, "band=40"),
        ({"band": (40, 1)}, "band="), ({"notch": -50}, "notch="), ({"unit": "kV"}, "unit='kV'"),
        ({"unit": -1.0}, "unit=-1"), ({"max_abs": 0}, "max_abs=0"),
        ({"exclude_subjects": "12"}, "exclude_subjects"), ({"bad_share": 2}, "bad_share=2"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=word):
            prepared(tmp_path / "in", tmp_path / "out", **wrong)
    with pytest.raises(SpecError, match="does not exist"):
        prepared(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(SpecError, match="No recording"):
        prepared(tmp_path / "none", tmp_path / "out")
    with pytest.raises(CorpusError, match="not empty"):
        prepared(tmp_path / "in", tmp_path / "in")
    with pytest.raises(CorpusError, match="no prepared corpus"):
        Corpus(tmp_path / "in")
