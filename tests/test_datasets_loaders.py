"""Loaders on small files in the layout of each publisher, and on the real ones."""

from __future__ import annotations

import os
import pathlib
import shutil
import warnings

import numpy as np
import pytest

from eegfound.base import SpecError
from eegfound.datasets import (
    DatasetNotFoundError,
    DatasetWarning,
    load_adhd,
    load_eegmat,
    load_eegmmidb,
    load_muse,
    load_sample,
    read_packed,
)
from eegfound.datasets.recordings import read_recording

ROOT = pathlib.Path(os.environ.get("EEGFOUND_DATA", "/nonexistent"))
needs_data = pytest.mark.skipif(
    not (ROOT / "packed").is_dir(), reason="EEGFOUND_DATA does not name the folder of real data"
)


@pytest.fixture(autouse=True)
def _no_other_places(tmp_path_factory, monkeypatch):
    """Only what a test names is found, and nothing is ever fetched."""
    monkeypatch.delenv("EEGFOUND_DATA", raising=False)
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("MNE_DATA", str(tmp_path_factory.mktemp("mne")))
    monkeypatch.setattr("eegfound.datasets.eegmmidb._mne_folders", list)


def write_edf(path, names, sfreq, seconds, annotations=()):
    import mne

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    data = rng.normal(scale=1e-5, size=(len(names), int(seconds * sfreq)))
    raw = mne.io.RawArray(data, mne.create_info(names, sfreq, "eeg"), verbose="error")
    if annotations:
        with warnings.catch_warnings():  # a trial may reach beyond the end, on purpose
            warnings.simplefilter("ignore", RuntimeWarning)
            raw.set_annotations(mne.Annotations(*map(list, zip(*annotations))))
    mne.export.export_raw(path, raw, fmt="edf", verbose="error", overwrite=True)
    return data


class TestEEGMAT:
    NAMES = ("EEG Fp1", "EEG T3", "EEG Cz", "EEG A2-A1", "ECG ECG")

    @pytest.fixture
    def folder(self, tmp_path):
        for subject in (0, 7):
            write_edf(tmp_path / f"Subject{subject:02d}_1.edf", list(self.NAMES), 500, 13)
            write_edf(tmp_path / f"Subject{subject:02d}_2.edf", list(self.NAMES), 500, 9)
        return tmp_path

    def test_labels_groups_names_and_rate(self, folder):
        X, y, groups, info = load_eegmat(path=folder)
        assert X.shape == (2 * (3 + 2), 3, 800)
        assert X.dtype == np.float32
        assert info.ch_names == ("Fp1", "T3", "Cz")
        assert info.sfreq == 200
        assert y[groups == 7].tolist() == ["rest"] * 3 + ["arithmetic"] * 2

    def test_own_rate_and_balanced_windows(self, folder):
        X, y, _, info = load_eegmat(
            [7], window=2.0, windows_per_recording=4, sfreq=None, path=folder
        )
        assert X.shape == (8, 3, 1000)
        assert info.sfreq == 500
        assert (y == "rest").sum() == 4

    def test_too_many_windows(self, folder):
        with pytest.raises(SpecError, match="Subject00_2 has room for 2"):
            load_eegmat(windows_per_recording=3, path=folder)

    def test_missing_subject(self, folder):
        with pytest.raises(DatasetNotFoundError, match=r"\[3\]") as error:
            load_eegmat([0, 3], path=folder)
        for part in ("EEGFOUND_DATA", "Subject00_1.edf", "physionet.org"):
            assert part in str(error.value)

    def test_offline_says_what_to_do(self, tmp_path, monkeypatch):
        import pooch

        def refuse(*args, **kwargs):
            raise OSError("network is unreachable")

        monkeypatch.setattr(pooch, "retrieve", refuse)
        monkeypatch.setenv("EEGFOUND_DATA", str(tmp_path))
        with pytest.raises(DatasetNotFoundError, match="network is unreachable") as error:
            load_eegmat([1])
        for part in ("EEGFOUND_DATA", "Subject00_1.edf", "physionet.org/files/eegmat"):
            assert part in str(error.value)

    def test_download_fetches_only_what_is_missing(self, folder, tmp_path_factory, monkeypatch):
        """A publisher stands in: files appear in the cache and are verified there."""
        published = tmp_path_factory.mktemp("published")
        for number in (1, 2):
            shutil.copy(folder / f"Subject07_{number}.edf", published / f"Subject05_{number}.edf")
        fetched = fake_physionet(monkeypatch, published)
        root = tmp_path_factory.mktemp("root")
        shutil.copytree(folder, root / "eegmat")
        monkeypatch.setenv("EEGFOUND_DATA", str(root))
        groups = load_eegmat([5, 7])[2]
        assert sorted(set(groups.tolist())) == [5, 7]
        assert fetched == ["Subject05_1.edf", "Subject05_2.edf"]

    def test_a_wrong_digest_is_refused(self, folder, monkeypatch):
        fake_physionet(monkeypatch, folder, damage=True)
        with pytest.raises(DatasetNotFoundError, match="hash"):
            load_eegmat([7])

    @needs_data
    def test_originals_and_packed_hold_the_same_signals(self):
        """Two readers: 500 Hz EDF, and what MNE's resampling made of it in 0.05 uV steps."""
        from mne.filter import resample

        edf = read_recording(ROOT / "originals" / "eegmat" / "Subject01_2.edf")
        packed = read_recording(ROOT / "packed" / "eegmat" / "Subject01_2.npz.bz2")
        assert edf.ch_names == packed.ch_names
        slower = resample(edf.data, up=200, down=500, npad="auto", verbose="error")
        np.testing.assert_allclose(slower[:19], packed.data[:19], atol=0.06e-6)

    @needs_data
    def test_both_sources_give_the_same_windows(self):
        ours = load_eegmat([0, 1], path=ROOT / "originals" / "eegmat")
        theirs = load_eegmat([0, 1], path=ROOT / "packed" / "eegmat")
        assert ours[3] == theirs[3]
        np.testing.assert_array_equal(ours[1], theirs[1])
        # The packed files are late by half a sample (MNE's padding), hence not equal.
        assert np.corrcoef(ours[0].ravel(), theirs[0].ravel())[0, 1] > 0.98

    @needs_data
    def test_sample_is_part_of_the_dataset(self, monkeypatch):
        monkeypatch.setenv("EEGFOUND_DATA", str(ROOT))
        whole = load_eegmat([3], windows_per_recording=12, download=False)
        part = load_sample(subjects=[3])
        np.testing.assert_allclose(part[0], whole[0], atol=0.126e-6)
        assert part[3] == whole[3]


