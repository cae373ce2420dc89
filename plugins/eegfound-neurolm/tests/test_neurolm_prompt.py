"""Asking the language model: prompts, zero-shot answers, calibration."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from eegfound_neurolm import NeuroLMPromptClassifier, byte_ids
from eegfound_neurolm.network import NeuroLM, lay_out
from eegfound_neurolm.prompt import Prompt
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model
from eegfound.models.network import SignalBatch

INFO = ef.ChannelInfo(["C3", "Cz", "C4"], 200)
YES_NO = {"prompt": (24361, 25), "options": [(5297,), (2949,)], "classes": ["yes", "no"]}


def make(**params):
    return NeuroLMPromptClassifier(**({"size": "tiny", "checkpoint": None, "info": INFO} | params))


def data(n=40):
    rng = np.random.default_rng(0)
    t = np.arange(400) / 200
    y = np.tile(["slow", "fast"], n // 2)
    rhythm = np.where((y == "fast")[:, None], np.sin(2 * np.pi * 20 * t), np.sin(2 * np.pi * 4 * t))
    return 2e-5 * rhythm[:, None] + 2e-6 * rng.standard_normal((n, 3, 400)), y


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks([NeuroLMPromptClassifier(size="tiny", checkpoint=None)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_what_options_share_belongs_to_the_question():
    prompt = Prompt.of((1, 2), [(357, 32, 8), (357, 33, 8)])
    assert prompt.text == (50257, 1, 2, 357)
    assert prompt.answers == (32, 33)
    assert Prompt.of((), [(5,), (6, 5)]).answers == (5, 6)
    assert Prompt.of((3,), [(5, 6)]).text == (50257, 3)


@pytest.mark.parametrize(
    ("question", "options", "told"),
    [
        ("Asleep?", [(1,)], "token ids"),
        ((1,), [], "at least one"),
        ((1,), [(1,), ()], "empty"),
        ((1,), [(1, 2), (1, 3), (4,)], "cannot tell"),
        ((1,), [(1, 2), (1, 2)], "cannot tell"),
        ((60000,), [(1,)], "outside"),
        (tuple(range(1000)), [(1,)], "at most"),
    ],
)
def test_prompts_that_cannot_be_asked(question, options, told):
    with pytest.raises(SpecError, match=told):
        Prompt.of(question, options)


def test_scores_are_those_of_reading_token_by_token():
    torch.manual_seed(0)
    options = [(7, 32), (7, 33), (7, 40)]
    network = NeuroLM(
        **get_model("neurolm").sizes["tiny"], features="prompt", prompt=(11, 12), options=options
    ).eval()
    signal = torch.randn(2, 3, 600)
    rows = torch.tensor([39, 41, 43])
    scores = network(SignalBatch(signal, rows)).values
    assert scores.shape == (2, 1, 3)
    patches, channels, seconds = lay_out(SignalBatch(signal, rows))
    x = network.tokenizer(patches, channels, seconds)
    x = network.encode_transform_layer(x) + network.pos_embed(channels)
    ids = torch.tensor([50257, 11, 12, 7])
    places = torch.cat([seconds, torch.tensor([3, 4, 5, 6])])
    x = torch.cat([x, network.GPT2.transformer["wte"](ids).expand(2, -1, -1)], dim=1)
    logits = network.GPT2.lm_head(network.GPT2(x, places))[:, -1]
    expected = logits[:, [32, 33, 40]].log_softmax(-1)
    assert torch.allclose(scores[:, 0], expected, atol=1e-5)
    with pytest.raises(SpecError, match="layer"):
        network(SignalBatch(signal, rows), layer=1)


def test_zero_shot_needs_no_labels():
    X, _ = data()
    clf = make(calibration=None, **YES_NO).fit(X)
    assert clf.classes_.tolist() == ["no", "yes"]
    assert set(clf.predict(X)) <= {"yes", "no"}
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    # Options belong to labels, in whatever order both are given.
    turned = YES_NO | {"options": YES_NO["options"][::-1], "classes": ["no", "yes"]}
    np.testing.assert_array_equal(make(calibration=None, **turned).fit(X).predict_proba(X), proba)
    scores = clf.transformer_.transform(X)
    np.testing.assert_allclose(np.log(proba), scores, atol=1e-6)
    # The options were sorted with the labels: "no" is 2949.
    assert clf.transformer_.encoder_.network.prompt.answers == (2949, 5297)


def test_labels_may_calibrate_the_answers():
    X, y = data()
    clf = make(prompt=byte_ids("Rhythm? (")).fit(X, y)
    assert clf.classes_.tolist() == ["fast", "slow"]
    assert clf.score(X[::2], y[::2]) == 1
    assert clf.score(X, y) > 0.9
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(clone(clf).fit(X, y).predict_proba(X), clf.predict_proba(X))
    # A class that no window had gets no probability.
    few = make(classes=["fast", "slow", "none"]).fit(X, y)
    assert few.classes_.tolist() == ["fast", "none", "slow"]
    assert (few.predict_proba(X)[:, 1] == 0).all()


def test_published_weights_answer(published):
    X, _ = data(4)
    clf = make(checkpoint=published["lm"], calibration=None, **YES_NO).fit(X)
    assert clf.transformer_.load_report_.ok
    assert np.isfinite(clf.predict_log_proba(X)).all()
    assert len(pickle.dumps(clf)) < 200_000  # the weights are referred to


def test_windows_longer_than_a_sequence_are_averaged():
    names = [name for name in get_model("neurolm").input.vocabulary[:100] if name]
    clf = make(info=ef.ChannelInfo(names, 200), calibration=None, **YES_NO)
    X = 1e-5 * np.random.default_rng(0).standard_normal((2, 100, 200 * 12))
    whole = clf.fit(X).transformer_.transform(X)
    halves = [clf.transformer_.transform(X[..., part]) for part in (np.s_[:1200], np.s_[1200:])]
    np.testing.assert_allclose(whole, np.mean(halves, axis=0), atol=1e-5)
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("params", "labels", "told"),
    [
        ({}, None, "y is None"),
        ({"calibration": None}, None, "classes"),
        ({"calibration": "isotonic"}, "y", "calibration"),
        ({"classes": ["slow"]}, "y", "does not list"),
        ({"options": [(1,)]}, "y", "1 answers for 2 classes"),
        ({"classes": ["a", "a"], "calibration": None}, None, "once"),
        ({"model_params": {"features": "lm"}}, "y", "model_params"),
    ],
)
def test_errors_say_what_to_change(params, labels, told):
    X, y = data(8)
    with pytest.raises(SpecError, match=told):
        make(**params).fit(X, None if labels is None else y)
