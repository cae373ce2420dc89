"""Layouts, unions and positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eegfound.base import ChannelInfo, SpecError
from eegfound.models import FoundationModel, InputSpec, hookimpl
from eegfound.models.manager import registry
from eegfound.montage import (
    Layout,
    electrode_positions,
    get_layout,
    list_layouts,
    parse_names,
    union_layout,
)
from eegfound.montage.positions import electrode_directions, fit_origin, template
from eegfound.montage.tables import LAYOUTS, TEN_FIVE


def toy_model(vocabulary, name="toymontage"):
    return FoundationModel(
        name=name,
        summary="made up for tests",
        input=InputSpec(sfreq=200, patch_samples=200, vocabulary=vocabulary),
        network="nowhere:build",
        sizes={"tiny": {}},
        default_size="tiny",
    )


class LayoutPlugin:
    @hookimpl
    def eegfound_layouts(self):
        return {"my-cap": ["C3", "Cz", "C4"]}


def test_named_layouts_and_aliases_of_mne():
    import mne

    assert get_layout("1010-64").ch_names == tuple(
        mne.channels.make_standard_montage("biosemi64").ch_names
    )
    assert get_layout("biosemi64").ch_names == get_layout("1010-64").ch_names
    assert {"1020-19", "1010-64", "standard_1005"} <= set(list_layouts())


def test_model_and_plugin_layouts():
    vocabulary = ("T3", "T7", "CZ", "FP1-F7")
    with registry.registered(toy_model(vocabulary)):
        assert get_layout("toymontage").ch_names == vocabulary
    with registry.registered(toy_model(None)), pytest.raises(SpecError, match="any electrodes"):
        get_layout("toymontage")
    with registry.registered(LayoutPlugin()):
        assert get_layout("my-cap").ch_names == ("C3", "Cz", "C4")
        assert "my-cap" in list_layouts()


def test_wrong_name_says_what_there_is():
    with pytest.raises(SpecError, match=r"1020-19.*Did you mean '1010-64'"):
        get_layout("1010-65")


def test_layout_is_checked():
    with pytest.raises(SpecError, match="twice"):
        Layout("x", ("Cz", "CZ"))
    with pytest.raises(SpecError, match="no electrodes"):
        Layout("x", ())
    with pytest.raises(SpecError, match="string"):
        Layout("x", "Cz")  # type: ignore[arg-type]
    layout = get_layout(["C3", "Cz"])
    assert get_layout(layout) is layout
    assert layout.info(sfreq=250).ch_names == ("C3", "Cz")


def test_union_as_journey_three_needs_it():
    a = ChannelInfo(["EEG Fp1-REF", "EEG T3-REF", "EEG A2-A1", "ECG ECG"], sfreq=200)
    b = ChannelInfo(["T7..", "Cz..", "Fp2.", "STI"], sfreq=160, ch_types=["eeg"] * 3 + ["stim"])
    layout = union_layout(a, b)
    assert layout.ch_names == ("Fp1", "Fp2", "T7", "Cz")
    assert union_layout(b, a) == layout
    assert layout.info(sfreq=200).n_channels == 4


def test_union_names_what_it_does_not_understand():
    with pytest.raises(SpecError, match="EEG 001"):
        union_layout(ChannelInfo(["Cz", "EEG 001"], 200))
    with pytest.raises(SpecError, match="at least one"):
        union_layout()
    with pytest.raises(SpecError, match="EEG"):
        union_layout(["ECG", "EMG"])


def test_union_of_a_net_and_a_cap_shares_places():
    layout = union_layout(["C3", "Cz"], ["E36", "E104", "E129", "E7"])
    assert layout.ch_names == ("C3", "Cz", "E104", "E7")


caps = st.lists(st.sampled_from(TEN_FIVE), unique=True, min_size=1, max_size=20)


@given(caps, caps, caps)
def test_union_is_a_union(a, b, c):
    union = union_layout(a, b)
    assert set(union.ch_names) == {*a, *b}
    assert union == union_layout(b, a)
    assert union_layout(union, c) == union_layout(a, union_layout(b, c))
    assert union_layout(union) == union
    assert parse_names(union.ch_names).duplicates == {}


def test_positions_are_head_coordinates_in_metres():
    found = electrode_positions(["EEG T3-REF", "T7", "T8", "Cz", "Fpz", "Oz", "Nz", "M1", "E36"])
    assert list(found) == ["EEG T3-REF", "T7", "T8", "Cz", "Fpz", "Oz", "Nz", "M1", "E36"]
    assert np.array_equal(found["EEG T3-REF"], found["T7"])
    assert found["T7"][0] < -0.07 < 0.07 < found["T8"][0]
    assert found["Cz"][2] > 0.1
    assert found["Fpz"][1] > 0.08
    assert found["Oz"][1] < -0.06
    assert found["Nz"][2] == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(found["E36"] - electrode_positions(["C3"])["C3"]) < 0.015
    assert all(0.05 < np.linalg.norm(p) < 0.15 for p in found.values())


def test_positions_agree_with_mne():
    import mne

    names = list(LAYOUTS["1010-64"])
    info = mne.create_info(names, 100.0, "eeg")
    info.set_montage(mne.channels.make_standard_montage("colin27_1005"))
    ours = electrode_positions(names)
    theirs = electrode_positions(names, info)
    for name, ch in zip(names, info["chs"]):
        assert np.allclose(ours[name], ch["loc"][:3], atol=1e-6)
        assert np.allclose(theirs[name], ch["loc"][:3], atol=1e-6)


def test_template_is_symmetric_where_we_placed_electrodes():
    found = electrode_positions(["CB1", "CB2", "O1", "Oz", "PO9", "I1", "Iz", "T1", "T2"])
    assert np.allclose(found["CB1"] * [-1, 1, 1], found["CB2"], atol=0.006)
    assert np.allclose(found["T1"] * [-1, 1, 1], found["T2"], atol=0.006)
    assert found["CB1"][2] < found["O1"][2]
    assert found["CB1"][0] < found["I1"][0] < found["Iz"][0]


def test_digitised_positions_come_first():
    own = {"EEG C3": (-0.06, 0.01, 0.09), "X1": (0.01, 0.02, 0.12)}
    info = ChannelInfo(["EEG C3", "X1", "Cz"], 200, positions=own)
    found = electrode_positions(["C3", "X1", "Cz"], info)
    assert tuple(found["C3"]) == own["EEG C3"]
    assert tuple(found["X1"]) == own["X1"]
    assert np.allclose(found["Cz"], electrode_positions(["Cz"])["Cz"])


def test_unknown_positions():
    with pytest.raises(SpecError, match=r"Fp1-F7.*positions"):
        electrode_positions(["Cz", "Fp1-F7"])
    assert list(electrode_positions(["Cz", "Fp1-F7"], on_unknown="omit")) == ["Cz"]
    with pytest.raises(SpecError, match="on_unknown"):
        electrode_positions(["Cz"], on_unknown="guess")


def test_sphere_fit_is_exact_on_a_sphere():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    points = np.array([0.01, -0.02, 0.03]) + 0.09 * points / np.linalg.norm(
        points, axis=1, keepdims=True
    )
    centre, radius = fit_origin(points)
    assert np.allclose(centre, [0.01, -0.02, 0.03])
    assert radius == pytest.approx(0.09)


def test_directions_do_not_depend_on_where_the_head_was_digitised():
    """A shifted, larger head points to the same places."""
    names = list(LAYOUTS["1010-64"])
    standard = electrode_positions(names)
    moved = {
        n: tuple(1.1 * (p - template().origin) + [0.0, 0.01, 0.05]) for n, p in standard.items()
    }
    ours = electrode_directions(names)
    theirs = electrode_directions(names, ChannelInfo(names, 200, positions=moved))
    angles = [np.degrees(np.arccos(np.clip(ours[n] @ theirs[n], -1, 1))) for n in names]
    assert max(angles) < 3


def test_coordinates_of_other_caps():
    layout = get_layout("biosemi128")
    places = layout.positions()
    assert len(places) == 128
    assert np.linalg.norm(places["A1"] - electrode_positions(["Cz"])["Cz"]) < 0.03
    assert get_layout("1020-19").coordinates is None
