"""What channel names of real files mean."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eegfound.base import SpecError
from eegfound.montage import parse_name, parse_names
from eegfound.montage.tables import EAR_NAMES, EGI_128, EXTRA_NAMES, LAYOUTS, LEGACY, TEN_FIVE

ELECTRODES = (*TEN_FIVE, *EAR_NAMES, *EXTRA_NAMES)


@pytest.mark.parametrize(
    ("raw", "name", "reference"),
    [
        ("Fc5.", "FC5", None),
        ("C3..", "C3", None),
        ("Iz..", "Iz", None),
        ("EEG Fp1-REF", "Fp1", "REF"),
        ("EEG FP1-LE", "Fp1", "LE"),
        ("EEG Fp1", "Fp1", None),
        ("EEG C3-A2", "C3", "A2"),
        ("F4-A1", "F4", "A1"),
        ("CZ-A2", "Cz", "A2"),
        ("FP1-LE", "Fp1", "LE"),
        ("C3-M2", "C3", "M2"),
        ("EEG T3-REF", "T7", "REF"),
        ("T4", "T8", None),
        ("T5", "P7", None),
        ("T6", "P8", None),
        ("CB1", "CB1", None),
        ("T1", "T1", None),
        ("E36", "E36", None),
        ("EEG E036", "E36", None),
        ("E129", "Cz", None),
        ("FTT9H", "FTT9h", None),
        ("poz", "POz", None),
        (" eeg  fp1 - ref ", "Fp1", "ref"),
        ("EEG_Fz_REF", "Fz", "REF"),
        ("EEG-Fz", "Fz", None),
        ("EEGFz", "Fz", None),
        ("POL Fp1", "Fp1", None),
        ("Cz–Ref", "Cz", "Ref"),  # an en dash
        ("C3-(M1+M2)/2", "C3", "(M1+M2)/2"),
        ("C3-A1A2", "C3", "A1A2"),
        ("FCz-0", "FCz", None),
        ("O9", "I1", None),
        ("CFC3", "FCC3", None),
    ],
)
def test_electrodes(raw, name, reference):
    parsed = parse_name(raw)
    assert (parsed.name, parsed.reference, parsed.kind) == (name, reference, "electrode")
    assert parsed.raw == raw


def test_legacy_spelling_stays_in_cleaned():
    parsed = parse_name("EEG T3-REF")
    assert (parsed.cleaned, parsed.name) == ("T3", "T7")
    assert "older name" in parsed.note


def test_t5_is_p7_whatever_mne_says():
    """MNE's alias table for 10-05 positions has T5 in another place."""
    assert parse_name("T5").name == "P7"
    assert "T9" not in {parse_name(n).name for n in ("T3", "T4", "T5", "T6")}


@pytest.mark.parametrize("raw", ["A1", "A2", "M1", "EEG M2-REF"])
def test_ears(raw):
    assert parse_name(raw).kind == "ear"


@pytest.mark.parametrize(
    ("raw", "name", "cathode"),
    [
        ("FP1-F7", "Fp1-F7", "F7"),
        ("EEG Fpz-Cz", "Fpz-Cz", "Cz"),
        ("EEG T3-T5", "T7-P7", "P7"),
        ("T8-P8-0", "T8-P8", "P8"),
        ("T8-P8-1", "T8-P8", "P8"),
        ("FT9-FT10", "FT9-FT10", "FT10"),
    ],
)
def test_bipolar(raw, name, cathode):
    parsed = parse_name(raw)
    assert (parsed.kind, parsed.name, parsed.cathode) == ("bipolar", name, cathode)
    assert parsed.anode == name.removesuffix(f"-{cathode}")


@pytest.mark.parametrize("raw", ["A2-A1", "EEG A2-A1", "M1-M2"])
def test_difference_of_references_is_no_electrode(raw):
    parsed = parse_name(raw)
    assert parsed.kind == "ear-pair"
    assert parsed.name is None
    assert not parsed.is_eeg


@pytest.mark.parametrize(
    "raw",
    """ECG|ECG ECG|EKG1|EEG EKG-REF|EOG|HEOG|VEOGL|EOG1|EMG|EMG Chin|emg1|STATUS|Status|TRIG|AUX
    |Right AUX|Photic|BIP12|Resp oro-nasal|Temp rectal|SaO2|Marker0|EDF Annotations|DC01|LOC|ROC
    |Ergo-Left|E1-M2|E2-M1|STI 014""".replace("\n", "").split("|"),
)
def test_non_eeg(raw):
    parsed = parse_name(raw.strip())
    assert parsed.kind == "non-eeg"
    assert parsed.name is None


@pytest.mark.parametrize("raw", ["EEG 001", "EEG001", "", "EEG", "Foo", "A7", "E300", "X-Y", "Fp9"])
def test_unknown(raw):
    parsed = parse_name(raw)
    assert (parsed.kind, parsed.name) == ("unknown", None)


def test_every_name_of_the_mne_template_is_itself():
    mne = pytest.importorskip("mne")
    montages = mne.channels.get_builtin_montages()
    template = "colin27_1005" if "colin27_1005" in montages else "standard_1005"
    names = mne.channels.make_standard_montage(template).ch_names
    assert len(names) > 300
    modern = [name for name in names if name not in LEGACY]
    assert set(names) - set(modern) == {"T3", "T4", "T5", "T6"}
    assert [parse_name(name).name for name in modern] == modern
    assert {*modern} - {*EAR_NAMES} == {*TEN_FIVE} - {"Nz"}


