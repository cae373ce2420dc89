"""Classifier and Regressor: what is trained, what is not, what is kept."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.preprocessing import LabelEncoder
from skorch.callbacks import Callback, EpochScoring

import eegfound as ef
from eegfound.base import SpecError
from eegfound.estimators import FoundationRegressor
from eegfound.estimators._strategies import distinct
from eegfound.models.files import fingerprint, save_weights
from eegfound.models.loading import build_random
from tests.helpers_training import INFO, classifier, task

pytestmark = pytest.mark.usefixtures("toy")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"head": "mlp"},
        {"tuning": "full", "max_epochs": 8},
        {"tuning": "full", "layer_decay": 0.7, "max_epochs": 8, "head": "mlp", "head_dropout": 0.1},
    ],
)
def test_learns_predicts_strings_and_pickles(params):
    X, y, _ = task()
    clf = classifier(**params).fit(X[:40], y[:40])
    assert list(clf.classes_) == ["rest", "task"]
    assert clf.score(X[40:], y[40:]) > 0.9
    losses = clf.net_.history[:, "train_loss"]
    assert losses[-1] < losses[0]
    proba = clf.predict_proba(X[40:])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X[40:]), proba)
    np.testing.assert_array_equal(clone(clf).fit(X[:40], y[:40]).predict_proba(X[40:]), proba)


def test_head_leaves_the_encoder_alone_and_full_trains_a_copy():
    X, y, _ = task()
    head = classifier(tuning="head").fit(X, y)
    frozen = fingerprint(head.encoder_.network.state_dict())
    assert frozen == head.fingerprint_
    assert not any(p.requires_grad for p in head.encoder_.network.parameters())
    full = classifier(tuning="full", max_epochs=2).fit(X, y)
    assert fingerprint(full.encoder_.network.state_dict()) == frozen
    assert full.encoder_.network is head.encoder_.network
    tuned = full.net_.module_.network
    assert fingerprint(tuned.state_dict()) != frozen
    assert all(p.requires_grad for p in tuned.parameters())


def test_a_linear_head_is_ridge_penalised_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    X, y, _ = task()
    X[:, 1] += 2e-5 * np.random.default_rng(1).standard_normal(X[:, 1].shape)
    clf = classifier(max_epochs=60, weight_decay=0.05).fit(X, y)
    emb = ef.FoundationTransformer("toy", checkpoint=None, info=INFO).fit_transform(X).astype(float)
    emb = (emb - emb.mean(0)) / emb.std(0)
    # Two logits with an L2 penalty are one logit with half of it.
    ours = clf.decision_function(X)
    ref = LogisticRegression(C=1 / (0.025 * len(X)), tol=1e-10, max_iter=5000).fit(emb, y)
    np.testing.assert_allclose(ours, ref.decision_function(emb), atol=1e-3)


def test_weights_mean_repetition_and_classes_are_balanced():
    X, y, _ = task()
    weight = np.ones(len(X))
    weight[:10] = 3
    repeated = np.concatenate([np.arange(len(X)), np.arange(10), np.arange(10)])
    a = classifier().fit(X, y, sample_weight=weight).predict_proba(X)
    b = classifier().fit(X[repeated], y[repeated]).predict_proba(X)
    np.testing.assert_allclose(a, b, rtol=1e-7)
    few = np.flatnonzero((y == "rest") | (np.arange(len(y)) < 12))
    noisy = X[few] + 4e-5 * np.random.default_rng(0).standard_normal(X[few].shape)
    plain = classifier().fit(noisy, y[few]).predict_proba(X)[:, 1].mean()
    balanced = classifier(class_weight="balanced").fit(noisy, y[few]).predict_proba(X)[:, 1].mean()
    assert balanced > plain


class Spy(Callback):
    """Remember which epochs were held out."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        net.seen_ = [len(X), sorted(map(float, X.X[:, 0, 0])) if X.X.ndim == 3 else None]


def test_early_stopping_holds_whole_subjects_out():
    X, y, groups = task()
    X[:, 0, 0] = 1e-5 * (1 + groups)  # each subject leaves its mark in the signal
    clf = classifier(
        tuning="full", early_stopping=True, validation_fraction=0.3, patience=2, max_epochs=6,
        callbacks=[Spy()],
    ).fit(X, y, groups=groups)  # fmt: skip
    n_train, marks = clf.net_.seen_
    assert n_train == 40
    assert len({round(mark, 6) for mark in marks}) == 4
    assert len(clf.net_.history) <= 6
    assert {"valid_loss", "valid_acc"} <= set(clf.net_.history[0])


