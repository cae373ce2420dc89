"""Filling electrodes that were not recorded: splines and nearest neighbors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfound import ChannelInfo, MontageMapper
from eegfound.montage.positions import electrode_directions, template
from eegfound.montage.tables import LAYOUTS

CAP19, CAP64 = LAYOUTS["1020-19"], LAYOUTS["1010-64"]
FEW_EXAMPLES = settings(max_examples=20, deadline=None)
names_of_cap = st.lists(st.sampled_from(CAP64), unique=True, min_size=2, max_size=12)


def signals(n_channels, n_epochs=3, n_times=40, seed=0):
    return np.random.default_rng(seed).normal(scale=1e-5, size=(n_epochs, n_channels, n_times))


def info_of(names):
    return ChannelInfo(tuple(names), 200.0)


@pytest.mark.parametrize("lost", [("Cz",), ("Fz", "T7", "O2", "P4")])
def test_interpolation_is_that_of_mne(lost):
    import mne

    names = list(CAP64)
    info = mne.create_info(names, 200.0, "eeg")
    info.set_montage(mne.channels.make_standard_montage("colin27_1005"))
    X = signals(64)
    epochs = mne.EpochsArray(X.copy(), info, verbose="ERROR")
    epochs.info["bads"] = list(lost)
    epochs.interpolate_bads(origin=template().origin, verbose="ERROR")
    gone = X.copy()
    gone[:, [names.index(n) for n in lost]] = np.nan
    out = MontageMapper(info=info, target=names, missing="interpolate").fit_transform(gone)
    expected = epochs.get_data()
    assert np.allclose(out, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    kept = [i for i, n in enumerate(names) if n not in lost]
    assert np.array_equal(out[:, kept], X[:, kept])


@FEW_EXAMPLES
@given(names_of_cap, st.sampled_from(["interpolate", "nearest"]))
def test_a_constant_field_stays_constant(names, missing):
    X = np.full((1, len(names), 5), 7e-6)
    mapper = MontageMapper(info=info_of(names), target=CAP64, missing=missing)
    assert np.allclose(mapper.fit_transform(X), 7e-6, rtol=1e-6)
    assert mapper.rank_ <= len(names)


def test_a_smooth_field_is_interpolated_well():
    places = np.array(list(electrode_directions(CAP64).values()))
    x, y, z = places.T
    field = 1e-5 * (1 + x - 0.5 * y + 0.7 * x * z)
    row = {n: i for i, n in enumerate(CAP64)}
    lost = [row[n] for n in ("C1", "FC4", "P2", "AF3", "CP5")]
    X = np.repeat(field[None, :, None], 4, axis=2)
    X[0, lost] = np.nan
    out = MontageMapper(info=info_of(CAP64), target=CAP64, missing="interpolate").fit_transform(X)
    assert np.abs(out[0, lost, 0] - field[lost]).max() < 0.02 * np.ptp(field)


def test_interpolated_rank_is_what_was_recorded():
    X = signals(19)
    for missing in ("interpolate", "nearest", "nan", "zero"):
        mapper = MontageMapper(info=info_of(CAP19), target=CAP64, missing=missing).fit(X)
        assert mapper.rank_ == len(set(CAP19) & set(CAP64)) + (missing == "interpolate") * len(
            set(CAP19) - set(CAP64)
        )
    assert MontageMapper(info=info_of(CAP64), target=CAP19).fit(signals(64)).rank_ == 19


def test_electrodes_outside_the_target_help_to_interpolate():
    info = info_of(["C1", "C2", "FCz", "CPz", "Oz"])
    mapper = MontageMapper(info=info, target=["Cz", "Oz"], missing="interpolate").fit(signals(5))
    assert (np.abs(mapper.mapping_[0, :4]) > 0.05).all()
    assert mapper.report_.of("interpolated") == ["Cz"]
    selected = MontageMapper(info=info, target=["Oz", "C1"]).fit(signals(5))
    assert ("FCz", "not in the target") in selected.report_.dropped


def test_nearest_copies_the_nearest():
    info = info_of(["C3", "Fz", "O2"])
    X = signals(3)
    mapper = MontageMapper(info=info, target=["C5", "AFz", "PO8", "O2"], missing="nearest")
    out = mapper.fit_transform(X)
    assert np.array_equal(out, X[:, [0, 1, 2, 2]])
    assert [row.sources for row in mapper.report_.rows] == [("C3",), ("Fz",), ("O2",), ("O2",)]


def test_epochs_with_other_electrodes_are_filled_from_what_they_have():
    X = signals(19, n_epochs=4)
    X[1, 3], X[2, [3, 7]] = np.nan, np.nan
    mapper = MontageMapper(info=info_of(CAP19), target=CAP19, missing="interpolate").fit(X)
    out = mapper.transform(X)
    assert np.isfinite(out).all()
    for epoch in range(4):  # no epoch depends on its neighbours
        assert np.array_equal(mapper.transform(X[[epoch]])[0], out[epoch])
    assert np.array_equal(mapper.transform(X[::-1]), out[::-1])


def test_same_electrode_under_another_name_is_copied_when_filling():
    info = info_of(["T7", "Cz", "C4"])
    X = signals(3)
    mapper = MontageMapper(info=info, target=["T3", "T7", "Cz"], missing="interpolate")
    out = mapper.fit_transform(X)
    assert np.array_equal(out, X[:, [0, 0, 1]])
    assert mapper.report_.of("same place") == ["T3"]
