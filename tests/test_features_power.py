"""Band power and log variance by their own laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from eegfound import ChannelInfo
from eegfound.base import SignalWarning, SpecError, UnitError
from eegfound.features import BandPower, DifferentialEntropy, LogVariance, band_power, log_variance

STEPS = [
    BandPower(sfreq=128, unit="uV"),
    DifferentialEntropy(sfreq=128, unit="uV"),
    LogVariance(unit="uV"),
]


@given(
    frequency=st.floats(9, 12),
    amplitude=st.floats(0.5, 50),
    phase=st.floats(0, 6),
    n=st.integers(2, 6),
)
@settings(max_examples=30, deadline=None)
def test_power_of_a_sine_is_half_its_squared_amplitude(frequency, amplitude, phase, n):
    t = np.arange(n * 200) / 200
    x = amplitude * np.sin(2 * np.pi * frequency * t + phase)
    delta, alpha = band_power(x, 200, {"delta": (1, 4), "alpha": (6, 15)}, window_seconds=2)
    assert alpha == pytest.approx(amplitude**2 / 2, rel=0.03)
    assert delta < 1e-3 * alpha


def test_all_bands_together_hold_the_variance(rng):
    x = rng.standard_normal((3, 5000))
    total = band_power(x, 100, {"all": (0, 50)}, window_seconds=2)[:, 0]
    np.testing.assert_allclose(total, x.var(axis=1), rtol=0.05)


def test_agrees_with_scipy(rng):
    x = rng.standard_normal((2, 3, 640))
    freqs, density = welch(x, 128, nperseg=256)
    alpha = (freqs >= 8) & (freqs < 13)
    expected = density[..., alpha].sum(-1) * freqs[1]
    np.testing.assert_allclose(band_power(x, 128, {"alpha": (8, 13)})[..., 0], expected)


def test_touching_bands_share_no_power(rng):
    x = rng.standard_normal((4, 1000))
    both = band_power(x, 250, {"low": (4, 8), "high": (8, 13)})
    np.testing.assert_allclose(both.sum(-1), band_power(x, 250, {"one": (4, 13)})[:, 0])
    relative = band_power(x, 250, {"low": (4, 8), "high": (8, 13)}, relative=True)
    np.testing.assert_allclose(relative.sum(-1), 1)


def test_log_variance_survives_volts_and_offsets(rng):
    X = rng.standard_normal((6, 3, 500)) * 1e-5
    clean = LogVariance().fit_transform(X)
    np.testing.assert_allclose(clean, np.log((X * 1e6).var(axis=-1)), atol=1e-9)
    offset = LogVariance().fit_transform((X + 0.02).astype(np.float32))
    np.testing.assert_allclose(offset, clean, atol=0.01)
    assert log_variance(np.zeros((1, 10))) == np.log(1e-12)


@pytest.mark.parametrize("step", STEPS, ids=lambda s: type(s).__name__)
class TestEveryStep:
    def test_missing_channel(self, step, rng):
        X = rng.standard_normal((4, 3, 256))
        X[1, 2] = np.nan
        with pytest.raises(SpecError, match=r"channel 2.*MontageMapper"):
            step.fit(X)
        out = step.__class__(**{**step.get_params(), "missing": "nan"}).fit_transform(X)
        per_channel = out.reshape(4, 3, -1)
        assert np.isnan(per_channel[1, 2]).all()
        assert np.isnan(per_channel).sum() == per_channel.shape[-1]

    def test_partly_missing_channel_is_an_error(self, step, rng):
        X = rng.standard_normal((4, 3, 256))
        X[1, 2, 7] = np.nan
        with pytest.raises(SpecError, match="NaN in part"):
            step.fit(X)

    def test_precision_and_input_are_kept(self, step, rng):
        X = rng.standard_normal((4, 3, 256)).astype(np.float32)
        before = X.copy()
        single = step.fit_transform(X)
        assert single.dtype == np.float32
        np.testing.assert_array_equal(X, before)
        np.testing.assert_allclose(
            single, step.fit_transform(X.astype(float)), rtol=1e-3, atol=1e-4
        )

    def test_channel_order_is_feature_order(self, step, rng):
        X = rng.standard_normal((4, 3, 256))
        out = step.fit_transform(X).reshape(4, 3, -1)
        swapped = step.fit_transform(X[:, ::-1]).reshape(4, 3, -1)
        np.testing.assert_array_equal(out, swapped[:, ::-1])

    def test_names(self, step, rng):
        named = step.__class__(
            **{**step.get_params(), "info": ChannelInfo(["C3", "Cz", "C4"], 128)}
        )
        names = named.fit(rng.standard_normal((4, 3, 256))).get_feature_names_out()
        assert names[0].startswith("C3.")
        assert names[-1].startswith("C4.")
        assert len(set(names)) == named.transform(rng.standard_normal((4, 3, 256))).shape[1]

    def test_epochs_give_the_same_numbers(self, step, rng):
        mne = pytest.importorskip("mne")
        X = rng.standard_normal((4, 3, 256)) * 1e-5
        epochs = mne.EpochsArray(X, mne.create_info(["C3", "Cz", "C4"], 128, "eeg"), verbose=False)
        fresh = step.__class__(**{**step.get_params(), "unit": "V"})
        np.testing.assert_allclose(fresh.fit_transform(epochs), fresh.fit_transform(X), rtol=1e-9)
        # Epochs are volts, whatever is said about arrays.
        micro = step.__class__(**{**step.get_params(), "unit": "uV"})
        np.testing.assert_allclose(micro.fit_transform(epochs), fresh.fit_transform(X), rtol=1e-9)


def test_wrong_unit_is_named(rng):
    info = ChannelInfo(["C3", "C4"], 128)
    with pytest.raises(UnitError, match="unit='uV'"):
        BandPower(info=info).fit(rng.standard_normal((3, 2, 256)) * 20)


def test_short_epochs_are_told(rng):
    with pytest.warns(SignalWarning, match="cannot resolve"):
        out = BandPower(sfreq=128, unit="uV").fit_transform(rng.standard_normal((3, 2, 32)))
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ("nope", "not one of"),
        ({"alpha": (13, 8)}, "not an interval"),
        ({}, "empty"),
        ({"fast": (60, 90)}, "reaches 90 Hz"),
    ],
)
def test_bad_bands_are_named(bands, message, rng):
    with pytest.raises(SpecError, match=message):
        BandPower(bands, sfreq=128, unit="uV").fit(rng.standard_normal((3, 2, 256)))
