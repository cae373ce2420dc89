"""Reading recordings, finding files, cutting windows."""

from __future__ import annotations

import bz2
import io
import json
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eegfound.base import SpecError
from eegfound.datasets import DatasetNotFoundError, read_packed
from eegfound.datasets.cards import CARDS
from eegfound.datasets.download import read_sha256sums
from eegfound.datasets.locate import data_folders, find_recordings, select_subjects
from eegfound.datasets.recordings import Recording, read_mat, read_recording
from eegfound.datasets.windows import Assembly, scalp_channels, window_starts


def pack(path, signal, order=1, scale=0.5, offset=1.0, events=((0, 8, 1),), **meta):
    """Write the packed format independently of the reader."""
    d = signal.astype(np.int64)
    for _ in range(order):
        d = np.diff(d, axis=1, prepend=0)
    n = len(signal)
    meta = {"ch_names": [f"Ch{i}" for i in range(n)], "sfreq": 100.0, **meta}
    buffer = io.BytesIO()
    np.savez(
        buffer, d=d.astype(np.int32), order=order, scale=np.full(n, scale),
        offset=np.full(n, offset), events=np.array(events), meta=json.dumps(meta),
    )  # fmt: skip
    squeeze = lzma.compress if path.suffix == ".xz" else bz2.compress
    path.write_bytes(squeeze(buffer.getvalue()))
    return path


@pytest.mark.parametrize("ending", ["bz2", "xz"])
@given(
    codes=hnp.arrays(np.int32, (2, 12), elements=st.integers(-(2**15), 2**15)),
    order=st.integers(0, 3),
)
def test_packed_round_trip(tmp_path_factory, ending, codes, order):
    path = tmp_path_factory.mktemp("packed") / f"x.npz.{ending}"
    data, events, meta = read_packed(pack(path, codes, order))
    np.testing.assert_allclose(data, codes * 0.5 + 1.0)
    assert events.tolist() == [[0, 8, 1]]
    assert meta["ch_names"] == ["Ch0", "Ch1"]


def test_packed_recording_is_in_volts_unless_it_says_otherwise(tmp_path):
    codes = np.arange(20).reshape(2, 10)
    path = pack(tmp_path / "a.npz.bz2", codes, codes={"T1": 1})
    recording = read_recording(path)
    np.testing.assert_allclose(recording.data, (codes * 0.5 + 1) * 1e-6)
    assert recording.events == [(0, 8, "T1")]
    raw_units = read_recording(pack(tmp_path / "b.npz.xz", codes, unit_note="ADC units"))
    np.testing.assert_allclose(raw_units.data, codes * 0.5 + 1)


def test_a_damaged_packed_file_is_named(tmp_path):
    bad = tmp_path / "Subject00_1.npz.bz2"
    bad.write_bytes(b"not a recording")
    with pytest.raises(SpecError, match=r"Subject00_1\.npz\.bz2"):
        read_packed(bad)


def test_mat_file_with_the_wrong_number_of_channels(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "v1.mat", {"v1": np.zeros((50, 3))})
    with pytest.raises(SpecError, match=r"\(50, 3\)"):
        read_mat(tmp_path / "v1.mat", ["Fz", "Cz"], 128.0)
    assert read_mat(tmp_path / "v1.mat", ["Fz", "Cz", "Pz"], 128.0).data.shape == (3, 50)


def test_resampling_keeps_a_sine_and_moves_its_events():
    t = np.arange(1000) / 500
    recording = Recording(np.sin(2 * np.pi * 10 * t)[np.newaxis], ["Cz"], 500.0, [(250, 100, "a")])
    slower = recording.resample(200.0)
    assert slower.data.shape == (1, 400)
    assert slower.events == [(100, 40, "a")]
    inner = slice(40, 360)
    expected = np.sin(2 * np.pi * 10 * np.arange(400) / 200)
    np.testing.assert_allclose(slower.data[0, inner], expected[inner], atol=0.01)
    assert recording.resample(500.0) is recording


