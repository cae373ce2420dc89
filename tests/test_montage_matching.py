"""Finding channels in the list of electrodes of a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eegfound.base import SpecError
from eegfound.montage import match_vocabulary
from eegfound.montage.tables import LAYOUTS, TEN_FIVE

#: Older and newer names as rows of their own, as some models have them.
BOTH = ("FP1", "T7", "T3", "P7", "T5", "M1", "A1", "CZ", "C3", "FP1-F7", "T7-P7", "FTT9h")


def test_exact_name_wins_over_alias():
    match = match_vocabulary(["EEG T3-REF", "T7", "T5", "m1", "A1", "Ftt9h"], BOTH)
    assert match.rows == (2, 1, 4, 5, 6, 11)
    assert match.aliased == ()
    assert match.names == ("T3", "T7", "T5", "M1", "A1", "FTT9h")


def test_modern_and_legacy_aliases_are_told():
    assert match_vocabulary(["T3", "T5"], ["P7", "T7"]).aliased == (("T3", "T7"), ("T5", "P7"))
    assert match_vocabulary(["T7"], ["T3"]).aliased == (("T7", "T3"),)


def test_ear_for_mastoid_only_where_the_other_is_not_known():
    assert match_vocabulary(["M1", "A2"], ["A1", "M2"]).aliased == (("M1", "A1"), ("A2", "M2"))
    both = match_vocabulary(["M1", "A1"], ["Cz", "A1"])
    assert both.rows == (-1, 1)
    assert both.unknown == ("M1",)


def test_sensor_net_by_place():
    match = match_vocabulary(["E36", "E129", "E7"], ["C3", "Cz"])
    assert match.rows == (0, 1, -1)
    assert match.unknown == ("E7",)
    assert match_vocabulary(["C3"], ["E36", "E104", "E11"]).rows == (0,)
    beside = match_vocabulary(["C3", "E36", "E104"], ["C3", "C4"])
    assert beside.rows == (0, -1, 1)


def test_net_of_another_size_has_other_numbers():
    vocabulary = [f"E{i}" for i in range(1, 129)]
    small = match_vocabulary([f"E{i}" for i in range(1, 65)], vocabulary)
    assert set(small.rows) == {-1}
    full = match_vocabulary([f"E{i}" for i in range(1, 129)], vocabulary)
    assert full.rows == tuple(range(128))


def test_bipolar_rows():
    match = match_vocabulary(["FP1-F7", "T3-T5", "F7-FP1"], BOTH)
    assert match.rows == (9, 10, -1)
    assert match.unknown == ("F7-FP1",)


def test_shared_cathode_is_a_reference_here_too():
    match = match_vocabulary(["EEG Fp1-CPz", "EEG C3-CPz", "EEG Cz-CPz"], BOTH)
    assert match.rows == (0, 8, 7)


def test_other_signals_are_left_out_and_unknown_ones_named():
    match = match_vocabulary(["ECG ECG", "EEG A2-A1", "EEG 001", "Oz", "Cz"], BOTH)
    assert match.left_out == ("ECG ECG", "EEG A2-A1")
    assert match.unknown == ("EEG 001", "Oz")
    assert match.rows == (-1, -1, -1, -1, 7)


def test_two_channels_on_one_row():
    with pytest.raises(SpecError, match=r"'T3' and 'EEG T7'.*'T7'"):
        match_vocabulary(["T3", "EEG T7"], ["T7", "Cz"])
    with pytest.raises(SpecError, match=r"C3-A1.*C3-M2"):
        match_vocabulary(["C3-A1", "C3-M2"], ["C3"])


def test_amplifier_inputs_meet_only_each_other():
    inputs = [f"{letter}{i}" for letter in "ABCD" for i in range(1, 17)]
    assert set(match_vocabulary(inputs, ["C3", "A1", "Cz", "C4"]).rows) == {-1}
    assert match_vocabulary(inputs, inputs[::-1]).rows == tuple(range(63, -1, -1))


@given(st.permutations(LAYOUTS["1010-64"]), st.permutations(LAYOUTS["1010-64"]))
def test_rows_are_the_inverse_of_the_order(names, vocabulary):
    rows = match_vocabulary([f"EEG {n.upper()}-REF" for n in names], vocabulary).rows
    assert [vocabulary[row] for row in rows] == list(names)


@given(st.lists(st.sampled_from(TEN_FIVE), unique=True, min_size=1, max_size=30))
def test_each_name_finds_itself_or_nothing(names):
    match = match_vocabulary(names, LAYOUTS["1010"])
    for name, row in zip(names, match.rows):
        assert (LAYOUTS["1010"][row] == name) if row >= 0 else (name not in LAYOUTS["1010"])
