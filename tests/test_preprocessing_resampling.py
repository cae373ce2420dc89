"""Resampling keeps signals, lengths and precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegfound import ChannelInfo, Resampler
from eegfound.base import SpecError
from eegfound.preprocessing import resample

RATES = [(250, 200), (256, 200), (160, 200), (500, 200), (128, 200), (1000, 256), (200, 250)]


def wave(sfreq, n):
    t = np.arange(n) / sfreq
    return 50 + 3 * np.sin(2 * np.pi * 7.3 * t + 1) + 10 * t + np.sin(2 * np.pi * 23 * t)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("method", ["polyphase", "fft"])
def test_smooth_signals_are_kept(rate_in, rate_out, method):
    out = resample(wave(rate_in, 4 * rate_in), rate_in, rate_out, method=method)
    expected = wave(rate_out, 4 * rate_out)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out[30:-30], expected[30:-30], atol=0.06)
    # Offset and drift do not ring at the edges.
    np.testing.assert_allclose(out, expected, atol=0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["polyphase", "fft", "nearest"])
def test_constants_are_exact(dtype, method):
    out = resample(np.full((2, 3, 777), 0.02, dtype), 256, 200, method=method)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, 0.02, rtol=1e-6)


def test_offset_of_millivolts_leaves_no_comb(rng):
    eeg = 1e-5 * rng.standard_normal((2, 1000))
    clean = resample(eeg, 250, 200)
    shifted = resample(eeg + 0.02, 250, 200) - 0.02
    np.testing.assert_allclose(shifted, clean, atol=1e-12)


def test_what_lies_above_nyquist_is_taken_out():
    t = np.arange(2000) / 500
    out = resample(np.sin(2 * np.pi * 160 * t), 500, 200)
    assert np.abs(out[20:-20]).max() < 0.01


def test_agrees_with_mne(rng):
    mne = pytest.importorskip("mne")
    x = rng.standard_normal((3, 5000))
    # npad=100 makes the padded length a multiple of 5, so that MNE is exact as well.
    expected = mne.filter.resample(x, up=4, down=5, npad=100, method="fft", verbose=False)
    np.testing.assert_allclose(
        resample(x, 250, 200, method="fft")[:, 200:-200], expected[:, 200:-200], atol=0.02
    )


@given(
    n=st.integers(1, 400),
    rate_in=st.sampled_from([100, 127.88, 128, 160, 250, 256, 500]),
    rate_out=st.sampled_from([100, 128, 200, 250, 256]),
    method=st.sampled_from(["polyphase", "fft", "nearest"]),
)
@settings(max_examples=80, deadline=None)
def test_length_and_finiteness(n, rate_in, rate_out, method):
    x = np.random.default_rng(n).standard_normal((2, n))
    out = resample(x, rate_in, rate_out, method=method)
    assert out.shape[-1] == max(1, round(n * rate_out / rate_in))
    assert np.isfinite(out).all()


@given(n=st.integers(1, 200), rate_out=st.sampled_from([100, 128, 200, 250]))
@settings(max_examples=40, deadline=None)
def test_nearest_is_the_sample_at_or_before(n, rate_out):
    x = np.arange(float(n))
    out = resample(x, 160, rate_out, method="nearest")
    for j, value in enumerate(out):
        assert value == x[int(np.floor(j * n / len(out)))]


def test_there_and_back(rng):
    mne = pytest.importorskip("mne")
    x = mne.filter.filter_data(rng.standard_normal((2, 2000)), 200, None, 40, verbose=False)
    back = resample(resample(x, 200, 250), 250, 200)
    assert np.corrcoef(x[0, 50:-50], back[0, 50:-50])[0, 1] > 0.9999


def test_same_rate_changes_nothing(rng):
    x = rng.standard_normal((2, 3, 50))
    np.testing.assert_array_equal(resample(x, 200, 200.0), x)


def test_batch_does_not_matter(rng):
    X = rng.standard_normal((9, 4, 500)).astype(np.float32)
    for method in ("polyphase", "fft"):
        step = Resampler(250, 200, method=method).fit(X)
        np.testing.assert_array_equal(step.transform(X)[5], step.transform(X[5:6])[0])


def test_nan_channels_stay_nan(rng):
    X = rng.standard_normal((3, 4, 500))
    X[1, 2] = np.nan
    out = Resampler(250, 200).fit_transform(X)
    assert np.isnan(out[1, 2]).all()
    assert np.isnan(out).sum() == 400
    np.testing.assert_array_equal(out[0], Resampler(250, 200).fit_transform(X[:1])[0])


class TestMessages:
    def test_rates_that_contradict(self):
        info = ChannelInfo(["C3", "C4"], 250)
        with pytest.raises(SpecError, match=r"sfreq_in=128.*250"):
            Resampler(128, 200, info=info).fit(np.zeros((1, 2, 500)))

    def test_epochs_at_another_rate(self):
        mne = pytest.importorskip("mne")
        epochs = mne.EpochsArray(
            np.zeros((2, 2, 500)), mne.create_info(2, 250, "eeg"), verbose=False
        )
        assert Resampler(sfreq_out=200).fit_transform(epochs).shape == (2, 2, 400)
        with pytest.raises(SpecError, match=r"250 Hz.*128 Hz.*sfreq_in"):
            Resampler(128, 200).fit(epochs)

    def test_unknown_rate(self):
        with pytest.raises(SpecError, match=r"info=.*sfreq_in="):
            Resampler(sfreq_out=200).fit(np.zeros((1, 2, 500)))

    @pytest.mark.parametrize("rate", [0, -5, float("nan"), float("inf")])
    def test_not_a_rate(self, rate):
        with pytest.raises(SpecError, match="sfreq_out"):
            Resampler(250, rate).fit(np.zeros((1, 2, 500)))

    def test_unknown_method(self):
        with pytest.raises(SpecError, match="polyphase"):
            resample(np.zeros(10), 10, 20, method="linear")
