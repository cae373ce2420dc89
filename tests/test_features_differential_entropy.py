"""Differential entropy against published definitions and by its own laws."""

from __future__ import annotations

import zlib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from eegfound import ChannelInfo
from eegfound.base import SignalWarning, SpecError, UnitError
from eegfound.features import (
    DE_BANDS,
    DifferentialEntropy,
    band_energy,
    differential_entropy,
    smooth_random_walk,
)

GOLDEN = np.load(Path(__file__).parent / "data" / "de_golden.npz")


def golden_input(case: int) -> np.ndarray:
    """White noise plus drift, as the makers of the golden values describe it."""
    rng = np.random.default_rng(zlib.crc32(f"public:de_input_{case}".encode()))
    u = 20 * rng.standard_normal(tuple(GOLDEN[f"c{case}_shape"]), dtype=np.float32)
    return u + np.float32(0.1) * np.cumsum(u, axis=-1, dtype=np.float32)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(
    ("bands", "key"), [("seed", "de_log"), ("seed_shared", "de_log_mainbands")]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden_values(case, bands, key, dtype):
    step = DifferentialEntropy(
        bands,
        window_seconds=float(GOLDEN[f"c{case}_win"]),
        sfreq=float(GOLDEN[f"c{case}_fs"]),
        unit="uV",
        output="sequence",
    )
    out = step.fit_transform(golden_input(case)[np.newaxis].astype(dtype))[0]
    assert out.dtype == dtype
    np.testing.assert_allclose(out, GOLDEN[f"c{case}_{key}"], rtol=0, atol=1e-5)


def test_energy_equals_the_sum_written_out(rng):
    x = rng.standard_normal(130) * 10
    N, sfreq = 65, 130.0
    t = np.arange(N)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / (N - 1))
    expected = np.empty((2, 5))
    for j in range(2):
        for i, (low, high) in enumerate(DE_BANDS.values()):
            found = [
                abs(np.sum(x[j * N : (j + 1) * N] * window * np.exp(-2j * np.pi * k * t / N))) ** 2
                for k in range(N // 2 + 1)
                if low <= k * sfreq / N <= high
            ]
            expected[j, i] = np.mean(found)
    np.testing.assert_allclose(band_energy(x, sfreq, window_seconds=0.5), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["int16", "int64", "float16"])
def test_other_numbers_are_computed_in_float64(rng, dtype):
    X = rng.normal(scale=30, size=(3, 400)).astype(dtype)
    found = band_energy(X, 200.0)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, band_energy(X.astype(np.float64), 200.0))
    assert (found > 0).all()


def test_no_epochs_have_no_energy():
    assert band_energy(np.empty((0, 3, 400)), 200.0).shape == (0, 3, 2, 5)


def test_parts_of_any_size_give_the_same_bits(rng, monkeypatch):
    module = import_module("eegfound.features.differential_entropy")
    X = rng.standard_normal((7, 3, 450))
    whole = band_energy(X, 200.0)
    for size in (1, 1000, 3500):
        monkeypatch.setattr(module, "CHUNK", size)
        np.testing.assert_array_equal(band_energy(X, 200.0), whole)


def test_scaling_by_ten_adds_a_constant(rng):
    x = rng.standard_normal((3, 400))
    shift = differential_entropy(10 * x, 200) - differential_entropy(x, 200)
    np.testing.assert_allclose(shift, np.log2(100), atol=1e-9)


def test_flat_channel_is_finite():
    assert np.isfinite(differential_entropy(np.zeros((2, 400)), 200)).all()
    assert np.isfinite(differential_entropy(np.zeros((2, 400), np.float32), 200)).all()


def test_volts_and_microvolts_agree(rng):
    info = ChannelInfo(["C3", "C4"], 200)
    X = rng.standard_normal((5, 2, 500)) * 1e-5
    volts = DifferentialEntropy(info=info).fit_transform(X)
    micro = DifferentialEntropy(info=info, unit="uV").fit_transform(X * 1e6)
    np.testing.assert_allclose(volts, micro, atol=1e-9)
    with pytest.raises(UnitError, match="unit='uV'"):
        DifferentialEntropy(info=info).fit(X * 1e6)


