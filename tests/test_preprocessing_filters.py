"""Filters pass what they should, and refuse what they cannot do."""

from __future__ import annotations

import numpy as np
import pytest

from eegfound import BandPass, ChannelInfo, Notch, Rereferencer
from eegfound.base import SpecError
from eegfound.preprocessing import bandpass, notch, rereference

T = np.arange(2000) / 250


def tone(frequency):
    return np.sin(2 * np.pi * frequency * T)


def gain(filtered, frequency):
    """Amplitude of a tone in the middle of the window."""
    part = slice(400, 1600)
    return 2 * abs(np.mean(filtered[part] * np.exp(-2j * np.pi * frequency * T[part])))


@pytest.mark.parametrize("method", ["iir", "fir"])
def test_band_pass_in_and_out_of_the_band(method):
    for frequency, low, high in ((3, 0, 0.05), (15, 0.98, 1.02), (50, 0, 0.05)):
        assert low <= gain(bandpass(tone(frequency), 250, 8, 25, method=method), frequency) <= high


@pytest.mark.parametrize("method", ["iir", "fir"])
def test_no_phase_shift(method):
    out = bandpass(tone(15), 250, 8, 25, method=method)
    np.testing.assert_allclose(out[400:-400], tone(15)[400:-400], atol=0.02)


def test_edge_is_half_amplitude():
    # Forward and backward: each pass takes 3 dB at the edge.
    assert gain(bandpass(tone(20), 250, None, 20), 20) == pytest.approx(0.5, abs=0.02)


def test_fir_is_mne_default(rng):
    mne = pytest.importorskip("mne")
    x = rng.standard_normal((2, 2000))
    expected = mne.filter.filter_data(x, 250, 1, 40, verbose=False)
    np.testing.assert_allclose(bandpass(x, 250, 1, 40, method="fir"), expected, atol=1e-12)


def test_high_pass_takes_the_offset_out():
    out = bandpass(1e-5 * tone(10) + 0.02, 250, 1, None)
    assert abs(out[200:-200]).max() < 1.1e-5
    assert abs(out).max() < 2e-5  # nor does the offset ring at the edges


def test_notch_takes_the_mains_and_leaves_the_rest():
    out = notch(tone(50) + tone(12), 250, 50)
    assert gain(out, 50) < 0.01
    assert gain(out, 12) == pytest.approx(1, abs=0.01)
    out = notch(tone(50) + tone(100), 250, [50, 100])
    assert max(gain(out, 50), gain(out, 100)) < 0.01


@pytest.mark.parametrize(
    "step", [BandPass(1, 40, sfreq=250), Notch(50, sfreq=250), Rereferencer()], ids=repr
)
class TestSteps:
    def test_nan_channels_stay_nan(self, step, rng):
        X = rng.standard_normal((3, 5, 500))
        X[1, 2] = np.nan
        out = step.fit_transform(X)
        assert np.isnan(out[1, 2]).all()
        assert np.isnan(out).sum() == 500

    def test_precision_form_and_input_are_kept(self, step, rng):
        X = rng.standard_normal((3, 5, 500)).astype(np.float32)
        before = X.copy()
        out = step.fit_transform(X)
        assert (out.dtype, out.shape) == (np.float32, X.shape)
        np.testing.assert_array_equal(X, before)
        assert step.fit_transform(X[:, 0]).shape == (3, 500)

    def test_batch_does_not_matter(self, step, rng):
        X = rng.standard_normal((6, 5, 500))
        np.testing.assert_array_equal(step.fit_transform(X)[4], step.fit_transform(X[4:5])[0])

    def test_pipeline_output_as_frame_reaches_the_table(self, step, rng):
        pd = pytest.importorskip("pandas")
        from sklearn.pipeline import make_pipeline

        from eegfound.features import LogVariance

        pipe = make_pipeline(step, LogVariance(unit="uV")).set_output(transform="pandas")
        frame = pipe.fit_transform(rng.standard_normal((3, 5, 500)))
        assert isinstance(frame, pd.DataFrame)
        assert frame.columns[0] == "ch0.logvar"


