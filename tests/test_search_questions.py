"""A study goes on only with the question that it was begun with."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EpochScoring

import eegfound as ef
from eegfound.base import SpecError
from eegfound.search import OptunaSearchCV, guard
from eegfound.search.space import Sampler
from tests.helpers_toy import NAMES, eeg, encoder, info

rng = np.random.default_rng(0)
y = np.tile([0, 1], 12)
X = rng.standard_normal((24, 3)) + y[:, np.newaxis]
SIGNALS = eeg(24)


@pytest.fixture
def ask(tmp_path):
    """Begin a study, and tell what keeps another search from going on with it."""

    numbers = itertools.count()

    def other_values(one, other, data=(X, X)):
        options = {
            "n_trials": 1, "cv": 2, "random_state": 0, "refit": False,
            "storage": f"sqlite:///{tmp_path / 'study.db'}", "study_name": f"no {next(numbers)}",
        }  # fmt: skip
        OptunaSearchCV(*one, **options).fit(data[0], y)
        try:
            OptunaSearchCV(*other, **options).fit(data[1], y)
        except SpecError as error:
            return str(error).partition("other values of: ")[2].partition(".")[0]
        return None

    return other_values


def column(number):
    return FunctionTransformer(lambda a, number=number: a[:, [number]])


def function(factor):
    def scaled(a):
        return a * factor

    return scaled


def question_of(sampler):
    return guard.question(
        X=X, y=y, fit_params={}, splits=[], estimator=LogisticRegression(), scoring=None,
        sampler=sampler,
    )["space"]  # fmt: skip


def test_values_of_one_name_are_told_apart(ask):
    pipe = make_pipeline(FunctionTransformer(), LogisticRegression())
    step, func = "functiontransformer", "functiontransformer__func"

    def told(name, one, other):
        return ask((pipe, {name: one}), (pipe, {name: other}))

    steps = [make_pipeline(column(1)), make_pipeline(column(2))]
    again = [make_pipeline(column(1)), make_pipeline(column(2))]
    assert told(step, steps, again) is None
    assert told(step, steps, again[::-1]) == "param_distributions"
    assert told(func, [function(1)], [function(1)]) is None
    assert told(func, [function(1)], [function(2)]) == "param_distributions"
    weights = [np.ones((2, 1500)), np.ones((2, 1500))]
    weights[1][0, 700] = 2
    one, other = (question_of(Sampler({"class_weight": [value]})) for value in weights)
    assert one != other


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
def test_encoders_of_many_channels_are_told_apart():
    """Their words are longer than what a study keeps of them."""
    names = [f"EEG {number:03d}" for number in range(40)]

    def described(**params):
        value = encoder(info=ef.ChannelInfo(names, 100.0), **params)
        return question_of(Sampler({"step": [value]}))

    assert described(layer=3) != described(layer=9)
    assert described(layer=3) == described(layer=3)


def test_plain_values_are_what_they_always_were():
    """A study of before goes on."""
    space = Sampler({"C": [1.0, 2.0], "ngram_range": [(1, 1), (1, 2)], "scorer": [None, "f1"]})
    assert [len(part) for part in space.describe()] == [3, 3, 3]


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
def test_how_long_it_takes_is_another_matter_in_every_estimator(ask):
    def net(batch_size):
        return MLPClassifier((2,), batch_size=batch_size, max_iter=2, random_state=0)

    alpha = {"alpha": [0.1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two iterations are few
        assert ask((net(4), alpha), (net(4), alpha)) is None
        assert ask((net(4), alpha), (net(12), alpha)) == "the estimator"
    own = [make_pipeline(encoder(batch_size=n), LogisticRegression()) for n in (2, 4)]
    C = {"logisticregression__C": [1.0]}
    assert ask((own[0], C), (own[1], C), (SIGNALS, SIGNALS)) is None
    named = [LogisticRegression(n_jobs=n, verbose=0) for n in (None, 1)]
    assert ask((named[0], {"C": [1.0]}), (named[1], {"C": [1.0]})) is None


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
def test_epochs_count_with_what_their_info_says(ask):
    mne = pytest.importorskip("mne")

    def epochs(names=NAMES, sfreq=100.0, bads=()):
        made = mne.EpochsArray(SIGNALS, mne.create_info(list(names), sfreq, "eeg"), verbose="error")
        made.info["bads"] = list(bads)
        return made

    search = (
        make_pipeline(encoder(info=None), LogisticRegression()), {"logisticregression__C": [1.0]}
    )  # fmt: skip
    assert ask(search, search, (epochs(), epochs())) is None
    for other in (epochs(NAMES[::-1]), epochs(sfreq=110.0), epochs(bads=["C3"])):
        assert ask(search, search, (epochs(), other)) == "X, y or the fit parameters"


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
@pytest.mark.filterwarnings("ignore:early_stopping without groups")
def test_callbacks_that_hold_functions(ask):
    def search(score):
        net = ef.FoundationClassifier(
            "toy", checkpoint=None, info=info(), max_epochs=1, early_stopping=True,
            callbacks=[("mine", EpochScoring(lambda net, data, y: score, name="own"))],
        )  # fmt: skip
        return net, {"weight_decay": [1.0]}

    assert ask(search(0.0), search(0.0), (SIGNALS, SIGNALS)) is None
    assert ask(search(0.0), search(1.0), (SIGNALS, SIGNALS)) == "the estimator"
