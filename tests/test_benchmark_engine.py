"""The loop: fair, repeatable, interruptible, and forgiving of broken pipelines."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from eegfound import ChannelInfo
from eegfound.base import SpecError
from eegfound.benchmark import BenchmarkResults, run_benchmark
from eegfound.benchmark.identity import describe, seeded
from eegfound.benchmark.routing import is_transductive
from tests.helpers_benchmark import by_value, flatten, make_data, run, same

by_value(__name__)


class Spy(ClassifierMixin, BaseEstimator):
    """Classifier that writes down what it was shown."""

    seen: list = []

    def __init__(self, tag="spy"):
        self.tag = tag

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.seen.append(("fit", X[:, 0, 0].tolist(), None if groups is None else groups.tolist()))
        return self

    def predict(self, X):
        self.seen.append(("predict", X[:, 0, 0].tolist(), None))
        return np.full(len(X), self.classes_[0])


class Recentring(Spy):
    """Classifier that wants the groups of the test epochs too."""

    def predict(self, X, groups=None):
        self.seen.append(("predict", X[:, 0, 0].tolist(), groups.tolist()))
        return np.full(len(X), self.classes_[0])


class Broken(ClassifierMixin, BaseEstimator):
    def __init__(self, when="always"):
        self.when = when

    def fit(self, X, y):
        if self.when == "always" or len(np.unique(X[:, 0, 0])) != len(X):
            raise ValueError("the electrode fell off")
        return self


class Stranger(DummyClassifier):
    def predict(self, X):
        return np.full(len(X), "martian")


@pytest.fixture
def data():
    return make_data()


@pytest.fixture
def pipelines():
    return {
        "lr": make_pipeline(FunctionTransformer(flatten), StandardScaler(), LogisticRegression()),
        "forest": make_pipeline(FunctionTransformer(flatten), RandomForestClassifier(5)),
        "dummy": DummyClassifier(strategy="prior"),
    }


def test_scores_agree_with_scikit_learn(pipelines, data):
    from sklearn.model_selection import cross_val_score

    X, y, groups = data
    results = run(pipelines, data, cv=GroupKFold(3))
    expected = cross_val_score(
        pipelines["lr"], X, y, groups=groups, cv=GroupKFold(3), scoring="balanced_accuracy"
    )
    ours = results.folds.query("pipeline == 'lr'")["score"]
    np.testing.assert_allclose(ours, expected)
    assert results.table()["pipeline"].tolist()[0] == "lr"


def test_tables_are_tidy(pipelines, data):
    results = run(pipelines, data, seeds=(0, 1))
    assert len(results.folds) == 3 * 2 * 3
    assert len(results.subjects) == 3 * 2 * 6
    assert len(results.predictions) == 3 * 2 * 48
    one = results.predictions.query("pipeline == 'lr' and seed == 1 and subject == 4")
    recalls = [(one[one.y_true == c].y_pred == c).mean() for c in ("left", "right")]
    row = results.subjects.query("pipeline == 'lr' and seed == 1 and subject == 4")
    assert row["score"].item() == pytest.approx(np.mean(recalls))
    assert results.facts["chance"] == pytest.approx(0.5, abs=0.01)
    assert results.facts["classes"] == {"left": 24, "right": 24}


def test_nothing_of_the_test_part_is_shown_in_fit(data):
    Spy.seen = []
    _, _, groups = data
    run({"spy": Spy()}, data)
    fits = [call for call in Spy.seen if call[0] == "fit"]
    tests = [call for call in Spy.seen if call[0] == "predict"]
    assert len(fits) == len(tests) == 3
    for (_, trained, given), (_, tested, _) in zip(fits, tests):
        assert not set(trained) & set(tested)
        assert len(trained) + len(tested) == 48
        assert given == groups[np.array(trained, dtype=int)].tolist()


def test_groups_reach_those_who_ask(data):
    _, _, groups = data
    Spy.seen = []
    piped = make_pipeline(FunctionTransformer(), Recentring())
    results = run({"alone": Recentring(), "piped": piped, "plain": Spy()}, data)
    for _, epochs, given in Spy.seen:
        if given is not None:
            assert given == groups[np.array(epochs, dtype=int)].tolist()
    assert sum(given is not None for kind, _, given in Spy.seen if kind == "predict") == 6
    marked = results.folds.groupby("pipeline")["transductive"].first()
    assert marked.to_dict() == {"alone": True, "piped": True, "plain": False}
    told = run({"plain": Spy()}, data, transductive=["plain"])
    assert told.folds["transductive"].all()


def test_a_search_inside_splits_by_subject(data):
    _X, _y, _groups = data
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(flatten), LogisticRegression()),
        {"logisticregression__C": [0.01, 1.0]},
        cv=GroupKFold(2),
    )
    results = run({"search": search}, data)
    assert not results.errors
    assert not is_transductive(search)


def test_a_broken_pipeline_harms_nobody(pipelines, data, capsys):
    results = run({"broken": Broken(), **pipelines, "stranger": Stranger()}, data, progress=True)
    assert set(results.errors) == {"broken", "stranger"}
    assert "the electrode fell off" in results.errors["broken"]
    assert "martian" in results.errors["stranger"]
    assert results.folds.query("pipeline == 'broken'")["score"].isna().all()
    table = results.table()
    assert table["pipeline"].tolist()[-2:] == ["broken", "stranger"]
    same_rest = run(pipelines, data)
    rest = table[table["error"].isna()]["score"].tolist()
    assert rest == same_rest.table()["score"].tolist()
    assert capsys.readouterr().err.count("the electrode fell off") == 1
    results.print()
    assert "failed" in capsys.readouterr().out


def test_same_seed_same_numbers_whatever_the_workers(pipelines, data):
    one = run(pipelines, data, seeds=(0, 7))
    same(one, run(pipelines, data, seeds=(0, 7)))
    same(one, run(pipelines, data, seeds=(0, 7), n_jobs=2))
    other = run(pipelines, data, seeds=(1, 8))
    assert not one.predictions["y_pred"].equals(other.predictions["y_pred"])


def test_seeds_reach_every_random_state(pipelines):
    copy = seeded(pipelines["forest"], 11)
    assert copy.get_params()["randomforestclassifier__random_state"] == 11
    assert pipelines["forest"].get_params()["randomforestclassifier__random_state"] is None


class Interrupting(LogisticRegression):
    """Ctrl-C in the third fold it is asked to fit."""

    fits = 0
    armed = True

    def fit(self, X, y, **params):
        Interrupting.fits += 1
        if Interrupting.armed and Interrupting.fits == 3:
            raise KeyboardInterrupt
        return super().fit(X, y, **params)


def test_ctrl_c_keeps_finished_folds_and_the_same_call_goes_on(data, tmp_path, capsys):
    pipelines = {"lr": make_pipeline(FunctionTransformer(flatten), Interrupting())}
    Interrupting.fits, Interrupting.armed = 0, True
    with pytest.raises(KeyboardInterrupt):
        run(pipelines, data, out=tmp_path)
    assert "2 of 3 folds kept" in capsys.readouterr().err
    assert len(list((tmp_path / "cells").iterdir())) == 2
    Interrupting.armed = False
    results = run(pipelines, data, out=tmp_path)
    assert Interrupting.fits == 4  # two finished, one interrupted, one more
    same(results, run(pipelines, data))


def test_resuming_needs_everything_to_be_the_same(data, tmp_path):
    X, y, groups = data

    def fits(pipeline, data=data, **options):
        Spy.seen = []
        run({"spy": pipeline}, data, out=tmp_path, **options)
        return sum(kind == "fit" for kind, *_ in Spy.seen)

    assert fits(Spy()) == 3
    assert fits(Spy()) == 0
    assert fits(Spy(), scoring="accuracy") == 0  # scores come from kept predictions
    assert fits(Spy(), resume=False) == 3
    assert fits(Spy(tag="other")) == 3
    assert fits(Spy(), seeds=(0, 1)) == 3
    assert fits(Spy(), cv=2) == 2
    assert fits(Spy(), (X * 2, y, groups)) == 3
    assert fits(Spy(), (X, y[::-1], groups)) == 3


def test_a_new_version_of_a_library_is_not_resumed(data, tmp_path, monkeypatch):
    Spy.seen = []
    run({"spy": Spy()}, data, out=tmp_path)
    monkeypatch.setattr("eegfound.benchmark.engine.versions", lambda: {"eegfound": "99"})
    run({"spy": Spy()}, data, out=tmp_path)
    assert sum(kind == "fit" for kind, *_ in Spy.seen) == 6


def test_failed_and_damaged_cells_are_run_again(data, tmp_path):
    run({"broken": Broken()}, data, out=tmp_path)
    Broken_when = {"broken": Broken(when="twins")}
    run(Broken_when, data, out=tmp_path)
    Spy.seen = []
    run({"spy": Spy()}, data, out=tmp_path)
    for cell in (tmp_path / "cells").iterdir():
        cell.write_text(cell.read_text()[:20])
    run({"spy": Spy()}, data, out=tmp_path)
    assert sum(kind == "fit" for kind, *_ in Spy.seen) == 6


def test_description_changes_with_what_matters(tmp_path):
    lr = make_pipeline(StandardScaler(), LogisticRegression(C=1.0))
    assert describe(lr) == describe(make_pipeline(StandardScaler(), LogisticRegression(C=1.0)))
    assert describe(lr) != describe(make_pipeline(StandardScaler(), LogisticRegression(C=2.0)))
    assert describe(FunctionTransformer(lambda x: x + 1)) != describe(
        FunctionTransformer(lambda x: x - 1)
    )
    json.dumps(describe(GridSearchCV(lr, {"logisticregression__C": np.logspace(-1, 1, 3)})))
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    before = describe(str(weights), "checkpoint")
    weights.write_bytes(b"two")
    assert describe(str(weights), "checkpoint") != before


def test_results_survive_writing_and_reading(pipelines, data, tmp_path):
    results = run(pipelines, data, out=tmp_path, dataset="sample", scoring="roc_auc")
    for name in ("folds", "subjects", "predictions", "comparison"):
        assert (tmp_path / f"{name}.csv").stat().st_size
        assert (tmp_path / f"{name}.parquet").stat().st_size
    again = BenchmarkResults.load(tmp_path)
    same(results, again)
    assert again.facts == json.loads(json.dumps(results.facts))
    pd.testing.assert_frame_equal(results.table(), again.table())
    assert len(pd.read_csv(tmp_path / "folds.csv")) == 9


def test_scoring_by_decision_values(pipelines, data):
    from sklearn.model_selection import cross_val_score

    X, y, groups = data
    results = run(pipelines, data, scoring="roc_auc", cv=GroupKFold(3))
    expected = cross_val_score(
        pipelines["lr"], X, y, groups=groups, cv=GroupKFold(3), scoring="roc_auc"
    )
    np.testing.assert_allclose(results.folds.query("pipeline == 'lr'")["score"], expected)
    assert results.folds.query("pipeline == 'dummy'")["score"].tolist() == [0.5] * 3


def test_one_label_per_subject(data):
    """As in diagnosis: a subject has one class, folds have both."""
    X, _, groups = data
    y = np.where(groups % 2, "patient", "control")
    results = run(
        {"lr": make_pipeline(FunctionTransformer(flatten), LogisticRegression())}, (X, y, groups)
    )
    assert results.subjects["score"].notna().all()
    assert results.folds["score"].between(0, 1).all()


def test_epochs_of_mne(pipelines, data):
    import mne

    X, y, groups = data
    epochs = mne.EpochsArray(X, mne.create_info(["C3", "Cz", "C4"], 100.0, "eeg"), verbose="error")
    results = run(pipelines, (epochs, y, groups))
    assert results.facts["sfreq"] == 100
    np.testing.assert_allclose(results.table()["score"], run(pipelines, data).table()["score"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": None}, "subject of each epoch"),
        ({"y": np.zeros(48)}, "label"),
        ({"y": np.linspace(0, 1, 48)}, "classifiers"),
        ({"y": np.zeros(5)}, "disagree"),
        ({"pipelines": {}}, "empty"),
        ({"scoring": "speed"}, "balanced_accuracy"),
        ({"info": ChannelInfo(["C3", "C4"], 100)}, "3 channels"),
        ({"transductive": ["nobody"]}, "nobody"),
        ({"reference": "nobody"}, "nobody"),
    ],
)
def test_mistakes_are_told(data, pipelines, change, message):
    X, y, groups = data
    arguments = {"pipelines": pipelines, "X": X, "y": y, "groups": groups, "progress": False}
    with pytest.raises(SpecError, match=message):
        run_benchmark(**(arguments | change))
