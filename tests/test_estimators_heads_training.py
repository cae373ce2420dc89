"""Heads that read more than one pooled vector, in the estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from eegfound.base import SpecError
from eegfound.estimators import FoundationClassifier, FoundationRegressor
from eegfound.estimators import _base as estimators_base
from eegfound.estimators import _encode as encoding
from eegfound.estimators._encode import check_features
from eegfound.estimators._heads import head_reading
from eegfound.models import registry
from tests.helpers_toy import eeg, info

NEW = ("attention", "conv_linear", "graph")


@pytest.fixture(autouse=True)
def _seeded(toy):
    torch.manual_seed(0)


def patchy(n=16):
    """Return windows of two classes that differ in one electrode, some not recorded."""
    X, y = eeg(n, n_times=300), np.arange(n) % 2
    X[y == 1, 1] += 2e-5 * np.sin(np.arange(300) / 3)
    X[::5, 3] = np.nan
    X[1::5, 0] = np.nan
    return X, y


@pytest.mark.parametrize("kind", NEW)
@pytest.mark.parametrize("tuning", ["head", "partial", "full"])
def test_every_head_trains_with_every_tuning(kind, tuning):
    X, y = patchy()
    options = {"max_epochs": 8, "random_state": 0}
    if tuning != "head":
        options |= {"lr": 5e-3, "train_batch_size": 8}
    model = FoundationClassifier(
        "toy", checkpoint=None, info=info(), head=kind, tuning=tuning, **options
    ).fit(X, y)
    losses = model.net_.history[:, "train_loss"]
    assert losses[-1] < losses[0]
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict_proba(X[::-1])[::-1], p)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), p)
    if kind != "conv_linear":  # an electrode that is missing is seen to be missing
        holes = X.copy()
        holes[:, 1] = np.nan
        assert not np.allclose(model.predict_proba(holes), p)


@pytest.mark.parametrize("kind", NEW)
def test_every_head_fits_numbers_one_electrode_and_one_patch(kind):
    X, y = eeg(10, n_channels=1, n_times=100), np.linspace(-1, 1, 10)
    X *= (2 + y)[:, None, None]
    model = FoundationRegressor(
        "toy", checkpoint=None, info=info(names=("Cz",)), head=kind, max_epochs=20, random_state=0,
        weight_decay=1e-4,
    )  # fmt: skip
    assert model.fit(X, y).score(X, y) > 0.5
    both = np.stack([y, -y], axis=1)
    assert model.fit(X, both).predict(X).shape == (10, 2)


def test_numbers_that_are_no_gap_are_refused():
    presence = np.array([[True, True, False], [True, True, True]])
    features = np.ones((2, 6, 4), dtype=np.float32)
    check_features(features, presence, "tokens")  # a model without electrodes has no gaps
    features[0, 4:] = np.nan
    check_features(features, presence, "tokens")
    for place, value in (((1, 0), np.nan), ((0, 0), np.nan), ((0, 0, 1), np.nan), ((1, 2), np.inf)):
        wrong = features.copy()
        wrong[place] = value
        with pytest.raises(SpecError, match="NaN or infinity"):
            check_features(wrong, presence, "tokens")
    for reading, wrong in (("moments", features), ("pooled", features[:, 4])):
        with pytest.raises(SpecError, match="NaN or infinity"):
            check_features(wrong, presence, reading)
    check_features(features[1:], presence[1:], "moments")
    check_features(features[:, 0], presence, "pooled")


def test_too_many_tokens_are_refused_before_they_fill_the_memory(monkeypatch):
    X, y = eeg(8), np.arange(8) % 2
    monkeypatch.setattr(encoding, "MOST_SLICED_BYTES", 8 * 10 * 16 * 4 - 1)
    model = FoundationClassifier(
        "toy", checkpoint=None, info=info(), head="attention", max_epochs=1
    )
    with pytest.raises(SpecError, match=r"10 vectors of 16 numbers.*'graph'"):
        model.fit(X, y)
    model.set_params(head="graph").fit(X, y)
    model.set_params(head="linear", pooling="flatten").fit(X, y)


@pytest.mark.parametrize("kind", ["attention", "graph"])
def test_trainings_in_steps_read_slices_a_few_epochs_at_a_time(kind, monkeypatch):
    X, y = patchy()
    options = {"head": kind, "max_epochs": 2, "random_state": 0, "tuning": "full"}
    model = FoundationClassifier("toy", checkpoint=None, info=info(), **options)
    expected = model.fit(X, y).predict_proba(X)
    monkeypatch.setattr(estimators_base, "BLOCK", 5)
    monkeypatch.setattr(encoding, "MOST_SLICED_BYTES", 5 * 15 * 16 * 4)
    np.testing.assert_allclose(model.fit(X, y).predict_proba(X), expected, atol=1e-5)
    if kind == "attention":
        with pytest.raises(SpecError, match="GiB"):
            model.set_params(head_start="probe").fit(X, y)


@pytest.mark.parametrize("tuning", ["head", "full"])
def test_a_ridge_start_is_the_same_for_attention_as_for_the_mean_token(tuning):
    X, y = patchy()
    options = {"max_epochs": 1, "lr": 1e-12, "head_start": "ridge", "tuning": tuning}
    scores = [
        FoundationClassifier("toy", checkpoint=None, info=info(), head=kind, pooling="mean",
                             random_state=0, **options).fit(X, y).predict_proba(X)
        for kind in ("linear", "attention")
    ]  # fmt: skip
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert (scores[0].argmax(axis=1) == y).mean() > 0.8
    with pytest.raises(SpecError, match=r"head_start='ridge'.*'probe'"):
        FoundationClassifier("toy", checkpoint=None, info=info(), head="graph", **options).fit(X, y)


# A plugin's head


class Loudest(nn.Module):
    """Reads electrodes; a plugin's head."""

    reading = "channels"

    def __init__(self, n_features, n_outputs, *, hidden=1, dropout=0.0, n_slices=1):
        super().__init__()
        self.n_slices, self.scores = n_slices, nn.Linear(n_features // n_slices, n_outputs)

    def forward(self, x):
        return self.scores(x.unflatten(1, (self.n_slices, -1)).nan_to_num(-9).amax(dim=1))


class Confused(Loudest):
    reading = "everything"


class HeadsPlugin:
    def eegfound_heads(self):
        return {"loudest": f"{__name__}:Loudest", "confused": f"{__name__}:Confused"}


@pytest.fixture
def plugin(monkeypatch):
    offered = HeadsPlugin().eegfound_heads()
    own = registry.contributions

    def contributions(hook):
        return own(hook) | offered if hook == "eegfound_heads" else own(hook)

    monkeypatch.setattr(registry, "contributions", contributions)


def test_a_plugins_head_says_what_it_reads(plugin):
    assert head_reading("loudest") == "channels"
    with pytest.raises(SpecError, match="head='confused' asks for reading='everything'"):
        head_reading("confused")
    X, y = eeg(8), np.arange(8) % 2
    model = FoundationClassifier("toy", checkpoint=None, info=info(), head="loudest", max_epochs=2)
    assert model.fit(X, y).predict(X).shape == (8,)
    assert model.net_.module_.body.n_slices == 5