def test_early_stopping_keeps_the_best_weights():
    X, y, groups = task()
    y = np.random.default_rng(0).permutation(y)  # nothing to learn: it gets worse
    clf = classifier(
        early_stopping=True, patience=5, max_epochs=40, weight_decay=0.0, head="mlp"
    ).fit(X, y, groups=groups)
    losses = clf.net_.history[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    assert len(losses) == best + 6  # patience after the best epoch


def test_early_stopping_without_groups_warns():
    X, y, _ = task()
    with pytest.warns(UserWarning, match="cuts through subjects"):
        classifier(early_stopping=True).fit(X, y)
    with pytest.raises(SpecError, match="at least two groups"):
        classifier(early_stopping=True).fit(X, y, groups=np.zeros(len(X)))
    with pytest.raises(SpecError, match="validation_fraction="):
        classifier(early_stopping=True, validation_fraction=2).fit(X, y, groups=np.arange(len(X)))


def test_callbacks_are_copied_and_passed_through():
    X, y, _ = task()
    spy = Spy()
    clf = classifier(callbacks=[("spy", spy)]).fit(X, y)
    assert clf.net_.seen_[0] == len(X)
    assert dict(clf.net_.callbacks_)["spy"] is not spy
    assert not isinstance(spy, EpochScoring)
    assert clf.callbacks[0][1] is spy


def test_layer_wise_learning_rates():
    X, y, _ = task()
    clf = classifier(tuning="full", layer_decay=0.5, lr=1e-3, weight_decay=0.1, max_epochs=1).fit(
        X, y
    )
    network = clf.net_.module_.network
    by_id = {id(p): g for g in clf.net_.optimizer_.param_groups for p in g["params"]}
    for name, parameter in network.named_parameters():
        group = by_id[id(parameter)]
        expected = 1e-3 * 0.5 ** (network.n_layers + 1 - network.layer_index(name))
        assert group["lr"] == pytest.approx(expected), name
        exempt = parameter.ndim <= 1 or name in network.no_weight_decay()
        assert group["weight_decay"] == (0.0 if exempt else 0.1), name
    assert by_id[id(clf.net_.module_.head.body.weight)]["lr"] == 1e-3


def test_caps_may_differ_between_epochs():
    X, y, _ = task()
    X[::3, 4] = np.nan
    X[1::3, 0] = np.nan
    for tuning in ("head", "full"):
        clf = classifier(tuning=tuning, max_epochs=20, lr=None if tuning == "head" else 3e-3).fit(
            X, y
        )
        assert clf.score(X, y) > 0.9
        one = np.vstack([clf.predict_proba(x[None]) for x in X[:6]])
        np.testing.assert_allclose(one, clf.predict_proba(X)[:6], atol=1e-12)


def test_training_leaves_the_users_random_numbers_alone():
    X, y, _ = task()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a = classifier(tuning="full", max_epochs=2, random_state=1).fit(X, y).predict_proba(X)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    b = classifier(tuning="full", max_epochs=2, random_state=1).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(a, b)
    c = classifier(tuning="full", max_epochs=2, random_state=2).fit(X, y).predict_proba(X)
    assert np.abs(a - c).max() > 0


def test_metadata_is_routed():
    X, y, groups = task()
    with sklearn.config_context(enable_metadata_routing=True):
        clf = classifier(early_stopping=True, patience=2, max_epochs=3)
        clf.set_fit_request(groups=True, sample_weight=True).set_score_request(sample_weight=True)
        weight = np.ones(len(X))
        scores = cross_val_score(
            clf, X, y, cv=GroupKFold(3), params={"groups": groups, "sample_weight": weight},
            error_score="raise",
        )  # fmt: skip
        search = GridSearchCV(
            clf, {"tuning": ["head", "full"]}, cv=GroupKFold(3), error_score="raise"
        )
        search.fit(X, y, groups=groups, sample_weight=weight)
    assert scores.min() > 0.8
    assert search.best_score_ > 0.8


def test_pickle_of_a_head_refers_to_published_weights(tmp_path, toy):
    network = build_random(toy, "wide", None, {"width": 256}, seed=7)
    path = save_weights(
        tmp_path / "w.safetensors",
        network.state_dict(),
        {"model": "toy", "size": "wide", "config": {"width": 256}},
    )
    X, y, _ = task()
    clf = classifier(checkpoint=str(path)).fit(X, y)
    joblib.dump(clf, tmp_path / "clf.joblib")
    assert (tmp_path / "clf.joblib").stat().st_size < path.stat().st_size / 4
    again = joblib.load(tmp_path / "clf.joblib")
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_pickles_carry_no_training_data():
    X, y, groups = task(n=120, n_times=400)
    clf = classifier(tuning="full", max_epochs=1, early_stopping=True).fit(X, y, groups=groups)
    assert len(pickle.dumps(clf)) < X.nbytes / 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tuning": "everything"}, "tuning="),
        ({"head": "hydra"}, "head="),
        ({"head": "two_linear"}, "head='two_linear'.*tuning='conv_linear'"),
        ({"max_epochs": 0}, "max_epochs="),
        ({"layer_decay": 1.5}, "layer_decay="),
    ],
)
def test_bad_parameters_are_named(params, message):
    X, y, _ = task(n=12)
    with pytest.raises(ValueError, match=message):
        classifier(**params).fit(X, y)