def fake_physionet(monkeypatch, published, damage=False):
    import hashlib

    import pooch

    fetched: list[str] = []
    names = sorted(p.name for p in published.glob("*.edf"))
    digests = {n: hashlib.sha256((published / n).read_bytes()).hexdigest() for n in names}
    if damage:
        digests = dict.fromkeys(names, "0" * 64)

    def retrieve(url, known_hash, path, fname):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        target = pathlib.Path(path) / fname
        target.write_text("".join(f"{d} {n}\n" for n, d in digests.items()))
        return str(target)

    class Downloader:
        def __init__(self, **options):
            pass

        def __call__(self, url, output_file, pooch):
            name = url.rsplit("/", 1)[-1]
            fetched.append(name)
            pathlib.Path(output_file).write_bytes((published / name).read_bytes())

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return fetched


class TestEEGMMIDB:
    NAMES = ("Fc5.", "C3..", "Iz..")

    @pytest.fixture
    def folder(self, tmp_path):
        trials = [(0.0, 4.2, "T0"), (4.2, 4.1, "T1"), (8.3, 4.2, "T0"), (12.5, 4.1, "T2")]
        for run in (4, 5, 6):
            name = f"S001/S001R{run:02d}.edf"
            write_edf(tmp_path / name, list(self.NAMES), 160, 20, trials)
        # The last trial of subject 2 reaches beyond the end of the file.
        write_edf(tmp_path / "S002/S002R04.edf", list(self.NAMES), 160, 15, trials)
        write_edf(tmp_path / "S088/S088R04.edf", list(self.NAMES), 128, 20, trials)
        for run in (1, 2):
            write_edf(tmp_path / f"S001/S001R{run:02d}.edf", list(self.NAMES), 160, 9)
        return tmp_path

    @pytest.mark.filterwarnings("ignore::eegfound.datasets.DatasetWarning")
    def test_meaning_of_t1_and_t2_depends_on_the_run(self, folder):
        expected = {
            "left_right": ["left", "right"],
            "hands_feet": ["hands", "feet"],
            "hands_feet_executed": ["hands", "feet"],
            "four_class": ["left", "right", "hands", "feet"],
        }
        for task, labels in expected.items():
            X, y, _, info = load_eegmmidb([1], task, path=folder)
            assert y.tolist() == labels
            assert X.shape[1:] == (3, 640)
            assert info.ch_names == ("FC5", "C3", "Iz")

    @pytest.mark.filterwarnings("ignore::eegfound.datasets.DatasetWarning")
    def test_trials_begin_at_the_cue(self, folder):
        signal = read_recording(folder / "S001/S001R04.edf").data
        X, *_ = load_eegmmidb([1], tmin=0.5, tmax=2.5, path=folder)
        start = round((4.2 + 0.5) * 160)
        np.testing.assert_allclose(X[0], signal[:, start : start + 320], rtol=1e-6)

    def test_eyes(self, folder):
        _X, y, *_ = load_eegmmidb([1], "eyes", path=folder)
        assert y.tolist() == ["open"] * 2 + ["closed"] * 2

    def test_nothing_is_left_out_silently(self, folder):
        with pytest.warns(DatasetWarning) as told:
            _, _y, groups, _ = load_eegmmidb(path=folder)
        text = "\n".join(str(w.message) for w in told)
        assert "88 left out" in text
        assert "S002R04" in text
        assert "1, 2" in text
        assert groups.tolist() == [1, 1, 2]

    @pytest.mark.filterwarnings("ignore::eegfound.datasets.DatasetWarning")
    def test_the_other_rate(self, folder):
        X, _y, _groups, info = load_eegmmidb([88], other_rate="resample", path=folder)
        assert X.shape == (2, 3, 640)
        assert info.sfreq == 160
        with pytest.raises(SpecError, match="other_rate='resample'"):
            load_eegmmidb([88], path=folder)
        with pytest.raises(SpecError, match="128 Hz"):
            load_eegmmidb([88], other_rate="raise", path=folder)

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"task": "tongue"}, "left_right"),
            ({"tmax": 0.0}, "tmin"),
            ({"other_rate": "x"}, "exclude"),
        ],
    )
    def test_options_are_checked(self, folder, options, word):
        with pytest.raises(SpecError, match=word):
            load_eegmmidb(path=folder, **options)

    def test_download_goes_through_mne(self, folder, monkeypatch):
        import mne

        asked = []

        def load_data(subject, runs, **options):
            asked.append((subject, runs))
            if subject == 2:
                raise OSError("no route to host")
            return [str(folder / f"S001/S001R{run:02d}.edf") for run in runs]

        monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
        monkeypatch.delenv("EEGFOUND_DATA", raising=False)
        _, y, *_ = load_eegmmidb([1], "eyes")
        assert asked == [(1, [1, 2])]
        assert len(y) == 4
        with pytest.raises(DatasetNotFoundError, match="no route to host"):
            load_eegmmidb([2], "eyes")

    @needs_data
    def test_originals_and_packed_are_the_same(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = load_eegmmidb([1], path=ROOT / "originals" / "eegmmidb")
            theirs = load_eegmmidb([1], path=ROOT / "packed" / "eegmmidb")
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-12)
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert ours[3] == theirs[3]
        assert len(ours[1]) == 45

    @needs_data
    def test_alpha_grows_when_eyes_close(self):
        from scipy.signal import welch

        X, y, _, info = load_eegmmidb([1], "eyes", path=ROOT / "packed" / "eegmmidb")
        frequencies, power = welch(X[:, info.ch_names.index("Oz")], fs=160, nperseg=320)
        alpha = power[:, (frequencies >= 8) & (frequencies <= 13)].mean(1)
        assert np.median(alpha[y == "closed"]) > 2 * np.median(alpha[y == "open"])