class TestMessages:
    @pytest.mark.parametrize(
        ("step", "message"),
        [
            (BandPass(8, 80, sfreq=128), r"h_freq=80 Hz.*64 Hz.*128 Hz"),
            (BandPass(30, 8, sfreq=128), r"l_freq=30 Hz must lie below h_freq=8"),
            (BandPass(-1, None, sfreq=128), "l_freq=-1"),
            (BandPass(0.1, 30, sfreq=128), r"l_freq=0.1 Hz.*at least 10 s"),
            (BandPass(0.5, 30, sfreq=128, method="fir"), r"at least 6\.6.*s.*method='iir'"),
            (BandPass(8, 30), r"info=.*sfreq="),
            (BandPass(8, 30, sfreq=128, method="magic"), "magic"),
            (Notch(64, sfreq=128), r"freqs=64 Hz.*64 Hz"),
            (Notch(50, sfreq=128, width=0.1), r"at least 10 s"),
            (Notch(50), r"info=.*sfreq="),
            (BandPass(8, 30, info=ChannelInfo(["C3", "C4"], 128)), "3 channels.*names 2"),
            (Rereferencer(["M1"]), "info="),
            (Rereferencer("Cz", info=ChannelInfo(["A", "B", "C"], 128)), r"\['Cz'\]"),
            (Rereferencer([], info=ChannelInfo(["A", "B", "C"], 128)), "no channel"),
        ],
    )
    def test_names_the_parameter(self, step, message):
        with pytest.raises(SpecError, match=message):
            step.fit(np.zeros((2, 3, 256)))

    def test_epochs_in_another_order_are_sorted_by_name(self, rng):
        mne = pytest.importorskip("mne")
        X = rng.standard_normal((2, 3, 256)) * 1e-5
        info = ChannelInfo(["C3", "Cz", "C4"], 128)
        mixed = mne.EpochsArray(
            X[:, [2, 0, 1]], mne.create_info(["C4", "C3", "Cz"], 128, "eeg"), verbose=False
        )
        step = BandPass(8, 30, info=info)
        np.testing.assert_array_equal(step.fit_transform(mixed), step.fit_transform(X))
        with pytest.raises(SpecError, match=r"lack.*Pz"):
            BandPass(8, 30, info=info.replace(ch_names=["C3", "Cz", "Pz"])).fit(mixed)


class TestReference:
    def test_average_has_zero_mean_over_recorded_channels(self, rng):
        X = rng.standard_normal((4, 6, 100)) + 500
        X[1, 2] = np.nan
        out = Rereferencer().fit_transform(X)
        np.testing.assert_allclose(np.nanmean(out, axis=1), 0, atol=1e-12)
        np.testing.assert_allclose(out[0], X[0] - X[0].mean(axis=0), atol=1e-10)

    def test_twice_is_once(self, rng):
        X = rng.standard_normal((4, 6, 100))
        once = rereference(X)
        np.testing.assert_allclose(rereference(once), once, atol=1e-12)

    def test_does_not_depend_on_the_old_reference(self, rng):
        X = rng.standard_normal((4, 6, 100))
        other = X - X[:, 2:3]
        np.testing.assert_allclose(rereference(other), rereference(X), atol=1e-12)

    def test_agrees_with_mne(self, rng):
        mne = pytest.importorskip("mne")
        X = rng.standard_normal((3, 4, 50)) * 1e-5
        names = ["C3", "C4", "M1", "M2"]
        epochs = mne.EpochsArray(X, mne.create_info(names, 100, "eeg"), verbose=False)
        linked = Rereferencer(["m1", "M2"], info=epochs.info).fit_transform(X)
        expected = epochs.copy().set_eeg_reference(["M1", "M2"], verbose=False).get_data()
        np.testing.assert_allclose(linked, expected, atol=1e-18)
        expected = epochs.copy().set_eeg_reference("average", verbose=False).get_data()
        np.testing.assert_allclose(Rereferencer().fit_transform(epochs), expected, atol=1e-18)

    def test_other_channel_types_stay_out(self, rng):
        X = rng.standard_normal((3, 4, 50))
        info = ChannelInfo(["C3", "C4", "Cz", "ECG"], 100, ["eeg", "eeg", "eeg", "ecg"])
        out = Rereferencer(info=info).fit_transform(X)
        np.testing.assert_array_equal(out[:, 3], X[:, 3])
        np.testing.assert_allclose(out[:, :3].mean(axis=1), 0, atol=1e-12)

    def test_missing_reference_channel(self, rng):
        X = rng.standard_normal((3, 3, 50))
        X[2, 0] = np.nan
        with pytest.raises(SpecError, match="epoch 2"):
            Rereferencer("C3", info=ChannelInfo(["C3", "C4", "Cz"], 100)).fit_transform(X)

    def test_single_channel_is_not_wiped_out(self, rng):
        X = rng.standard_normal((3, 50))
        np.testing.assert_array_equal(Rereferencer().fit_transform(X), X)