@pytest.mark.parametrize("tuning", ["head", "full"])
def test_regressor(tuning):
    rng = np.random.default_rng(0)
    X = 1e-6 * rng.standard_normal((60, 5, 200))
    power = rng.uniform(0, 3, len(X))
    X[:, 1] += 1e-5 * power[:, None] * np.sin(2 * np.pi * 8 * np.arange(200) / 100)
    both = np.column_stack([100 + 5 * power, -power])
    reg = FoundationRegressor("toy", checkpoint=None, info=INFO, tuning=tuning, max_epochs=40)
    assert reg.fit(X, both).score(X, both) > 0.6
    assert reg.predict(X).shape == (60, 2)
    one = reg.fit(X, both[:, 0]).predict(X)
    assert one.shape == (60,)
    assert np.corrcoef(one, both[:, 0])[0, 1] > 0.8
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reg)).predict(X), one)


def test_labels_of_other_kinds():
    X, y, _ = task()
    as_numbers = classifier().fit(X, LabelEncoder().fit_transform(y) * 10 - 3)
    assert set(as_numbers.predict(X)) <= {-3, 7}
    as_flags = classifier().fit(X, y == "task")
    assert as_flags.predict(X).dtype == bool


@pytest.mark.parametrize("params", [{"tuning": "full"}, {"head": "mlp", "head_dropout": 0.2}])
def test_training_is_the_same_whatever_runs_beside(params):
    X, y, _ = task(n=24)

    def proba(seed):
        clf = classifier(max_epochs=3, random_state=seed, n_threads=1, **params)
        return clf.fit(X, y).predict_proba(X)

    alone = [proba(seed) for seed in range(4)]
    together = joblib.Parallel(4, backend="threading")(joblib.delayed(proba)(s) for s in range(4))
    np.testing.assert_array_equal(together, alone)


def test_tuned_networks_predict_in_lower_precision():
    X, y, _ = task()
    full = classifier(tuning="full", max_epochs=8, lr=3e-3).fit(X, y)
    half = full.set_params(dtype="bfloat16").predict_proba(X)
    np.testing.assert_allclose(half, full.set_params(dtype="float32").predict_proba(X), atol=0.1)
    classifier(tuning="full", max_epochs=2, dtype="bfloat16").fit(X, y).predict(X)


@pytest.mark.parametrize("tuning", ["head", "full"])
def test_epochs_without_weight_are_not_there(tuning):
    X, y, groups = task()
    weight = np.ones(len(X))
    weight[:30] = 0
    X[:30] *= -1
    params = {"tuning": tuning, "max_epochs": 3, "train_batch_size": 4}
    a = classifier(**params).fit(X, y, sample_weight=weight, groups=groups).predict_proba(X)
    b = classifier(**params).fit(X[30:], y[30:]).predict_proba(X)
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert np.isfinite(a).all()


def test_a_training_that_diverges_says_so():
    X, y, _ = task(n=12)
    with pytest.raises(FloatingPointError, match="smaller lr"):
        classifier(tuning="full", lr=1e30, max_epochs=5).fit(X, y)


def test_scoring_callbacks_work():
    X, y, groups = task()
    scores = EpochScoring("accuracy", lower_is_better=False, name="my_acc")
    for tuning in ("head", "full"):
        clf = classifier(
            tuning=tuning, max_epochs=3, early_stopping=True, callbacks=[scores]
        ).fit(X, y, groups=groups)  # fmt: skip
        assert all(0 <= value <= 1 for value in clf.net_.history[:, "my_acc"])
    reg = FoundationRegressor(
        "toy", checkpoint=None, info=INFO, max_epochs=2, early_stopping=True,
        callbacks=[EpochScoring("r2", lower_is_better=False)],
    )  # fmt: skip
    reg.fit(X, groups.astype(float), groups=groups)
    assert "r2" in reg.net_.history[0]


def test_groups_must_fit():
    X, y, _ = task(n=12)
    with pytest.raises(SpecError, match="groups has 3 entries"):
        classifier().fit(X, y, groups=[1, 2, 3])


def test_distinct_epochs():
    from eegfound.estimators._nets import WeightedData

    X = np.array([[1.0], [2.0], [1.0], [1.0]], dtype=np.float32)
    data = WeightedData(X, np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0]))
    index, weight = distinct(data)
    found = {(float(X[i, 0]), int(data.y[i])): w for i, w in zip(index, weight)}
    assert found == {(1.0, 0): 4.0, (2.0, 0): 2.0, (1.0, 1): 4.0}


def test_two_linear_head_in_full_tuning():
    X, y, _ = task()
    clf = classifier(
        tuning="full", head="two_linear", head_hidden=8, head_dropout=0.1, max_epochs=15, lr=5e-3
    ).fit(X, y)
    assert clf.score(X, y) > 0.9
    body = clf.net_.module_.head.body
    assert body.linear_probe1.weight.shape == (8, 16)
    assert body.dropout.p == 0.1
    assert body.linear_probe2.bounded().norm(dim=1).max() <= 0.25 + 1e-6
