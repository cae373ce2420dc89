"""Covariances of data whose rank is lower than their number of channels."""

from __future__ import annotations

import numpy as np
import pytest

from eegfound import MontageMapper, Rereferencer
from eegfound.baselines import (
    EpochCovariances,
    RankReducer,
    make_baseline,
)
from tests.helpers_eeg import accuracy, make_eeg

pytestmark = pytest.mark.filterwarnings("ignore:.*without groups:eegfound.base.SignalWarning")


@pytest.fixture(scope="module")
def eeg():
    return make_eeg()


@pytest.mark.parametrize("name", ["tangent_space", "mdm", "fgmdm", "tangent_space_recentred"])
@pytest.mark.parametrize("estimator", ["scm", "oas"])
class TestRankDeficiency:
    def test_average_reference(self, name, estimator, eeg):
        X, y, groups, info = eeg
        X = Rereferencer("average").fit_transform(X)
        model = make_baseline(name, info, estimator=estimator)
        assert accuracy(model, X, y, groups) > 0.9
        assert np.isfinite(model.fit(X, y).predict_proba(X)).all()

    def test_interpolated_electrodes(self, name, estimator, eeg):
        X, y, groups, info = eeg
        target = [*info.ch_names, "Fz", "CP3", "CP1", "CPz"]
        mapper = MontageMapper(info, target, missing="interpolate")
        for dtype in (np.float64, np.float32):
            mapped = mapper.fit_transform(X.astype(dtype))
            assert mapped.shape[1] == len(info.ch_names) + 4
            model = make_baseline(name, estimator=estimator)
            assert accuracy(model, mapped, y, groups) > 0.9

    def test_each_subject_lacks_another_electrode(self, name, estimator, eeg):
        X, y, groups, info = eeg
        X = X.copy()
        for subject in np.unique(groups):
            X[groups == subject, subject] = np.nan
        filled = MontageMapper(info, list(info.ch_names), missing="interpolate").fit_transform(X)
        model = make_baseline(name, estimator=estimator)
        assert accuracy(model, filled, y, groups) > 0.8


def test_csp_after_average_reference(eeg):
    X, y, groups, info = eeg
    X = Rereferencer("average").fit_transform(X)
    assert accuracy(make_baseline("csp_lda", info), X, y, groups) > 0.9


class TestRankReducer:
    def test_full_rank_passes_unchanged(self, eeg):
        X = eeg[0]
        np.testing.assert_array_equal(RankReducer().fit_transform(X), X)

    def test_keeps_all_the_signal(self, rng):
        sources = rng.standard_normal((20, 4, 300))
        mixing = rng.standard_normal((9, 4))
        X = mixing @ sources
        step = RankReducer().fit(X)
        assert step.n_components_ == 4
        np.testing.assert_allclose(step.components_ @ step.components_.T, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(step.components_.T @ step.transform(X), X, atol=1e-9)

    def test_channels_of_very_different_size_are_kept(self, rng):
        X = rng.standard_normal((20, 4, 300)) * np.array([1, 1e-3, 1e3, 1e6])[:, None]
        assert RankReducer().fit(X).n_components_ == 4

    def test_one_odd_epoch_does_not_cost_a_dimension(self, rng):
        X = rng.standard_normal((40, 5, 300))
        X[7, 2] = 0
        assert RankReducer().fit(X).n_components_ == 5

    def test_dead_channel_is_left_out(self, rng):
        X = rng.standard_normal((20, 5, 300))
        X[:, 3] = 4.2
        step = RankReducer().fit(X)
        assert step.n_components_ == 4
        np.testing.assert_allclose(step.components_[:, 3], 0, atol=1e-12)

    def test_learns_from_training_data_only(self, rng):
        X = Rereferencer().fit_transform(rng.standard_normal((20, 5, 300)))
        step = RankReducer().fit(X[:10])
        before = step.components_.copy()
        step.transform(X[10:] * 100)
        np.testing.assert_array_equal(step.components_, before)


class TestCovariances:
    def test_equals_pyriemann(self, eeg):
        from pyriemann.estimation import Covariances

        X = eeg[0] * 1e6
        X = X - X.mean(axis=-1, keepdims=True)
        for estimator in ("oas", "scm", "lwf"):
            expected = Covariances(estimator).fit_transform(X)
            np.testing.assert_allclose(EpochCovariances(estimator).fit_transform(X), expected)

    @pytest.mark.parametrize("estimator", ["oas", "scm"])
    def test_always_positive_definite(self, estimator, rng):
        X = rng.standard_normal((12, 5, 200))
        step = EpochCovariances(estimator).fit(X)
        X[0, 2] = 0
        X[1] = 3.0
        X[2, 4] = X[2, 3]
        out = step.transform(X)
        assert np.linalg.eigvalsh(out).min() > 0
        np.testing.assert_allclose(out[3:], step.transform(X[3:]))

    def test_empty_direction_gets_its_average_variance(self, rng):
        # Epochs of unit variance; a louder one in which channel 4 is the sum of 2 and 3.
        X = rng.standard_normal((20, 5, 4000))
        step = EpochCovariances("scm").fit(X)
        odd = 3 * X[:1]
        odd[0, 4] = odd[0, 2] - odd[0, 3]
        contrast = np.array([0, 0, 1, -1, -1]) / np.sqrt(3)
        assert abs(contrast @ odd[0]).max() < 1e-12
        filled = step.transform(odd)[0]
        # The average is the identity; the epoch has 9 times its power, and a little
        # more, since the sum of two channels is louder than one.
        assert 9 <= contrast @ filled @ contrast <= 14
        # What the epoch does say about itself stays.
        known = np.array([0, 1, 1, 0, 1]) / np.sqrt(3)
        assert known @ filled @ known == pytest.approx(np.var(known @ odd[0]), rel=0.01)

    def test_flat_channel_in_a_test_epoch(self, eeg):
        X, y, _, info = eeg
        model = make_baseline("tangent_space", info, estimator="scm").fit(X, y)
        broken = X[:4].copy()
        broken[0, 1] = 0
        broken[1] = 0
        assert np.isfinite(model.predict_proba(broken)).all()
