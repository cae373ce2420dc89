"""Bad trials stop early, after a fold or after an epoch."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from eegfound.estimators import FoundationClassifier
from eegfound.estimators._observers import watching
from eegfound.search import OptunaSearchCV, ReportEpochs
from eegfound.search.pruning import FOLD, Judge
from tests.helpers_toy import eeg, info

X, y = np.zeros((40, 1)), np.tile([0, 1], 20)
EPOCHS: list[float] = []


class Fixed(ClassifierMixin, BaseEstimator):
    """Scores ``a`` and counts its fits."""

    fits: list[float] = []

    def __init__(self, a=0.0):
        self.a = a

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        Fixed.fits.append(self.a)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y):
        return self.a


def test_bad_trials_run_one_fold():
    values = [0.5, 0.6, 0.55, 0.9, 0.1, 0.2, 0.95]

    def suggest(trial):
        return {"a": trial.suggest_float("a", values[trial.number], values[trial.number])}

    Fixed.fits.clear()
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    search = OptunaSearchCV(Fixed(), suggest, n_trials=7, cv=4, pruner=pruner, refit=False)
    search.fit(X, y)
    assert {a: Fixed.fits.count(a) for a in values} == {
        0.5: 4, 0.6: 4, 0.55: 4, 0.9: 4, 0.1: 1, 0.2: 1, 0.95: 4,
    }  # fmt: skip
    states = search.cv_results_["trial_state"]
    assert [states[values.index(a)] for a in (0.1, 0.2)] == ["PRUNED", "PRUNED"]
    assert np.isnan(search.cv_results_["mean_test_score"][4])
    assert search.cv_results_["split0_test_score"][4] == 0.1
    assert search.best_params_ == {"a": 0.95}
    assert list(search.trials_[0].intermediate_values) == [FOLD, 2 * FOLD, 3 * FOLD, 4 * FOLD]


def test_without_pruner_all_folds_run():
    Fixed.fits.clear()
    space = {"a": FloatDistribution(0, 1)}
    OptunaSearchCV(Fixed(), space, n_trials=8, cv=4, refit=False).fit(X, y)
    assert len(Fixed.fits) == 32


def tuned():
    """A classifier whose epochs are counted, by learning rate."""

    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            EPOCHS.append(net.lr)

    EPOCHS.clear()
    return FoundationClassifier(
        "toy", checkpoint=None, info=info(), tuning="full", max_epochs=6, early_stopping=True,
        patience=50, random_state=0, callbacks=[Count()],
    )  # fmt: skip


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore:early_stopping without groups")
def test_bad_nets_stop_while_they_train():
    signals, labels = eeg(24, seed=1), np.tile([0, 1], 12)
    signals[labels == 1, 0] += 3e-5
    groups = np.repeat(np.arange(6), 4)
    rates = [1e-3, 2e-3, 1e-3, 1e-9, 1e-2]

    def suggest(trial):
        rate = rates[trial.number]
        return {"foundationclassifier__lr": trial.suggest_float("lr", rate, rate)}

    search = OptunaSearchCV(
        make_pipeline(tuned()), suggest, n_trials=5, cv=GroupKFold(2), refit=False,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
    ).fit(signals, labels, groups=groups)  # fmt: skip
    assert search.cv_results_["trial_state"][3] == "PRUNED"
    # Of 6 epochs in each of 2 folds.
    assert [EPOCHS.count(rate) for rate in (1e-9, 1e-3, 2e-3, 1e-2)] == [3, 24, 12, 12]
    assert list(search.trials_[0].intermediate_values) == [0, 1, 2, 3, 4, 5, FOLD, 2 * FOLD]
    assert all(step < FOLD for step in search.trials_[3].intermediate_values)


def test_a_net_of_ones_own_reports():
    skorch = pytest.importorskip("skorch")
    from torch import nn

    net = skorch.NeuralNetClassifier(
        nn.Linear, module__in_features=2, module__out_features=2, criterion=nn.CrossEntropyLoss,
        max_epochs=3, verbose=0, callbacks=[ReportEpochs("valid_acc")],
    )  # fmt: skip
    data = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    net.fit(data, y)  # outside a search nothing happens
    search = OptunaSearchCV(net, {"lr": [0.01, 0.1]}, n_trials=2, cv=2, pruner="median")
    search.fit(data, y)
    values = search.trials_[0].intermediate_values
    assert list(values) == [0, 1, 2, FOLD, 2 * FOLD]
    assert all(0 <= v <= 1 for v in values.values())
    silent = OptunaSearchCV(
        net.set_params(callbacks=None), {"lr": [0.1]}, n_trials=1, cv=2, pruner="median"
    ).fit(data, y)
    assert list(silent.trials_[0].intermediate_values) == [FOLD, 2 * FOLD]


def test_the_pruner_compares_like_with_like():
    seen = []

    class Look(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            others = study.get_trials(deepcopy=False)
            seen.append([dict(t.intermediate_values) for t in [trial, others[0]]])
            return False

    study = optuna.create_study(direction="maximize", pruner=Look())
    judge = Judge(study, study.ask())
    net = object()
    judge.after_epoch(net, 1, -0.5)
    judge.after_epoch(net, 1, -0.5)  # two callbacks in one net
    judge.after_epoch(net, 2, -0.4)
    other = object()  # of the same fold: counted through
    judge.after_epoch(other, 1, -0.3)
    judge.after_fold(0, 0.8)
    assert not judge.after_fold(1, float("nan"))
    first = {0: -0.5, 1: -0.4}
    assert [own for own, _ in seen] == [{0: -0.5}, first, first | {2: -0.3}, {0: 0.8}]
    assert all(own == other for own, other in seen)


class Killed(Callback):
    """Ends the process's work before an epoch."""

    def __init__(self, after):
        self.after = after

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.after:
            raise SystemExit("killed")


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore:early_stopping without groups")
def test_a_resumed_training_reports_what_a_whole_one_does(tmp_path):
    signals, labels = eeg(24, seed=1), np.tile([0, 1], 12)

    def search(name):
        net = tuned().set_params(resume_dir=tmp_path / name, callbacks=None)
        return OptunaSearchCV(
            net, {"lr": [1e-3]}, n_trials=1, cv=2, pruner="median", refit=False, random_state=0,
            storage=f"sqlite:///{tmp_path / name}.db", study_name="mine",
        )  # fmt: skip

    whole = search("whole").fit(signals, labels).trials_[0].intermediate_values
    assert list(whole) == [0, 1, 2, 3, 4, 5, FOLD, 2 * FOLD]
    with pytest.raises(SystemExit), watching(Killed(4)):
        search("killed").fit(signals, labels)
    assert search("killed").fit(signals, labels).trials_[0].intermediate_values == whole
    # A training that is found finished has epochs too.
    again = search("killed").set_params(study_name="other").fit(signals, labels)
    assert again.trials_[0].intermediate_values == whole
