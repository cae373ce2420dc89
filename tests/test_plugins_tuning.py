"""Every way of tuning with every native model, on real EEG."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from skorch.callbacks import Callback

import eegfound as ef
from eegfound.base import SpecError
from eegfound.estimators._observers import watching

#: Smallest size of each native model.
SIZES = {
    "labram": "tiny", "mmm": "paper", "dare": "nano", "eegpt": "tiny1", "eegpt-ar": "tiny",
    "specmoe": "expert", "neurolm": "tiny", "fome-style": "tiny",
}  # fmt: skip
TUNINGS = ("head", "partial", "full", "lora", "readout", "conv_linear", "two_stage")
#: Ways a model honestly has not, and what the error must name.
REFUSED = {("mmm", "conv_linear"): "front end"}
STEPS = {"lr": 3e-3, "max_epochs": 4, "train_batch_size": 12, "n_threads": 1}
EVERYDAY = {"labram", "dare"}


@pytest.fixture(scope="module")
def sample():
    """Two hands, four subjects, a window of two seconds."""
    X, y, groups, info = ef.datasets.load_sample()
    chosen = np.flatnonzero(np.isin(groups, np.unique(groups)[:4]))
    some = np.concatenate(
        [chosen[(groups[chosen] == g) & (y[chosen] == c)][:4]
         for g in np.unique(groups[chosen]) for c in np.unique(y)]
    )  # fmt: skip
    return X[some][..., : round(2 * info.sfreq)], y[some], groups[some], info


class Killed(Exception):
    """The machine is gone."""


class Kill(Callback):
    """Stop when the second epoch begins."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            raise Killed


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize(
    "model",
    [m if m in EVERYDAY else pytest.param(m, marks=pytest.mark.slow) for m in SIZES],
)
def test_trains_predicts_pickles_and_resumes(model, tuning, sample, tmp_path):
    X, y, groups, info = sample
    params = {
        "size": SIZES[model], "checkpoint": None, "info": info, "tuning": tuning,
        "on_unknown": "drop", "random_state": 0, **({} if tuning == "head" else STEPS),
    }  # fmt: skip

    def fit(**more):
        return ef.make_classifier(model, **params, **more).fit(X, y, groups=groups)

    if (model, tuning) in REFUSED:
        with pytest.raises(SpecError, match=REFUSED[model, tuning]):
            fit()
        return
    if tuning == "readout":
        network = ef.make_transformer(
            model, size=SIZES[model], checkpoint=None, info=info, on_unknown="drop"
        ).fit(X).encoder_.network  # fmt: skip
        if not network.readout_parameters():
            with pytest.raises(SpecError, match="readout"):
                fit()
            return
    clf = fit()
    losses = clf.net_.history[:, "train_loss"]
    assert losses[-1] < losses[0]
    chances = clf.predict_proba(X)
    assert set(clf.predict(X)) <= set(y)
    assert_only_claimed_tensors_moved(clf, tuning)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), chances)
    with pytest.raises(Killed), watching(Kill()):
        fit(resume_dir=tmp_path)
    resumed = fit(resume_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(resumed.net_.history[:, "train_loss"], losses)
    np.testing.assert_array_equal(resumed.predict_proba(X), chances)


def assert_only_claimed_tensors_moved(clf, tuning):
    """The encoder's own tensors are what the tuning says, and the count is right."""
    frozen = clf.encoder_.network
    module = clf.net_.module_
    before = frozen.state_dict()
    head = module if tuning == "head" else module.head
    n_head = sum(p.numel() for p in head.parameters())
    if tuning in ("head", "conv_linear"):
        added = 0 if tuning == "head" else sum(p.numel() for p in module.network.parameters())
        assert clf.n_trained_parameters_ == n_head + added
        return
    after = module.network.state_dict()
    moved = {name for name in before if (before[name] != after[name]).any()}
    sizes = {name: p.numel() for name, p in frozen.named_parameters()}
    assert moved
    if tuning == "partial":
        depth = frozen.n_layers - clf.options_.n_unfrozen
        assert {frozen.layer_index(name) > depth for name in moved} == {True}
        own = sum(n for name, n in sizes.items() if frozen.layer_index(name) > max(depth, 0))
        assert clf.n_trained_parameters_ == own + n_head
    elif tuning == "readout":
        assert moved <= frozen.readout_parameters()
        own = sum(sizes[name] for name in frozen.readout_parameters())
        assert clf.n_trained_parameters_ == own + n_head
    elif tuning == "lora":
        assert moved <= set(module.factors)
        shapes = [before[name].shape for name in module.factors]
        rank = clf.options_.lora_rank
        own = sum(rank * (shape[0] + int(np.prod(shape[1:]))) for shape in shapes)
        assert clf.n_trained_parameters_ == own + n_head
    else:
        assert clf.n_trained_parameters_ == sum(sizes.values()) + n_head