def test_output_forms_agree(rng):
    X = rng.standard_normal((3, 2, 700))
    options = {"sfreq": 200, "unit": "uV"}
    sequence = DifferentialEntropy(output="sequence", **options).fit_transform(X)
    assert sequence.shape == (3, 3, 2, 5)
    mean = DifferentialEntropy(**options).fit_transform(X)
    np.testing.assert_allclose(sequence.mean(axis=1).reshape(3, -1), mean)
    concat = DifferentialEntropy(output="concat", **options).fit(X)
    names = list(concat.get_feature_names_out())
    column = concat.transform(X)[:, names.index("ch1.beta.w2")]
    np.testing.assert_array_equal(column, sequence[:, 2, 1, 3])
    with pytest.raises(SpecError, match="output='mean'"):
        concat.transform(X[..., :500])


def test_pandas_output(rng):
    pytest.importorskip("pandas")
    info = ChannelInfo(["C3", "C4"], 200)
    step = DifferentialEntropy(info=info, unit="uV").set_output(transform="pandas")
    frame = step.fit_transform(rng.standard_normal((4, 2, 400)))
    assert list(frame.columns[:6]) == [f"C3.{b}" for b in DE_BANDS] + ["C4.delta"]


def test_rate_and_length_are_checked(rng):
    X = rng.standard_normal((2, 3, 200))
    with pytest.raises(SpecError, match=r"gamma.*50 Hz"):
        DifferentialEntropy(sfreq=90, unit="uV").fit(X)
    with pytest.raises(SpecError, match="info="):
        DifferentialEntropy(unit="uV").fit(X)
    with pytest.warns(SignalWarning, match="window_seconds=1"):
        DifferentialEntropy(sfreq=250, unit="uV").fit(X)


def test_result_does_not_depend_on_the_batch(rng):
    X = rng.standard_normal((40, 6, 6000)).astype(np.float32)  # more than one chunk
    step = DifferentialEntropy(sfreq=200, unit="uV", smoothing="lds").fit(X)
    np.testing.assert_array_equal(step.transform(X)[17], step.transform(X[17:18])[0])


class TestSmoothing:
    def test_equals_the_posterior_mean_of_the_random_walk(self, rng):
        # Independent: minimise |y - s|^2 / r + |diff s|^2 / q by linear algebra.
        y, ratio = rng.standard_normal((30, 4)), 0.3
        difference = np.diff(np.eye(30), axis=0)
        expected = np.linalg.solve(np.eye(30) + difference.T @ difference / ratio, y)
        np.testing.assert_allclose(smooth_random_walk(y, ratio), expected, atol=1e-10)

    def test_limits(self, rng):
        y = rng.standard_normal((20, 3))
        np.testing.assert_allclose(
            smooth_random_walk(y, 0.0), np.broadcast_to(y.mean(0), y.shape), atol=1e-12
        )
        np.testing.assert_allclose(smooth_random_walk(y, 1e12), y, atol=1e-9)

    def test_never_crosses_epochs(self, rng):
        X = rng.standard_normal((4, 2, 1000))
        step = DifferentialEntropy(sfreq=200, unit="uV", smoothing="lds", output="sequence")
        np.testing.assert_array_equal(step.fit_transform(X)[2], step.fit_transform(X[2:3])[0])

    def test_smooths_towards_the_mean(self, rng):
        X = rng.standard_normal((1, 3, 4000))
        rough = DifferentialEntropy(sfreq=200, unit="uV", output="sequence").fit_transform(X)
        smooth = DifferentialEntropy(
            sfreq=200, unit="uV", output="sequence", smoothing="lds"
        ).fit_transform(X)
        assert (smooth.std(axis=1) < rough.std(axis=1)).all()
