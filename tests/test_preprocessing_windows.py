"""Cutting windows and finding the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from eegfound import Windower
from eegfound.base import SpecError


@given(
    n_epochs=st.integers(1, 4),
    n_times=st.integers(20, 80),
    window=st.integers(1, 20),
    step=st.integers(1, 25),
)
@settings(max_examples=60, deadline=None)
def test_every_window_is_a_piece_of_its_epoch(n_epochs, n_times, window, step):
    X = np.random.default_rng(0).standard_normal((n_epochs, 3, n_times))
    cutter = Windower(window / 10, step / 10, sfreq=10).fit(X)
    cut = cutter.split(X)
    assert len(cut.data) == n_epochs * ((n_times - window) // step + 1)
    for data, epoch, start in zip(cut.data, cut.epoch, cut.start):
        np.testing.assert_array_equal(data, X[epoch, :, start : start + window])
    np.testing.assert_array_equal(cut.data, cutter.transform(X))
    np.testing.assert_allclose(cut.onset, cut.start / 10)
    labels = np.arange(n_epochs)
    np.testing.assert_array_equal(cut.expand(labels), cut.epoch)
    np.testing.assert_array_equal(cutter.aggregate(cutter.expand(labels), "vote"), labels)
    np.testing.assert_allclose(cutter.aggregate(cutter.expand(labels)), labels)


def test_windows_without_overlap_join_to_the_epoch(rng):
    X = rng.standard_normal((2, 3, 1000))
    out = Windower(1.0, sfreq=250).fit_transform(X)
    np.testing.assert_array_equal(
        out.reshape(2, 4, 3, 250).transpose(0, 2, 1, 3).reshape(X.shape), X
    )


def test_windows_are_copies(rng):
    X = rng.standard_normal((2, 3, 1000))
    out = Windower(1.0, 0.5, sfreq=250).fit_transform(X)
    before = X.copy()
    out[:] = 0
    np.testing.assert_array_equal(X, before)


def test_aggregate_is_the_mean_and_the_vote(rng):
    cutter = Windower(1.0, sfreq=250).fit(rng.standard_normal((2, 1, 750)))
    scores = rng.random((6, 4))
    np.testing.assert_allclose(cutter.aggregate(scores), scores.reshape(2, 3, 4).mean(axis=1))
    votes = cutter.aggregate(["b", "a", "b", "c", "a", "b"], how="vote")
    assert votes.tolist() == ["b", "a"]


def test_transform_of_other_epochs(rng):
    cutter = Windower(1.0, sfreq=250).fit(rng.standard_normal((2, 1, 750)))
    cut = cutter.split(rng.standard_normal((5, 1, 500)))
    assert cut.data.shape == (10, 1, 250)
    assert cutter.expand(["x", "y"]).tolist() == ["x"] * 3 + ["y"] * 3


def test_split_needs_no_fit_and_leaves_no_trace(rng):
    cutter = Windower(1.0, sfreq=250)
    assert cutter.split(rng.standard_normal((3, 2, 500))).data.shape == (6, 2, 250)
    assert cutter.split(rng.standard_normal((1, 4, 250))).data.shape == (1, 4, 250)
    with pytest.raises(NotFittedError):
        cutter.transform(rng.standard_normal((1, 4, 250)))


def test_nan_channels_stay_nan(rng):
    X = rng.standard_normal((2, 3, 500))
    X[1, 2] = np.nan
    out = Windower(1.0, sfreq=250).fit_transform(X)
    assert np.isnan(out[2:, 2]).all()
    assert np.isnan(out).sum() == 500


class TestRaw:
    @pytest.fixture
    def raw(self, rng):
        mne = pytest.importorskip("mne")
        info = mne.create_info(["C3", "C4"], 100, "eeg")
        return mne.io.RawArray(rng.standard_normal((2, 1050)) * 1e-5, info, verbose=False)

    def test_recording_is_cut(self, raw):
        cut = Windower(2.0).fit(raw).split(raw)
        assert cut.data.shape == (5, 2, 200)
        assert cut.onset.tolist() == [0, 2, 4, 6, 8]
        np.testing.assert_array_equal(cut.data[3], raw.get_data()[:, 600:800])

    @pytest.mark.parametrize("first_samp", [0, 137])
    def test_bad_stretches_are_left_out(self, raw, first_samp):
        import mne

        if first_samp:
            raw = mne.io.RawArray(raw.get_data(), raw.info, first_samp=first_samp, verbose=False)
        raw.set_annotations(mne.Annotations([3.5, 9.0], [0.2, 0.1], ["BAD_muscle", "left"]))
        cutter = Windower(2.0).fit(raw)
        cut = cutter.split(raw)
        assert cut.start.tolist() == [0, 400, 600, 800]
        assert len(Windower(2.0, skip_bad=False).fit_transform(raw)) == 5
        assert cutter.expand(["s1"]).tolist() == ["s1"] * 4

    def test_all_bad(self, raw):
        import mne

        raw.set_annotations(mne.Annotations([0], [10.5], ["bad"]))
        with pytest.raises(SpecError, match="skip_bad=False"):
            Windower(2.0).fit(raw)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Windower(5.0, sfreq=250), r"window=5 s.*2 s"),
        (Windower(1.0), r"info=.*sfreq="),
        (Windower(0.001, sfreq=250), "window=0.001"),
        (Windower(1.0, 0, sfreq=250), "step=0"),
    ],
)
def test_messages(step, message):
    with pytest.raises(SpecError, match=message):
        step.fit(np.zeros((2, 3, 500)))


def test_wrong_lengths(rng):
    cutter = Windower(1.0, sfreq=250).fit(rng.standard_normal((2, 1, 750)))
    with pytest.raises(SpecError, match="3 entries for 2 epochs"):
        cutter.expand([1, 2, 3])
    with pytest.raises(SpecError, match="5 entries for 6 windows"):
        cutter.aggregate([1, 2, 3, 4, 5])
    with pytest.raises(SpecError, match="how='vote'"):
        cutter.aggregate(["a"] * 6)
    with pytest.raises(SpecError, match="'median'"):
        cutter.aggregate([1] * 6, how="median")
