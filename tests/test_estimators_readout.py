"""Training a model's own read-out, with its head."""

from __future__ import annotations

import pickle
import sys

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone

from eegfound.base import SpecError
from eegfound.models import registry
from eegfound.models.files import save_weights
from eegfound.models.loading import build_random
from eegfound.testing.toy import ToyEncoder, toy_model
from tests.helpers_training import classifier, task

pytestmark = pytest.mark.usefixtures("toy")


class GatedNet(ToyEncoder):
    """The toy with a read-out of its own: a gate on the pooled vector."""

    def __init__(self, **config):
        super().__init__(**config)
        self.gate = torch.nn.Linear(self.width, self.width)
        self.drop = torch.nn.Dropout(0.5)
        self.norm1 = torch.nn.BatchNorm1d(self.width)
        torch.nn.init.zeros_(self.gate.weight)

    def finish_pooling(self, pooled):
        pooled = self.norm1(self.drop(pooled))
        return pooled * torch.sigmoid(self.gate(pooled))

    def readout_parameters(self):
        return {"gate.weight", "gate.bias"}

    def layer_index(self, name):
        return 0 if name.startswith(("gate", "norm1")) else super().layer_index(name)


def build_gated(**config):
    return GatedNet(**config)


@pytest.fixture
def gated(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[build_gated.__module__])
    with registry.registered(toy_model("gated", network=f"{__name__}:build_gated")):
        yield registry.get("gated")


def test_readout_trains_the_models_own_readout_and_the_head(gated, tmp_path):
    X, y, _ = task()
    clf = classifier(model="gated", tuning="readout", max_epochs=30, lr=1e-2).fit(X[:40], y[:40])
    assert clf.score(X[40:], y[40:]) > 0.9
    network, head = clf.net_.module_.network, clf.net_.module_.head
    held = {id(p) for g in clf.net_.optimizer_.param_groups for p in g["params"]}
    trained = [network.gate.weight, network.gate.bias, *head.parameters()]
    assert held == {id(p) for p in trained}
    assert sum(p.numel() for p in trained) == 16 * 16 + 16 + 2 * 16 + 2
    own, moved = clf.encoder_.network.state_dict(), network.state_dict()
    assert {key for key in own if (own[key] != moved[key]).any()} == {"gate.weight", "gate.bias"}
    assert clf.net_.module_.train().head.training
    assert not any(m.training for m in network.modules())
    proba = clf.predict_proba(X)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), proba)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict_proba(X), proba)
    np.testing.assert_array_equal(clone(clf).fit(X[:40], y[:40]).predict_proba(X), proba)


def test_a_readout_pickles_without_the_frozen_part(gated, tmp_path):
    network = build_random(gated, "wide", None, {"depth": 60}, seed=7)
    path = save_weights(
        tmp_path / "w.safetensors", network.state_dict(),
        {"model": "gated", "size": "wide", "config": {"depth": 60}},
    )  # fmt: skip
    X, y, groups = task()
    clf = classifier(
        model="gated", checkpoint=str(path), tuning="readout", max_epochs=2, early_stopping=True
    ).fit(X, y, groups=groups)
    joblib.dump(clf, tmp_path / "clf.joblib")
    assert (tmp_path / "clf.joblib").stat().st_size < path.stat().st_size / 4
    again = joblib.load(tmp_path / "clf.joblib")
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_readout_without_a_readout_names_the_alternatives():
    X, y, _ = task(n=12)
    with pytest.raises(SpecError, match=r"tuning='readout'.*no read-out.*'conv_linear' or 'full'"):
        classifier(tuning="readout").fit(X, y)


@pytest.mark.parametrize("tuning", ["full", "readout"])
def test_repetition_is_weight_in_training_by_steps(gated, tuning):
    X, y, _ = task()
    weight = np.ones(len(X))
    weight[:10] = 3
    repeated = np.concatenate([np.arange(10), np.arange(len(X))[::-1], np.arange(10)])
    params = {"model": "gated", "tuning": tuning, "max_epochs": 3, "train_batch_size": 8}
    a = classifier(**params).fit(X, y, sample_weight=weight).predict_proba(X)
    b = classifier(**params).fit(X[repeated], y[repeated]).predict_proba(X)
    np.testing.assert_array_equal(a, b)