def test_only_scalp_electrodes_stay_with_tidy_names():
    names = ["EEG Fp1", "EEG T3", "EEG A2-A1", "ECG ECG", "Fc5.", "C3.."]
    recording = Recording(np.arange(6.0)[:, np.newaxis] * np.ones(4), names, 200.0)
    kept = scalp_channels(recording)
    assert kept.ch_names == ["Fp1", "T3", "FC5", "C3"]
    assert kept.data[:, 0].tolist() == [0, 1, 4, 5]


@given(st.integers(1, 500), st.integers(1, 60), st.data())
def test_windows_fit_and_do_not_overlap(n_times, length, data):
    starts = window_starts(n_times, length)
    assert len(starts) == n_times // length
    if n_times >= length:
        count = data.draw(st.integers(1, n_times // length))
        starts = window_starts(n_times, length, count)
        assert len(starts) == count
        assert starts[0] == 0
        assert starts[-1] + length <= n_times
        assert (np.diff(starts) >= length).all()
        if count > 1:
            assert starts[-1] == n_times - length


def test_windows_beyond_the_recording_are_counted_not_padded():
    assembly = Assembly()
    recording = Recording(np.arange(10.0)[np.newaxis], ["Cz"], 100.0)
    assembly.add(recording, [0, 5, 6, -1], 5, ["a", "b", "c", "d"], 1, "S1")
    X, y, _groups, _info = assembly.arrays()
    assert X[:, 0].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert y.tolist() == ["a", "b"]
    assert assembly.lost == {"S1": 2}
    with pytest.raises(SpecError, match="sfreq="):
        assembly.add(Recording(np.zeros((1, 9)), ["Cz"], 50.0), [0], 5, ["a"], 2, "S2")
    with pytest.raises(SpecError, match="No window"):
        Assembly().arrays()


def test_places_are_searched_in_order(tmp_path, monkeypatch):
    for folder in ("eegmat", "originals/eegmat", "packed/eegmat"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("EEGFOUND_DATA", str(tmp_path))
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path / "cache"))
    found = [p.relative_to(tmp_path).as_posix() for p in data_folders(CARDS["eegmat"])]
    assert found == ["eegmat", "originals/eegmat", "packed/eegmat"]
    assert data_folders(CARDS["eegmat"], tmp_path / "packed") == [tmp_path / "packed"]
    with pytest.raises(DatasetNotFoundError, match="EEGFOUND_DATA"):
        data_folders(CARDS["eegmat"], tmp_path / "nowhere")


def test_the_fuller_folder_wins(tmp_path):
    for folder, names in (("a", ["S1"]), ("b", ["S1", "S2"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.edf").touch()
    found = find_recordings(
        [tmp_path / "a", tmp_path / "b"], r"S(\d)\.edf$", lambda m: int(m.group(1))
    )
    assert {k: v.parent.name for k, v in found.items()} == {1: "b", 2: "b"}


def test_subjects_come_sorted_and_missing_ones_are_named():
    card = CARDS["adhd"]
    assert select_subjects(["v10", "v9", "v9"], None, card) == ["v9", "v10"]
    assert select_subjects([1, 2, 3], [3, 1, 3], card) == [1, 3]
    assert select_subjects([1, 2], 2, card) == [2]
    with pytest.raises(DatasetNotFoundError, match=r"\[7\]"):
        select_subjects([1, 2], [1, 7], card)
    with pytest.raises(SpecError, match="empty"):
        select_subjects([1], [], card)


def test_reading_published_digests():
    text = "a" * 64 + " Subject00_1.edf\n" + "b" * 64 + "  ./S001/S001R01.edf\nnonsense\n"
    assert read_sha256sums(text) == {
        "Subject00_1.edf": "sha256:" + "a" * 64,
        "S001/S001R01.edf": "sha256:" + "b" * 64,
    }
