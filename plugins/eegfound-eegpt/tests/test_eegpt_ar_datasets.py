"""Tasks of different data sets: channels, rates and lengths of their own."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from eegfound_eegpt import EEGPTMultiTaskClassifier

import eegfound as ef
from eegfound.base import SpecError


def make(**params):
    given = {"size": "tiny", "max_epochs": 25, "lr": 5e-3}
    return EEGPTMultiTaskClassifier(**(given | params))


def rhythms(n_channels, n_times, rate, labels, seed, n=16):
    """Noise with one of two rhythms, and which."""
    rng = np.random.default_rng(seed)
    fast = rng.permutation(n) % 2
    time = np.arange(n_times) / rate
    wave = np.sin(2 * np.pi * np.where(fast, 25, 5)[:, None] * time + rng.uniform(0, 6, (n, 1)))
    X = 5e-6 * rng.standard_normal((n, n_channels, n_times)) + 4e-5 * wave[:, None]
    return X, np.asarray(labels)[fast]


def data_sets():
    sleep = rhythms(2, 640, 256, ["N3", "wake"], seed=0)
    motor = rhythms(3, 200, 128, ["left", "right"], seed=1)
    sets = {
        "sleep": (*sleep, ef.ChannelInfo(["EEG Fpz", "Pz"], 256)),
        "motor": (*motor, ef.ChannelInfo(["C3", "Cz", "C4"], 128)),
    }
    return sets, {task: np.arange(16) // 4 for task in sets}


def test_data_sets_of_different_shape():
    sets, groups = data_sets()
    mt = make().fit(sets)
    assert mt.tasks_ == ["sleep", "motor"]
    for task, (X, y, _) in sets.items():
        assert mt.score(X, y, task=task) > 0.9
        np.testing.assert_allclose(
            mt.predict_proba(X[:3], task=[task] * 3), mt.predict_proba(X, task=task)[:3], rtol=1e-9
        )
    again = pickle.loads(pickle.dumps(mt))
    X, _, _ = sets["motor"]
    np.testing.assert_array_equal(again.predict(X, task="motor"), mt.predict(X, task="motor"))
    stopped = make(early_stopping=True, max_epochs=5, validation_fraction=0.3)
    assert len(stopped.fit(sets, groups=groups).net_.history) <= 5
    weight = {task: np.ones(len(group)) for task, group in groups.items()}
    np.testing.assert_array_equal(
        make().fit(sets, sample_weight=weight).predict_proba(X, task="motor"),
        mt.predict_proba(X, task="motor"),
    )


def test_labels_of_data_sets_may_differ_in_kind():
    sets, _ = data_sets()
    X, y, names = sets["sleep"]
    mt = make(max_epochs=5).fit(sets | {"sleep": (X, np.where(y == "N3", 3, 0), names)})
    assert mt.classes_.tolist() == [0, 3, "left", "right"]
    assert set(mt.predict(X, task="sleep").tolist()) <= {0, 3}


def test_mistakes_in_data_sets_are_named():
    sets, groups = data_sets()
    X, y, _ = sets["sleep"]
    for wrong, told, extra in (
        ({}, "X is empty", {}),
        ({"sleep": X}, r"X\['sleep'\] must be a tuple", {}),
        (sets, "leave them out", {"y": y}),
        (sets, "leave them out", {"task": "sleep"}),
        (sets, "groups must be a mapping", {"groups": [0, 1]}),
        (sets, "of every task, or of none", {"groups": {"sleep": groups["sleep"]}}),
        ({"sleep": (X, y, ["Fpz", "Pz"])}, "no sampling rate", {}),
        ({"sleep": (X, y, ef.ChannelInfo(["Fpz", "Q7"], 256))}, "Q7", {}),
    ):
        with pytest.raises(SpecError, match=told):
            make().fit(wrong, **extra)
