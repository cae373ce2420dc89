"""What is understood of real files (needs EEGFOUND_DATA)."""

import os
from pathlib import Path

import pytest

from eegfound.base import as_channel_info
from eegfound.montage import match_vocabulary, parse_names
from eegfound.montage.tables import LAYOUTS

ORIGINALS = Path(os.environ.get("EEGFOUND_DATA", "")) / "originals"
pytestmark = pytest.mark.skipif(
    not os.environ.get("EEGFOUND_DATA") or not ORIGINALS.is_dir(),
    reason="needs the original recordings: set EEGFOUND_DATA",
)


def report_of(path):
    import mne

    raw = mne.io.read_raw(ORIGINALS / path, preload=False, verbose="ERROR")
    info = as_channel_info(raw.info)
    return parse_names([info.ch_names[i] for i in info.eeg_picks()])


@pytest.mark.parametrize("run", ["04", "08", "12"])
def test_eegmmidb(run):
    report = report_of(f"eegmmidb/S001/S001R{run}.edf")
    assert len(report.channels) == 64
    assert {c.kind for c in report.channels} == {"electrode"}
    assert report.duplicates == {}
    assert {"FC5", "Fpz", "T10", "Iz", "POz"} <= set(report.names)
    assert set(report.names) <= {*LAYOUTS["1010"]}


@pytest.mark.parametrize("subject", ["00", "01"])
@pytest.mark.parametrize("part", ["1", "2"])
def test_eegmat(subject, part):
    report = report_of(f"eegmat/Subject{subject}_{part}.edf")
    assert sorted(n for n in report.names if n) == sorted(LAYOUTS["1020-19"])
    assert report.left_out == ["EEG A2-A1", "ECG ECG"]
    assert report.unknown == []
    match = match_vocabulary([c.raw for c in report.channels], LAYOUTS["1020-19"])
    assert {raw.removeprefix("EEG ") for raw, _ in match.aliased} == {"T3", "T4", "T5", "T6"}
    assert match.unknown == ()


def test_yasa_fif():
    report = report_of("yasa/data_resting_EO_200Hz_raw.fif")
    assert report.names == ["F4", "Cz"]
    assert [c.reference for c in report.channels] == ["A1", "A2"]


def test_eeglab():
    report = report_of("eeglab/eeglab_data.set")
    assert report.left_out == ["EOG1", "EOG2"]
    assert report.unknown == []
    assert report.names[0] == "Fpz"
    assert sum(c.kind == "electrode" for c in report.channels) == 30


def test_brainvision():
    report = report_of("brainvision/test_CA_208.vhdr")
    assert report.left_out == ["EOG", *(f"BIP{i}" for i in range(1, 25))]
    assert report.unknown == []
    assert sum(c.kind == "electrode" for c in report.channels) == 61
    assert [c.raw for c in report.channels if c.kind == "ear"] == ["M1", "M2"]


@pytest.mark.parametrize(
    ("path", "n_inputs"), [("bdf/Newtest17-256.bdf", 16), ("edf_biosemi139/test_reduced.edf", 136)]
)
def test_biosemi_inputs_are_not_taken_for_electrodes(path, n_inputs):
    report = report_of(path)
    assert not any(report.names)
    assert len(report.unknown) == n_inputs


@pytest.mark.parametrize(
    ("path", "skip", "names"),
    [
        ("emotiv_eye_state/eeg-eye-state.csv", 0, LAYOUTS["epoc-14"]),
        ("muse/data_2018-04-15-21.18.48.csv", 0, LAYOUTS["muse-4"]),
    ],
)
def test_column_heads_of_csv_files(path, skip, names):
    with open(ORIGINALS / path) as file:
        columns = file.readline().strip().split(",")
    columns = [c.strip() for c in columns if c.strip() != "P"]
    report = parse_names(columns)
    assert {n for n in report.names if n} <= set(names)
    assert {c.kind for c in report.channels} <= {"electrode", "non-eeg"}
    assert sum(c.kind == "electrode" for c in report.channels) >= 4


def test_interpolation_recovers_recorded_electrodes():
    """Splines from the other electrodes come close to what was recorded there."""
    import mne
    import numpy as np

    from eegfound import MontageMapper

    path = ORIGINALS / "eegmmidb/S001/S001R04.edf"
    raw = mne.io.read_raw(path, preload=True, verbose="ERROR").filter(1, 40, verbose="ERROR")
    X = raw.get_data()[None, :, 1000:5000]
    lost = [raw.ch_names.index(name) for name in ("C3..", "Cp4.", "Fz..", "Po3.")]
    gone = X.copy()
    gone[:, lost] = np.nan
    names = [c.name for c in parse_names(raw.ch_names).channels]
    mapper = MontageMapper(info=raw.info, target=names, missing="interpolate")
    out = mapper.fit(X).transform(gone)
    for channel in lost:
        assert np.corrcoef(out[0, channel], X[0, channel])[0, 1] > 0.9
    nearest = mapper.set_params(missing="nearest").fit(X).transform(gone)

    def error(Y):
        return np.abs(Y[0, lost] - X[0, lost]).mean()

    assert error(out) < error(nearest)
