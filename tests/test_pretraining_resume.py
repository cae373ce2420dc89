"""A training that is killed goes on as if nothing had happened."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from eegfound.pretraining import progress, state
from eegfound.pretraining.net import PretrainingNet
from tests.helpers_pretraining import caps, pretrainer, rows, weights, windows

PARAMS = {
    "model": "staged-toy", "ema_decay": 0.9, "save_every": 2, "max_epochs": 3,
    "train_batch_size": 8,
}  # fmt: skip


def data():
    X, groups = windows(24)
    return caps(X), groups


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(number):
    """Die before a step; steps of all stages count."""

    def arrange():
        done, original = [], PretrainingNet.train_step

        def train_step(self, batch, **kwargs):
            if len(done) == number:
                die()
            done.append(batch)
            return original(self, batch, **kwargs)

        PretrainingNet.train_step = train_step

    return arrange


def half_a_state():
    """Die when half of a state is written."""
    written, original = [], torch.save

    def save(value, name):
        written.append(name)
        if len(written) == 4:
            whole = io.BytesIO()
            original(value, whole)
            with open(name, "wb") as file:
                file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            die()
        original(value, name)

    state.torch.save = save


def between_stages():
    """Die when a stage is finished, before the next one has begun."""
    state.StateFolder.drop_current = lambda self: die()


def while_measuring():
    """Die while held-out windows are measured for the second time."""
    seen, original = [], PretrainingNet.measure

    def measure(self, windows):
        seen.append(windows)
        return die() if len(seen) == 2 else original(self, windows)

    PretrainingNet.measure = measure


def half_a_row():
    """Die when half of a row is written."""
    original = progress.Metrics.add

    def add(self, row):
        if len(self.rows) == 7:
            with open(self.path, "a") as file:
                file.write(json.dumps(row)[:20])
            die()
        original(self, row)

    progress.Metrics.add = add


def victim(arrange, folder):
    arrange()
    X, groups = data()
    train(folder).fit(X, groups=groups)


def train(folder, **params):
    return pretrainer(**PARAMS, resume_dir=folder, metrics_file=folder / "metrics.jsonl", **params)


@pytest.fixture(scope="module")
def whole():
    """The training that nobody interrupts."""
    X, groups = data()
    return pretrainer(**PARAMS).fit(X, groups=groups)


def assert_same(again, whole):
    assert rows(again) == rows(whole)
    assert again.fingerprint_ == whole.fingerprint_
    expected = weights(whole)
    for name, tensor in weights(again).items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)
    for stage, kept in whole._carried.items():
        found = again._carried[stage]
        assert {k: found[k] for k in ("epochs", "steps")} == {
            k: kept[k] for k in ("epochs", "steps")
        }
        for number, memory in kept["optimizer"].items():
            for name, value in memory.items():
                torch.testing.assert_close(found["optimizer"][number][name], value, rtol=0, atol=0)


MOMENTS = {
    "first step": at_step(0), "step of the first stage": at_step(2), "last step": at_step(8),
    "measuring": while_measuring, "row": half_a_row,
}  # fmt: skip
EVERYDAY = {"middle of a pass": at_step(5), "state": half_a_state, "stages": between_stages}


@pytest.mark.parametrize(
    "arrange",
    [pytest.param(a, marks=pytest.mark.slow) for a in MOMENTS.values()] + list(EVERYDAY.values()),
    ids=[*MOMENTS, *EVERYDAY],
)
def test_kill_and_go_on(arrange, whole, tmp_path):
    child = multiprocessing.get_context("fork").Process(target=victim, args=(arrange, tmp_path))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    X, groups = data()
    again = train(tmp_path).fit(X, groups=groups)
    assert_same(again, whole)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == again.history_


def test_it_does_go_on(tmp_path, monkeypatch):
    child = multiprocessing.get_context("fork").Process(target=victim, args=(at_step(5), tmp_path))
    child.start()
    child.join()
    steps, original = [], PretrainingNet.train_step

    def train_step(self, batch, **kwargs):
        steps.append((self.stage, self.position_.step))
        return original(self, batch, **kwargs)

    monkeypatch.setattr(PretrainingNet, "train_step", train_step)
    X, groups = data()
    pre = train(tmp_path).fit(X, groups=groups)
    assert steps[0] == ("masked", 2), "two of the second stage's six steps were saved"
    assert len(steps) == pre.n_steps_ - 5
    steps.clear()
    assert_same(train(tmp_path).fit(X, groups=groups), pre)
    assert not steps, "a finished training is not done again"


@pytest.mark.slow
def test_other_data_or_parameters_are_another_training(whole, tmp_path):
    X, groups = data()
    train(tmp_path).fit(X, groups=groups)
    other = train(tmp_path, lr=2e-3).fit(X, groups=groups)
    assert rows(other) != rows(whole)
    assert rows(train(tmp_path).fit(1.01 * X, groups=groups)) != rows(whole)


def test_control_c_keeps_the_state(whole, tmp_path, monkeypatch):
    X, groups = data()
    original = PretrainingNet._pass

    def interrupted(self, part, batch):
        if self.stage == "masked" and self.position_.batch == 1 and part.number == 1:
            raise KeyboardInterrupt
        return original(self, part, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingNet, "_pass", interrupted)
        rarely = {**PARAMS, "save_every": 1e6}
        pre = pretrainer(**rarely, resume_dir=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            pre.fit(X, groups=groups)
    (kept,) = (torch.load(p) for p in tmp_path.glob("*.pt") if "tokenizer" not in p.name)
    assert kept["position"] == {"epoch": 0, "batch": 1, "step": 1, "n_windows": 7, "lr": 1e-2}
    assert_same(pretrainer(**rarely, resume_dir=tmp_path).fit(X, groups=groups), whole)


@pytest.mark.parametrize(
    "damage", [*(pytest.param(d, marks=pytest.mark.slow) for d in (b"", b"no state")), None]
)
def test_a_damaged_state_begins_anew(damage, whole, tmp_path):
    X, groups = data()
    train(tmp_path).fit(X, groups=groups)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:1000] if damage is None else damage)
    with pytest.warns(UserWarning, match="begins anew"):
        again = train(tmp_path).fit(X, groups=groups)
    assert_same(again, whole)


def test_a_full_disk_does_not_end_the_training(whole, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state.torch, "save", full)
    X, groups = data()
    with pytest.warns(UserWarning, match="resume_dir=.*No space left"):
        assert_same(pretrainer(**PARAMS, resume_dir=tmp_path).fit(X, groups=groups), whole)
    assert not list(tmp_path.iterdir()), "nothing half-written stays"
