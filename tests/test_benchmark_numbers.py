"""Scores, chance, statistics: against independent implementations and known cases."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from eegfound.base import SpecError
from eegfound.benchmark import stats, subject_folds
from eegfound.benchmark.metrics import METRICS, chance, check_scoring, score

labels = st.integers(2, 4).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=2, max_size=40),
    )
)
REFERENCE = {
    "balanced_accuracy": sk.balanced_accuracy_score,
    "accuracy": sk.accuracy_score,
    "f1_macro": lambda t, p: sk.f1_score(t, p, average="macro", zero_division=0),
    "f1_weighted": lambda t, p: sk.f1_score(t, p, average="weighted", zero_division=0),
    "cohen_kappa": sk.cohen_kappa_score,
}


@given(labels)
def test_scores_agree_with_scikit_learn(problem):
    n_classes, pairs = problem
    true, predicted = np.array(pairs).T
    for name in METRICS:
        ours = score(name, true, predicted, n_classes)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            theirs = REFERENCE[name](true, predicted)
        if np.isnan(ours) or np.isnan(theirs):
            assert name == "cohen_kappa"  # undefined where only one class occurs
            continue
        assert ours == pytest.approx(theirs, abs=1e-12), name


def test_area_under_the_curve():
    true = np.array([0, 0, 1, 1, 1])
    values = np.array([0.1, 0.4, 0.35, 0.8, 0.9])
    assert score("roc_auc", true, true, 2, values) == sk.roc_auc_score(true, values)
    assert np.isnan(score("roc_auc", true[:2], true[:2], 2, values[:2]))
    with pytest.raises(SpecError, match="two classes"):
        check_scoring("roc_auc", 3)
    with pytest.raises(SpecError, match="balanced_accuracy"):
        check_scoring("auc", 2)


@pytest.mark.parametrize("scoring", [*METRICS, "roc_auc"])
def test_chance_agrees_with_guessers_drawn_one_by_one(scoring):
    rng = np.random.default_rng(1)
    train, test = rng.choice(2, 90, p=[0.3, 0.7]), rng.choice(2, 60, p=[0.4, 0.6])
    mean, limit = chance(scoring, [(train, test)], 2, n_draws=4000)
    prior = np.bincount(train) / len(train)
    drawn = []
    for _ in range(2000):
        guess = rng.choice(2, len(test), p=prior)
        drawn.append(score(scoring, test, guess, 2, rng.normal(size=len(test))))
    assert mean == pytest.approx(np.mean(drawn), abs=0.01)
    assert limit == pytest.approx(np.quantile(drawn, 0.95), abs=0.04)  # scores come in steps


def test_chance_of_balanced_accuracy_is_one_over_the_number_of_classes():
    codes = np.repeat([0, 1, 2], [50, 30, 20])
    mean, limit = chance("balanced_accuracy", [(codes, codes)] * 3, 3)
    assert mean == pytest.approx(1 / 3, abs=0.01)
    assert limit > mean


class TestFolds:
    y = np.array(["a", "b"] * 12)
    groups = np.repeat([f"s{i}" for i in range(6)], 4)

    def test_every_subject_is_tested_once_and_never_trained_on_then(self):
        for cv, count in (("subject", 5), ("loso", 6), (3, 3)):
            folds = subject_folds(self.y, self.groups, cv)
            assert len(folds) == count
            tested = np.concatenate([fold.test for fold in folds])
            assert sorted(tested) == list(range(24))
            for fold in folds:
                assert not set(self.groups[fold.train]) & set(self.groups[fold.test])

    def test_seeds_draw_other_folds_and_the_same_seed_the_same(self):
        one, other = (subject_folds(self.y, self.groups, 3, [seed]) for seed in (0, 1))
        again = subject_folds(self.y, self.groups, 3, [0])
        assert [f.digest() for f in one] == [f.digest() for f in again]
        assert [f.digest() for f in one] != [f.digest() for f in other]

    @pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
    def test_a_leak_is_an_error(self):
        from sklearn.model_selection import KFold

        with pytest.raises(SpecError, match=r"training and in test"):
            subject_folds(self.y, self.groups, KFold(4))
        ready = [(np.arange(8, 24), np.arange(8))]
        assert len(subject_folds(self.y, self.groups, ready)) == 1

    @pytest.mark.parametrize("cv", ["kfold", 7, 1])
    def test_impossible_splits(self, cv):
        with pytest.raises(SpecError):
            subject_folds(self.y, self.groups, cv)

    def test_one_subject_is_not_enough(self):
        with pytest.raises(SpecError, match="two or more"):
            subject_folds(self.y, np.zeros(24), "loso")


class TestStatistics:
    def test_holm_on_a_worked_example(self):
        # Steps 4·.005, 3·.01, 2·.03, 1·.04 made monotone.
        adjusted = stats.holm([0.01, 0.04, 0.03, 0.005])
        np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_holm_is_monotone_and_between_raw_and_bonferroni(self, p):
        adjusted = stats.holm(p)
        assert (adjusted >= np.array(p) - 1e-12).all()
        assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
        order = np.argsort(p, kind="stable")
        assert (np.diff(adjusted[order]) >= -1e-12).all()

    def test_holm_leaves_nan_out(self):
        np.testing.assert_allclose(stats.holm([np.nan, 0.01, 0.02]), [np.nan, 0.02, 0.02])

    def test_corrected_t_is_the_ordinary_one_without_overlap(self):
        rng = np.random.default_rng(0)
        differences = rng.normal(0.3, 1, 12)
        ordinary = scipy_stats.ttest_1samp(differences, 0).pvalue
        assert stats.corrected_t(differences, 0.0) == pytest.approx(ordinary)
        assert stats.corrected_t(differences, 0.25) > ordinary
        assert np.isnan(stats.corrected_t(np.ones(5), 0.25))

    def test_signed_rank_agrees_with_scipy_and_needs_pairs(self):
        rng = np.random.default_rng(0)
        differences = rng.normal(0.5, 1, 20)
        expected = scipy_stats.wilcoxon(differences).pvalue
        assert stats.signed_rank(differences) == pytest.approx(expected)
        assert np.isnan(stats.signed_rank(np.array([0.1, 0.2, 0, 0, 0, 0, 0])))

    def test_tests_hold_their_level_when_nothing_differs(self):
        rng = np.random.default_rng(0)
        p = [stats.signed_rank(rng.normal(size=20)) for _ in range(400)]
        assert np.mean(np.array(p) < 0.05) < 0.09

    def test_interval_covers_the_mean_and_shrinks(self):
        rng = np.random.default_rng(0)
        few, many = rng.normal(0.1, 1, 20), rng.normal(0.1, 1, 500)
        for sample in (few, many):
            low, high = stats.interval(sample)
            assert low < sample.mean() < high
        assert np.diff(stats.interval(many)) < np.diff(stats.interval(few))

    def test_effect_size(self):
        assert stats.effect_size(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)
        assert np.isnan(stats.effect_size(np.array([1.0, 1.0])))


def tables(scores, kinds=None, transductive=(), failed=()):
    """Folds and subjects of made-up pipelines; every subject is a fold."""
    folds, subjects = [], []
    for name, values in scores.items():
        label = {
            "pipeline": name,
            "kind": (kinds or {}).get(name, "baseline"),
            "transductive": name in transductive,
            "seed": 0,
        }
        for i, value in enumerate(values):
            cost = {"fit_seconds": 1.0, "predict_seconds": 0.1, "memory_mb": 1.0}
            error = "E: no" if name in failed else None
            folds.append(
                {
                    **label,
                    "fold": i,
                    "score": value,
                    "n_train": 90,
                    "n_test": 10,
                    "error": error,
                    **cost,
                }
            )
            subjects.append({**label, "subject": i, "score": value})
    return pd.DataFrame(folds), pd.DataFrame(subjects)


def test_summary_is_ordered_by_mean_and_tells_both_spreads():
    rng = np.random.default_rng(0)
    low, high = rng.normal(0.5, 0.05, 10), rng.normal(0.7, 0.05, 10)
    summary = stats.summarize(*tables({"low": low, "high": high}))
    assert summary["pipeline"].tolist() == ["high", "low"]
    assert summary["score"].tolist() == pytest.approx([high.mean(), low.mean()])
    assert summary["sd_folds"][0] == pytest.approx(high.std(ddof=1))
    assert summary["predict_ms_per_epoch"][0] == pytest.approx(10.0)


def test_reference_is_the_best_inductive_baseline_that_finished():
    scores = {
        "fm": [0.9] * 8,
        "trans": [0.85] * 8,
        "broken": [0.8] * 8,
        "ts": [0.7] * 8,
        "bp": [0.6] * 8,
    }
    made = tables(scores, {"fm": "foundation"}, {"trans"}, {"broken"})
    assert stats.choose_reference(stats.summarize(*made)) == "ts"
    only = tables({"fm": [0.9] * 8}, {"fm": "foundation"})
    assert stats.choose_reference(stats.summarize(*only)) is None


def test_comparison_finds_a_real_difference_and_no_other():
    rng = np.random.default_rng(3)
    base = rng.uniform(0.5, 0.8, 24)
    scores = {
        "base": base,
        "better": base + 0.08 + rng.normal(0, 0.02, 24),
        "same": base + rng.normal(0, 0.05, 24),
        "guess": np.full(24, 0.5),
    }
    found = stats.compare(*tables(scores, {"guess": "chance"}), "base").set_index("pipeline")
    assert list(found.index) == ["better", "same"]
    assert found.loc["better", "p_subjects_holm"] < 0.01
    assert found.loc["better", "p_folds_holm"] < 0.01
    assert found.loc["better", "ci_low"] > 0
    assert found.loc["better", "n_subjects"] == 24
    assert found.loc["same", "p_subjects_holm"] > 0.05
    expected = scipy_stats.wilcoxon(scores["same"] - base).pvalue
    assert found.loc["same", "p_subjects"] == pytest.approx(expected)