class TestADHD:
    @pytest.fixture
    def folder(self, tmp_path):
        from scipy.io import savemat

        rng = np.random.default_rng(0)
        for group, child in (("ADHD_part1", "v10p"), ("Control_part2", "v107")):
            (tmp_path / group).mkdir()
            data = np.round(rng.normal(140, 100, size=(128 * 10, 19)))
            savemat(tmp_path / group / f"{child}.mat", {child: data})
        return tmp_path

    def test_groups_come_from_folders(self, folder):
        X, y, groups, info = load_adhd(path=folder)
        assert X.shape == (4, 19, 512)
        assert dict(zip(groups.tolist(), y.tolist())) == {"v10p": "ADHD", "v107": "control"}
        assert info.sfreq == 128

    def test_units_are_stated_not_guessed(self, folder):
        nominal = load_adhd(["v10p"], path=folder)[0]
        other = load_adhd(["v10p"], volts_per_unit=2e-7, path=folder)[0]
        np.testing.assert_allclose(other, 2 * nominal, rtol=1e-6)
        assert np.std(nominal) == pytest.approx(100e-7, rel=0.1)
        assert abs(nominal.mean()) < 1e-6  # the converter's offset is gone

    def test_a_file_outside_its_group_needs_a_label(self, folder, tmp_path_factory):
        loose = tmp_path_factory.mktemp("adhd")
        shutil.copy(folder / "ADHD_part1" / "v10p.mat", loose)
        with pytest.raises(SpecError, match=r"ADHD_part1.*labels="):
            load_adhd(path=loose)
        assert set(load_adhd(path=loose, labels={"v10p": "ADHD"})[1]) == {"ADHD"}

    def test_not_there(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EEGFOUND_DATA", str(tmp_path))
        with pytest.raises(DatasetNotFoundError, match="ieee-dataport"):
            load_adhd()

    @needs_data
    def test_original_and_packed_are_the_same(self):
        ours = load_adhd(path=ROOT / "originals" / "adhd", labels={"v10p": "ADHD"})
        theirs = load_adhd(["v10p"], path=ROOT / "packed" / "adhd_children")
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


class TestMuse:
    @pytest.fixture
    def folder(self, tmp_path):
        rng = np.random.default_rng(0)
        stamps = {"session1": "2018-04-15-21.18.48", "session2": "2018-04-16-10.00.00"}
        for session, stamp in stamps.items():
            rows = ["timestamps,TP9,AF7,AF8,TP10,Right AUX,Marker0"]
            for i in range(1000):
                marker = {100: 1, 400: 2, 990: 1}.get(i, 0)
                values = ",".join(f"{v:.3f}" for v in rng.normal(0, 20, 5))
                rows.append(f"{i / 256:.3f},{values},{marker}")
            place = tmp_path / "visual" / "N170" / "subject2" / session
            place.mkdir(parents=True)
            (place / f"data_{stamp}.csv").write_text("\n".join(rows))
        return tmp_path

    def test_trials_around_markers(self, folder):
        with pytest.warns(DatasetWarning, match="2 trial"):
            X, y, _groups, info = load_muse("N170", path=folder, tmin=0.0, tmax=0.5)
        assert X.shape == (4, 4, 128)
        assert y.tolist() == ["house", "face"] * 2
        assert info.ch_names == ("TP9", "AF7", "AF8", "TP10")
        assert 5e-6 < np.std(X) < 50e-6

    @pytest.mark.filterwarnings("ignore:.*reach beyond")
    def test_a_recording_that_stands_twice_is_loaded_once(self, folder):
        sessions = folder / "visual" / "N170" / "subject2"
        source = next((sessions / "session1").iterdir())
        shutil.copy(source, sessions / "session2" / source.name)
        with pytest.warns(DatasetWarning, match="repeats a recording of session1"):
            X = load_muse("N170", path=folder)[0]
        assert len(X) == 4

    def test_paradigm_is_checked(self, folder):
        with pytest.raises(SpecError, match="P300"):
            load_muse("MMN", path=folder)
        with pytest.raises(DatasetNotFoundError, match="SSVEP"):
            load_muse("SSVEP", path=folder)

    def test_a_table_of_something_else(self, tmp_path):
        (tmp_path / "x.csv").write_text("a,b\n1,2\n")
        with pytest.raises(SpecError, match="Marker0"):
            read_recording(tmp_path / "x.csv")

    @needs_data
    def test_original_and_packed_are_the_same(self):
        table = read_recording(ROOT / "originals/muse/data_2018-04-15-21.18.48.csv")
        name = "N170_subject2_session1_2018-04-15-21.18.48.npz.xz"
        data, events, meta = read_packed(ROOT / "packed/muse" / name)
        assert table.ch_names == meta["ch_names"]
        np.testing.assert_allclose(table.data * 1e6, data, atol=1e-3)
        assert [[a, int(code)] for a, _, code in table.events] == events[:, [0, 2]].tolist()
