"""The front end: differential entropy, its statistics and their scope."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from eegfound_mmm import MMMClassifier, MMMTransformer
from eegfound_mmm.front_end import build_front_end
from eegfound_mmm.normalization import BandStatistics
from eegfound_mmm.plugin import MODEL
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from eegfound import ChannelInfo
from eegfound.base import SignalWarning, SpecError
from eegfound.estimators._inputs import plan_input
from eegfound.features import differential_entropy, smooth_random_walk

NAMES = ("Fz", "C3", "Cz", "C4", "Pz")
INFO = ChannelInfo(NAMES, 200)
PAPER = {"size": "paper", "checkpoint": None, "info": INFO}
pytestmark = pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")


def plan(sfreq=200.0):
    info = ChannelInfo(NAMES, sfreq)
    return plan_input(MODEL, info, n_channels=len(NAMES), unit="uV")


@pytest.fixture
def signal(rng):
    gain = rng.uniform(0.5, 2, size=(12, 5, 1))
    return (10 * gain * rng.standard_normal((12, 5, 800))).astype(np.float32)


def entropy(signal, bands="seed", seconds=1.0):
    return differential_entropy(signal, 200, bands, window_seconds=seconds)


def test_z_scores_over_epochs_windows_and_channels(signal):
    out = build_front_end(plan()).fit(signal).transform(signal)
    assert out.dtype == np.float32
    assert out.shape == (12, 5, 4, 5)
    raw = entropy(signal).astype(np.float64)
    expected = (raw - raw.mean(axis=(0, 1, 2))) / raw.std(axis=(0, 1, 2))
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("bands", ["seed", "seed_shared"])
@pytest.mark.parametrize("seconds", [1.0, 2.0, None])
def test_bands_windows_and_range(signal, bands, seconds):
    options = {"bands": bands, "window_seconds": seconds, "normalization": "minmax"}
    out = build_front_end(plan(), **options).fit(signal).transform(signal)
    raw = entropy(signal, bands, seconds)
    low, high = raw.min(axis=(0, 1, 2)), raw.max(axis=(0, 1, 2))
    np.testing.assert_allclose(out, (raw - low) / (high - low), atol=1e-5)
    assert out.shape[2] == {1.0: 4, 2.0: 2, None: 1}[seconds]


def test_smoothing_stays_within_an_epoch(signal):
    front = build_front_end(plan(), smoothing="lds", noise_ratio=0.2).fit(signal)
    smooth = smooth_random_walk(entropy(signal), 0.2, axis=-2)
    mean, std = smooth.mean(axis=(0, 1, 2)), smooth.std(axis=(0, 1, 2))
    np.testing.assert_allclose(front.transform(signal), (smooth - mean) / std, atol=1e-4)
    np.testing.assert_array_equal(front.transform(signal[3:4]), front.transform(signal)[3:4])


def test_a_channel_that_is_not_there_counts_for_nothing(signal):
    holed = signal.copy()
    holed[::2, 1] = np.nan
    front = build_front_end(plan()).fit(holed)
    raw = entropy(signal).astype(np.float64)
    kept = np.ones((12, 5), dtype=bool)
    kept[::2, 1] = False
    np.testing.assert_allclose(front.pooled_.mean, raw[kept].mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(front.pooled_.std, raw[kept].std(axis=(0, 1)), rtol=1e-5)
    out = front.transform(holed)
    assert (np.isnan(out).all(axis=(2, 3)) == ~kept).all()
    assert np.isfinite(out[kept]).all()


def test_a_weight_of_two_is_an_epoch_twice(signal):
    weight = np.array([2.0] * 3 + [1.0] * 9)
    weighted = build_front_end(plan()).fit(signal, sample_weight=weight)
    repeated = build_front_end(plan()).fit(np.concatenate([signal[:3], signal]))
    np.testing.assert_allclose(weighted.pooled_.mean, repeated.pooled_.mean, rtol=1e-12)
    np.testing.assert_allclose(weighted.pooled_.std, repeated.pooled_.std, rtol=1e-10)


def test_a_flat_signal_gives_finite_features():
    flat = np.zeros((3, 5, 400), dtype=np.float32)
    assert np.isfinite(build_front_end(plan()).fit(flat).transform(flat)).all()
    statistics = BandStatistics.of(np.full((2, 3, 5), 7.0))
    for kind in ("gaussian", "minmax"):
        np.testing.assert_array_equal(statistics.apply(np.full((1, 5), 8.0), kind), 1.0)


GROUPS = np.array(["first"] * 6 + ["second"] * 6)


def test_each_recording_has_statistics_of_its_own(signal):
    loud = signal.copy()
    loud[6:] *= 8
    front = build_front_end(plan(), statistics="recording").fit(loud, groups=GROUPS)
    assert set(front.recordings_) == {"first", "second"}
    seen = front.transform(loud)  # recognized by their samples
    for part in (slice(0, 6), slice(6, 12)):
        np.testing.assert_allclose(seen[part].mean(axis=(0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(seen[part].std(axis=(0, 1, 2)), 1, atol=1e-4)
    # Gain is what recordings differ in: gone, up to rounding.
    plain = build_front_end(plan(), statistics="recording").fit(signal, groups=GROUPS)
    np.testing.assert_allclose(plain.transform(signal), seen, atol=1e-3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(front)).transform(loud), seen)


def test_new_epochs_get_pooled_statistics_unless_their_recording_is_told(signal, rng):
    loud = signal.copy()
    loud[6:] *= 8
    front = build_front_end(plan(), statistics="recording").fit(loud, groups=GROUPS)
    pooled = build_front_end(plan()).fit(loud)
    new = (80 * rng.standard_normal((2, 5, 800))).astype(np.float32)
    with pytest.warns(SignalWarning, match="2 epoch.*statistics='pooled'"):
        np.testing.assert_array_equal(front.transform(new), pooled.transform(new))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = front.transform(new, groups=["second", "second"])
        front.transform(loud)
    own = build_front_end(plan()).fit(loud[6:])
    np.testing.assert_allclose(told, own.transform(new), atol=1e-6)
    with pytest.warns(SignalWarning, match="1 epoch"):
        front.transform(new, groups=["second", "third"])


def test_the_same_samples_in_two_recordings_belong_to_neither(signal):
    twice = np.concatenate([signal, signal[:1]])
    groups = [*GROUPS, "second"]
    front = build_front_end(plan(), statistics="recording").fit(twice, groups=groups)
    with pytest.warns(SignalWarning, match="2 epoch"):
        out = front.transform(twice)
    np.testing.assert_array_equal(out[0], out[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "robust"}, "normalization='robust'"),
        ({"statistics": "subject"}, "statistics='subject'"),
        ({"window_seconds": 0}, "window_seconds=0"),
        ({"smoothing": "kalman"}, "smoothing='kalman'"),
        ({"bands": {"alpha": (8, 13)}}, "reads 5 bands"),
        ({"bands": "mine"}, "bands='mine'"),
        ({"statistics": "recording"}, r"groups=.*statistics='pooled'"),
    ],
)
def test_options_that_make_no_sense(signal, options, message):
    with pytest.raises(SpecError, match=message):
        build_front_end(plan(), **options).fit(signal)


def test_a_recording_too_slow_for_gamma_is_refused(signal):
    with pytest.raises(SpecError, match=r"'gamma' reaches 50 Hz.*80 Hz"):
        build_front_end(plan(sfreq=80)).fit(signal)
    assert build_front_end(plan(sfreq=100)).fit(signal).pooled_.mean.shape == (5,)


def test_groups_go_through_the_estimators(rng):
    X = 1e-5 * rng.standard_normal((12, 5, 400))
    X[6:] *= 5
    options = PAPER | {"model_params": {"statistics": "recording"}}
    enc = MMMTransformer(**options).fit(X, groups=GROUPS)
    assert set(enc.front_end_.recordings_) == {"first", "second"}
    # The gain of a recording is gone from the embeddings.
    quiet = X.copy()
    quiet[6:] /= 5
    other = MMMTransformer(**options).fit(quiet, groups=GROUPS)
    np.testing.assert_allclose(enc.transform(X), other.transform(quiet), atol=1e-3)
    pooled = MMMTransformer(**PAPER).fit(X, groups=GROUPS)
    assert not pooled.front_end_.recordings_
    assert np.abs(pooled.transform(X) - enc.transform(X)).max() > 0.1
    clf = MMMClassifier(**options).fit(X, np.tile([0, 1], 6), groups=GROUPS)
    assert set(clf.front_end_.recordings_) == {"first", "second"}
    with pytest.raises(SpecError, match="groups="):
        MMMTransformer(**options).fit(X)


def test_groups_are_routed_through_a_pipeline(rng):
    X, y = 1e-5 * rng.standard_normal((12, 5, 200)), np.tile([0, 1], 6)
    enc = MMMTransformer(**PAPER, model_params={"statistics": "recording"})
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(enc.set_fit_request(groups=True), LogisticRegression())
        pipe.fit(X, y, groups=GROUPS)
    assert set(pipe[0].front_end_.recordings_) == {"first", "second"}


def test_amplitude_and_offset_say_nothing_after_fitting(rng):
    X = 1e-5 * rng.standard_normal((6, 5, 400))
    a = MMMTransformer(**PAPER).fit_transform(X)
    b = MMMTransformer(**PAPER).fit_transform(3 * X)
    np.testing.assert_allclose(a, b, atol=1e-3)
