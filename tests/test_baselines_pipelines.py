"""The baselines do what they say on EEG of known structure."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_score, cross_validate

from eegfound import ChannelInfo, MontageMapper, Rereferencer
from eegfound.base import SignalWarning, SpecError, UnitError
from eegfound.baselines import (
    EpochCovariances,
    RankReducer,
    RecentredTangentSpace,
    get_baseline,
    list_baselines,
    make_baseline,
)
from eegfound.models import hookimpl, registry
from tests.helpers_eeg import make_eeg

pytestmark = pytest.mark.filterwarnings("ignore:.*without groups:eegfound.base.SignalWarning")

OWN = [
    "band_power", "csp_lda", "dummy", "fgmdm", "log_variance", "mdm", "tangent_space",
    "tangent_space_recentred",
]  # fmt: skip
INFORMED = [name for name in OWN if name != "dummy"]
COVARIANCE = ["tangent_space", "mdm", "fgmdm", "csp_lda", "tangent_space_recentred"]


@pytest.fixture(scope="module")
def eeg():
    return make_eeg()


def accuracy(estimator, X, y, groups):
    scores = cross_val_score(
        estimator, X, y, groups=groups, cv=LeaveOneGroupOut(), error_score="raise"
    )
    return scores.mean()


def test_all_are_listed():
    assert set(OWN) <= set(list_baselines())
    assert [n for n in OWN if get_baseline(n).transductive] == ["tangent_space_recentred"]
    assert "TRANSDUCTIVE" in get_baseline("tangent_space_recentred").summary
    assert [n for n in OWN if get_baseline(n).binary_only] == ["csp_lda"]


@pytest.mark.parametrize("name", INFORMED)
def test_finds_the_class_in_new_subjects(name, eeg):
    X, y, groups, info = eeg
    assert accuracy(make_baseline(name, info), X, y, groups) > 0.9


def test_dummy_is_at_chance(eeg):
    X, y, groups, info = eeg
    assert accuracy(make_baseline("dummy", info), X, y, groups) == 0.5


def test_group_k_fold_without_info(eeg):
    X, y, groups, _ = eeg
    scores = cross_val_score(
        make_baseline("tangent_space"), X, y, groups=groups, cv=GroupKFold(4), error_score="raise"
    )
    assert scores.mean() > 0.9


@pytest.mark.parametrize("name", OWN)
class TestContract:
    def test_same_predictions_from_epochs(self, name, eeg):
        mne = pytest.importorskip("mne")
        X, y, _, info = eeg
        raw_info = mne.create_info(list(info.ch_names), info.sfreq, "eeg")
        epochs = mne.EpochsArray(X, raw_info, verbose=False)
        expected = make_baseline(name, info).fit(X, y).predict_proba(X)
        from_epochs = make_baseline(name).fit(epochs, y)
        np.testing.assert_allclose(from_epochs.predict_proba(epochs), expected, atol=1e-6)

    def test_unit_does_not_matter(self, name, eeg):
        X, y, _, info = eeg
        volts = make_baseline(name, info).fit(X, y).predict_proba(X)
        options = {} if name == "dummy" else {"unit": "uV"}
        micro = make_baseline(name, info, **options).fit(X * 1e6, y).predict_proba(X * 1e6)
        np.testing.assert_allclose(volts, micro, atol=1e-6)

    def test_float32_volts_do_not_underflow(self, name, eeg):
        X, y, _, info = eeg
        single = X.astype(np.float32)
        expected = make_baseline(name, info).fit(X, y).predict(X)
        found = make_baseline(name, info).fit(single, y).predict(single)
        assert (found == expected).mean() > 0.98

    def test_clone_and_pickle(self, name, eeg):
        X, y, _, info = eeg
        fitted = clone(make_baseline(name, info)).fit(X, y)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(fitted.predict_proba(X), again.predict_proba(X))

    def test_input_is_not_changed(self, name, eeg):
        X, y, _, info = eeg
        before = X.copy()
        make_baseline(name, info).fit(X, y).predict(X)
        np.testing.assert_array_equal(X, before)

    def test_labels_may_be_numbers(self, name, eeg):
        X, y, _, info = eeg
        codes = np.where(y == "class1", 7, -3)
        assert set(make_baseline(name, info).fit(X, codes).predict(X)) <= {-3, 7}


@pytest.mark.parametrize("name", INFORMED)
def test_nan_channels_say_interpolate_first(name, eeg):
    X, y, _, info = eeg
    X = X.copy()
    X[:10, 3] = np.nan
    with pytest.raises(SpecError, match=rf"{info.ch_names[3]}.*10.*interpolate"):
        make_baseline(name, info).fit(X, y)


@pytest.mark.parametrize("name", INFORMED)
def test_wrong_unit_is_named(name, eeg):
    X, y, _, info = eeg
    with pytest.raises(UnitError, match="unit='uV'"):
        make_baseline(name, info).fit(X * 1e6, y)


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


def test_csp_names_the_way_out_for_three_classes():
    X, y, _, info = make_eeg(n_subjects=2, n_classes=3, n_per_class=5)
    with pytest.raises(SpecError, match=r"at most 2 classes.*3.*tangent_space"):
        make_baseline("csp_lda", info).fit(X, y)


@pytest.mark.parametrize("name", ["tangent_space", "mdm", "fgmdm", "band_power", "log_variance"])
def test_three_classes(name):
    X, y, groups, info = make_eeg(n_subjects=3, n_classes=3, n_per_class=30, effect=3)
    assert accuracy(make_baseline(name, info), X, y, groups) > 0.75


def test_band_option_helps_against_noise_elsewhere():
    X, y, groups, info = make_eeg()
    time = np.arange(X.shape[-1]) / info.sfreq
    rng = np.random.default_rng(1)
    hum = rng.uniform(0, 2e-4, X.shape[:2])[..., None] * np.sin(2 * np.pi * 50 * time)
    plain = accuracy(make_baseline("log_variance", info), X + hum, y, groups)
    filtered = accuracy(make_baseline("log_variance", info, band=(6, 16)), X + hum, y, groups)
    assert filtered > 0.9 > plain


def test_band_needs_a_rate(eeg):
    X, y, _, info = eeg
    with pytest.raises(SpecError, match="info="):
        make_baseline("mdm", band=(8, 30)).fit(X, y)
    with pytest.raises(SpecError, match=r"h_freq=80 Hz.*64 Hz"):
        make_baseline("mdm", info, band=(8, 80)).fit(X, y)


def test_one_channel_windows():
    X, y, groups, _ = make_eeg(ch_names=("C3",), effect=20, subject_spread=0)
    for name in ("tangent_space", "mdm", "log_variance", "tangent_space_recentred"):
        assert accuracy(make_baseline(name), X[:, 0], y, groups) == pytest.approx(
            accuracy(make_baseline(name), X, y, groups)
        )


class TestRecentred:
    @pytest.fixture
    def shifted(self):
        """Subjects whose channels are scaled at random: whitening undoes that."""
        X, y, groups, info = make_eeg(effect=0.6, subject_spread=0)
        rng = np.random.default_rng(3)
        gain = np.exp(0.5 * rng.standard_normal((4, X.shape[1])))
        return X * gain[groups][..., None], y, groups, info

    def test_undoes_the_scaling_of_subjects(self, shifted):
        X, y, groups, _ = shifted
        plain, recentred = [], []
        for train, test in LeaveOneGroupOut().split(X, y, groups):
            model = make_baseline("tangent_space").fit(X[train], y[train])
            plain.append(model.score(X[test], y[test]))
            model = make_baseline("tangent_space_recentred")
            model.fit(X[train], y[train], groups=groups[train])
            recentred.append(model.score(X[test], y[test], groups=groups[test]))
        assert np.mean(recentred) > 0.9
        assert np.mean(recentred) > np.mean(plain) + 0.1

    def test_order_of_epochs_does_not_matter(self, shifted):
        X, y, groups, _ = shifted
        model = RecentredTangentSpace().fit(X, y, groups)
        order = np.random.default_rng(0).permutation(len(X))
        np.testing.assert_allclose(
            model.predict_proba(X, groups=groups)[order],
            model.predict_proba(X[order], groups=groups[order]),
            atol=1e-9,
        )

    def test_affine_invariance_within_a_recording(self, shifted):
        X, y, groups, _ = shifted
        model = RecentredTangentSpace("scm").fit(X, y, groups)
        one = X[groups == 2]
        gain = np.exp(np.random.default_rng(0).standard_normal(X.shape[1]))[:, None]
        same = np.full(len(one), "somebody")
        # Diagonal scaling of one recording leaves its eigenvalues after whitening.
        before, after = (model.front_.transform(v) for v in (one, one * gain))
        from eegfound.baselines.recentred import recentre

        np.testing.assert_allclose(
            np.linalg.eigvalsh(recentre(before, same)),
            np.linalg.eigvalsh(recentre(after, same)),
            rtol=1e-6,
        )

    def test_without_groups_warns(self, shifted):
        X, y, _, _ = shifted
        with pytest.warns(SignalWarning, match="fit without groups"):
            model = RecentredTangentSpace().fit(X, y)
        with pytest.warns(SignalWarning, match="predict without groups"):
            model.predict(X)

    def test_groups_of_wrong_length(self, shifted):
        X, y, groups, _ = shifted
        with pytest.raises(SpecError, match="groups has shape"):
            RecentredTangentSpace().fit(X, y, groups[:-1])

    def test_metadata_routing(self, shifted):
        X, y, groups, _ = shifted
        with sklearn.config_context(enable_metadata_routing=True):
            scores = cross_validate(
                RecentredTangentSpace(), X, y, cv=LeaveOneGroupOut(), params={"groups": groups},
                error_score="raise",
            )["test_score"]  # fmt: skip
        expected = []
        for train, test in LeaveOneGroupOut().split(X, y, groups):
            model = RecentredTangentSpace().fit(X[train], y[train], groups[train])
            expected.append(model.score(X[test], y[test], groups=groups[test]))
        np.testing.assert_allclose(scores, expected)


class TestRegistry:
    def test_unknown_name_and_option(self):
        with pytest.raises(SpecError, match="Did you mean 'tangent_space'"):
            make_baseline("tangentspace")
        with pytest.raises(SpecError, match=r"no option \['bnad'\].*band"):
            make_baseline("mdm", bnad=(8, 30))

    def test_plugin_baseline(self):
        class Plugin:
            @hookimpl
            def eegfound_baselines(self):
                return {"frequencies": "eegfound.baselines.factories:dummy"}

        with registry.registered(Plugin(), "test-baselines"):
            assert "frequencies" in list_baselines()
            assert make_baseline("frequencies").strategy == "prior"
        assert "frequencies" not in list_baselines()

    def test_listing_imports_nothing_heavy(self):
        code = (
            "import sys; from eegfound.baselines import list_baselines; list_baselines();"
            "print([m for m in ('torch', 'mne', 'pyriemann', 'sklearn') if m in sys.modules])"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert out.stdout.strip() == "[]"


def test_stacks_with_other_classifiers(eeg):
    from sklearn.ensemble import StackingClassifier

    X, y, groups, info = eeg
    stack = StackingClassifier(
        [("riemann", make_baseline("tangent_space")), ("power", make_baseline("band_power", info))],
        cv=2,
    )
    assert accuracy(stack, X, y, groups) > 0.9


def test_mne_info_is_taken(eeg):
    mne = pytest.importorskip("mne")
    X, y, _, info = eeg
    found = make_baseline("band_power", mne.create_info(list(info.ch_names), info.sfreq, "eeg"))
    expected = make_baseline("band_power", ChannelInfo(info.ch_names, info.sfreq))
    np.testing.assert_array_equal(
        found.fit(X, y).predict_proba(X), expected.fit(X, y).predict_proba(X)
    )