def test_electrode_tables_are_consistent():
    assert len(set(ELECTRODES)) == len(ELECTRODES)
    assert set(LEGACY.values()) <= set(TEN_FIVE)
    assert not set(LEGACY) & {n.upper() for n in TEN_FIVE}
    for name, layout in LAYOUTS.items():
        assert parse_names(layout).unknown == [], name
        assert parse_names(layout).duplicates == {}, name


def test_egi_equivalents_lie_where_the_table_says():
    """10-20 names as published; the further ones are the nearest 10-10 electrode."""
    from eegfound.montage.positions import electrode_directions

    ten_ten = electrode_directions(LAYOUTS["1010"])
    net = electrode_directions([f"E{n}" for n in EGI_128])
    names, places = list(ten_ten), np.array(list(ten_ten.values()))
    for number, name in EGI_128.items():
        angles = np.degrees(np.arccos(np.clip(places @ net[f"E{number}"], -1, 1)))
        if name in LAYOUTS["1020-19"]:
            assert angles[names.index(name)] < 16, (number, name)
        else:
            assert names[int(np.argmin(angles))] == name, (number, name)
            assert angles.min() < 12, (number, name)


prefixes = st.sampled_from(["", "EEG ", "eeg ", "EEG-", "EEG:", "POL ", "  EEG   "])
suffixes = st.sampled_from(["", ".", "..", "-REF", "-Ref", "-LE", "-A2", " - M1", "-AVG", "_REF"])


@given(
    st.sampled_from(TEN_FIVE),
    prefixes,
    suffixes,
    st.sampled_from([str, str.upper, str.lower, str.title]),
)
def test_any_dress_of_an_electrode_is_understood(name, prefix, suffix, case):
    parsed = parse_name(prefix + case(name) + suffix)
    assert (parsed.name, parsed.kind) == (name, "electrode")


@given(st.text(max_size=12))
def test_parser_takes_anything(raw):
    parsed = parse_name(raw)
    assert parsed.raw == raw
    if parsed.name is not None:  # what is understood is a fixed point
        again = parse_name(parsed.name)
        assert (again.name, again.kind) == (parsed.name, parsed.kind)


@given(st.lists(st.sampled_from([*ELECTRODES, "T3", "E36", "ECG", "Fp1-F7"]), max_size=12))
def test_list_keeps_order_and_length(names):
    report = parse_names(names)
    assert [c.raw for c in report.channels] == names


def test_common_reference_is_recognised():
    report = parse_names(["EEG Fp1-CPz", "EEG T3-CPz", "EEG O1-CPz", "ECG"])
    assert report.names == ["Fp1", "T7", "O1", None]
    assert report.common_reference == "CPz"
    assert [c.reference for c in report.channels] == ["CPz", "CPz", "CPz", None]
    assert "referenced to CPz" in str(report)


def test_bipolar_montage_is_no_common_reference():
    banana = LAYOUTS["double-banana"]
    report = parse_names(banana)
    assert report.names == list(banana)
    assert report.common_reference is None
    assert parse_names(["EEG Fpz-Cz", "EEG Pz-Oz"]).names == ["Fpz-Cz", "Pz-Oz"]


def test_duplicates_are_found_after_reading():
    report = parse_names(["T3", "EEG T7-REF", "C3-A1", "C3-M2", "Cz"])
    assert report.duplicates == {"T7": ["T3", "EEG T7-REF"], "C3": ["C3-A1", "C3-M2"]}


def test_amplifier_inputs_are_not_electrodes():
    inputs = [f"{letter}{i}" for letter in "ABCD" for i in range(1, 33)]
    report = parse_names(inputs)
    assert report.names == [None] * 128
    assert "amplifier input" in report.channels[0].note
    assert parse_names(["A1", "A2", "C3", "C4"]).names == ["A1", "A2", "C3", "C4"]


def test_sensor_nets_by_their_size():
    net128 = parse_names([f"E{i}" for i in range(1, 130)])
    assert net128.net == "GSN-HydroCel-129"
    assert (net128.channels[35].equivalent, net128.channels[128].name) == ("C3", "Cz")
    net64 = parse_names([f"E{i}" for i in range(1, 66)])
    assert net64.net == "GSN-HydroCel-65_1.0"
    assert (net64.channels[35].equivalent, net64.channels[64].name) == (None, "Cz")
    net256 = parse_names([f"E{i}" for i in range(1, 258)])
    assert (net256.channels[128].name, net256.channels[256].name) == ("E129", "Cz")
    assert parse_names(["E22", "E36", "E104"]).net == "GSN-HydroCel-129"


def test_eyes_of_sleep_recordings():
    report = parse_names(["C3", "C4", "E1", "E2"])
    assert report.names == ["C3", "C4", None, None]
    assert report.left_out == ["E1", "E2"]


def test_report_is_plain_data():
    import json

    report = parse_names(["EEG T5-REF", "ECG", "EEG 001"])
    data = json.loads(json.dumps(report.to_dict()))
    assert data["channels"][0]["name"] == "P7"
    assert data["unknown"] == ["EEG 001"]
    assert data["left_out"] == ["ECG"]


def test_a_string_is_no_list_of_names():
    with pytest.raises(SpecError, match="sequence"):
        parse_names("Cz")


def test_names_are_read_without_heavy_imports():
    code = (
        "import sys, eegfound.montage as m; m.parse_names(['T5']); "
        "print(sorted({'mne', 'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
