"""Journey 10 with every native model, on real EEG: train, kill, go on, save, use."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch

import eegfound as ef
from eegfound.models import get_model
from eegfound.models.files import read_metadata
from eegfound.pretraining.net import PretrainingNet
from tests.helpers_native import NATIVE
from tests.helpers_pretraining import as_member, losses, rows, run_two

TRAINED = [name for name in NATIVE if get_model(name).objective or get_model(name).stages]
pytestmark = pytest.mark.slow  # a few seconds each; every plugin has everyday tests of its own


def smallest(model):
    """Return the size with the fewest parameters."""

    def count(size):
        with torch.device("meta"):
            return sum(p.numel() for p in model.build(size).parameters())

    return min(model.sizes, key=count)


def sample():
    """A few windows of two seconds of four subjects, the electrodes a model takes."""
    X, _, groups, info = ef.datasets.load_sample()
    some = np.concatenate([np.flatnonzero(groups == g)[:4] for g in np.unique(groups)[:4]])
    return X[some], groups[some], info


def prepared(name):
    """The sample, mapped where a model needs all of its electrodes."""
    X, groups, info = sample()
    if not get_model(name).input.accepts_missing:
        mapper = ef.MontageMapper(target=name, info=info, missing="interpolate")
        return mapper.fit_transform(X), groups, None
    X = X.copy()
    X[::3, :2] = np.nan  # two electrodes were not recorded everywhere
    return X, groups, info


def pretrainer(name, info, **params):
    model = get_model(name)
    given = {
        "size": smallest(model), "info": info, "on_unknown": "drop", "on_short": "pad",
        "train_batch_size": 8, "micro_batch_size": 3, "max_epochs": max(2, len(model.stages)),
        "validation_fraction": 0.25,
    }  # fmt: skip
    return ef.make_pretrainer(name, **(given | params))


def tensors(pre):
    return {
        f"{stage}.{name}": value
        for stage, objective in pre.objectives_.items()
        for name, value in objective.state_dict().items()
        if torch.is_tensor(value)
    }


class Killed(Exception):
    """The machine is gone."""


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
def test_train_kill_go_on_and_use(name, tmp_path, monkeypatch):
    X, groups, info = prepared(name)
    whole = pretrainer(name, info).fit(X, groups=groups)
    assert np.isfinite(losses(whole) + losses(whole, "valid")).all()

    done, original = [], PretrainingNet.train_step

    def train_step(self, batch, **kwargs):
        done.append(batch)
        if len(done) == whole.n_steps_:
            raise Killed
        return original(self, batch, **kwargs)

    resumed = pretrainer(name, info, resume_dir=tmp_path, save_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(PretrainingNet, "train_step", train_step)
        with pytest.raises(Killed):
            resumed.fit(X, groups=groups)
    resumed.fit(X, groups=groups)
    assert rows(resumed) == rows(whole)
    expected = tensors(whole)
    for key, value in tensors(resumed).items():
        assert torch.equal(value, expected[key]), key

    path = resumed.save(tmp_path / "own.safetensors")
    encoder = ef.make_transformer(
        name, checkpoint=path, info=info, on_unknown="drop", on_short="pad"
    )
    features = encoder.fit_transform(X)
    assert np.isfinite(features).all()
    assert encoder.encoder_.size == smallest(get_model(name))
    assert encoder.load_report_.record == read_metadata(path)["record"]
    fresh = ef.make_transformer(
        name, checkpoint=None, size=encoder.encoder_.size, info=info, on_unknown="drop",
        on_short="pad",
    ).fit(X)  # fmt: skip
    assert fresh.fingerprint_ != encoder.fingerprint_


def member(rank, port, name, queue):
    as_member(rank, port)
    X, groups, info = prepared(name)
    pre = pretrainer(name, info).fit(X, groups=groups)
    queue.put((rank, rows(pre), {k: v.numpy() for k, v in tensors(pre).items()}))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
def test_two_processes(name):
    X, groups, info = prepared(name)
    one = pretrainer(name, info).fit(X, groups=groups)
    queue = multiprocessing.get_context("fork").Queue()
    found = {rank: rest for rank, *rest in run_two(member, name, queue, queue=queue, count=2)}
    for table, _ in found.values():
        totals = [row["total"] for row in table if row["split"] == "train"]
        np.testing.assert_allclose(totals, losses(one), rtol=1e-5, atol=1e-5)
    first, second = found[0][1], found[1][1]
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)
