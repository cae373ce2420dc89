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

from eegfound import ChannelInfo
from eegfound.base import SignalWarning, SpecError, UnitError
from eegfound.baselines import (
    RecentredTangentSpace,
    get_baseline,
    list_baselines,
    make_baseline,
)
from eegfound.models import hookimpl, registry
from tests.helpers_eeg import accuracy, make_eeg

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
