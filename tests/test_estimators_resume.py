"""Going on with a training that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import LambdaLR, StepLR

from eegfound.base import SignalWarning
from eegfound.estimators._observers import watching
from tests.helpers_training import Rates, classifier, task

pytestmark = pytest.mark.usefixtures("toy")

RESUMED = {
    "tuning": "full", "max_epochs": 6, "lr": 3e-3, "train_batch_size": 8, "n_threads": 1,
    "head_dropout": 0.3, "mixup": 0.3, "ema_decay": 0.9, "lr_schedule": "cosine", "warmup": 1,
}  # fmt: skip


def result(clf, X):
    return clf.net_.history[:, "train_loss"], clf.predict_proba(X)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    X, y, groups = task(16)
    clf = classifier(**RESUMED | {"max_epochs": 1}, resume_dir=tmp_path)
    clf.fit(X, y, groups=groups)
    (state,) = tmp_path.iterdir()
    digest = state.name.partition(".")[0]
    old, fresh, other = (tmp_path / f"{n}.part" for n in (f"{digest}a", f"{digest}b", "other"))
    for path in (old, fresh, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (1e9, 1e9))
    clf.fit(X, y, groups=groups)
    assert set(tmp_path.iterdir()) == {state, fresh, other}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True, "patience": 2, "lr": 0.05},
        {"lr_schedule": "onecycle", "optimizer": "amsgrad"},
        {"lr_schedule": "plateau", "tuning": "partial"},
        {"tuning": "head", "max_epochs": 8, "early_stopping": True},
        {"tuning": "conv_linear", "mixup": None},
    ],
    ids=str,
)
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, params):
    X, y, groups = task(48)
    params = RESUMED | params
    expected = result(classifier(**params).fit(X, y, groups=groups), X)
    for stop_at in (1, 3):
        with pytest.raises(_Killed), watching(_Kill(stop_at)):
            classifier(**params, resume_dir=tmp_path).fit(X, y, groups=groups)
    assert len(list(tmp_path.iterdir())) == 1
    resumed = classifier(**params, resume_dir=tmp_path).fit(X, y, groups=groups)
    for found, wanted in zip(result(resumed, X), expected):
        np.testing.assert_array_equal(found, wanted)
    # Finished: read back without training, also after early stopping.
    with watching(_Kill(0)):
        read = classifier(**params, resume_dir=tmp_path).fit(X, y, groups=groups)
    for found, wanted in zip(result(read, X), expected):
        np.testing.assert_array_equal(found, wanted)


class _Killed(Exception):
    """The machine is gone."""


class _Kill(Callback):
    """Stop at the first step of an epoch (counted from 0)."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) - 1 == self.epoch:
            raise _Killed


def test_another_training_does_not_take_up_the_state(tmp_path):
    X, y, _ = task(24)
    params = RESUMED | {"max_epochs": 2, "resume_dir": tmp_path}
    first = classifier(**params).fit(X, y)
    for change in ({"lr": 1e-3}, {"random_state": 1}, {"mixup": None}, {"max_epochs": 3}):
        other = classifier(**(params | change)).fit(X, y)
        plain = classifier(**(params | change | {"resume_dir": None})).fit(X, y)
        np.testing.assert_array_equal(other.predict_proba(X), plain.predict_proba(X))
    changed = classifier(**params).fit(X * 1.01, y)
    assert (changed.predict_proba(X) != first.predict_proba(X)).any()
    assert len(list(tmp_path.iterdir())) == 6


def test_callbacks_and_configuration_tell_trainings_apart(tmp_path):
    X, y, _ = task(24)
    params = RESUMED | {"max_epochs": 2, "resume_dir": tmp_path, "lr_schedule": None, "warmup": 0}
    trainings = [
        {"callbacks": [LRScheduler(StepLR, step_size=1, gamma=0.1)]},
        {"callbacks": [LRScheduler(StepLR, step_size=1, gamma=0.5)]},
        {"callbacks": [LRScheduler(LambdaLR, lr_lambda=lambda epoch: 0.2)]},
        {"callbacks": [LRScheduler(LambdaLR, lr_lambda=lambda epoch: 0.3)]},
        {"model_params": {"depth": 3}},
        {},
    ]
    for count, change in enumerate(trainings, start=1):
        for _ in range(2):
            kept = classifier(**(params | change)).fit(X, y)
        plain = classifier(**(params | change | {"resume_dir": None})).fit(X, y)
        np.testing.assert_array_equal(kept.predict_proba(X), plain.predict_proba(X))
        assert len(list(tmp_path.iterdir())) == count


class _Notes(Callback):
    """Records what is no number."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("confusion", np.eye(2))
        net.history.record("vector", torch.ones(3))
        net.history.record("where", Path("here"))


def test_callbacks_of_the_user_are_resumed_with(tmp_path):
    X, y, _ = task(24)
    params = RESUMED | {"lr_schedule": None, "warmup": 0}

    def fit(**more):
        callbacks = [LRScheduler(StepLR, step_size=1, gamma=0.5), _Notes()]
        return classifier(**params, callbacks=callbacks, **more).fit(X, y)

    with pytest.raises(_Killed), watching(_Kill(2)):
        fit(resume_dir=tmp_path)
    for found, wanted in zip(result(fit(resume_dir=tmp_path), X), result(fit(), X)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_state_begins_anew(tmp_path, damage):
    X, y, _ = task(24)
    params = RESUMED | {"max_epochs": 2, "resume_dir": tmp_path}
    expected = classifier(**params).fit(X, y).predict_proba(X)
    (state,) = tmp_path.iterdir()
    data = state.read_bytes()
    state.write_bytes(
        {"truncated": data[: len(data) // 2], "garbage": data[::-1], "empty": b""}[damage]
    )
    with pytest.warns(SignalWarning, match="begins anew"):
        again = classifier(**params).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), expected)


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path):
    X, y, _ = task(24)
    (tmp_path / "file").write_text("in the way")
    params = RESUMED | {"max_epochs": 2}
    with pytest.warns(SignalWarning, match="resume_dir"):
        clf = classifier(**params, resume_dir=tmp_path / "file").fit(X, y)
    plain = classifier(**params).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))


def test_a_killed_process_goes_on(tmp_path):
    """A real process, really killed."""
    program = textwrap.dedent(
        f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from eegfound.models import registry
        from eegfound.testing.toy import toy_model
        from eegfound.estimators._observers import watching
        from tests.helpers_training import classifier, task
        from skorch.callbacks import Callback
        class Slow(Callback):
            def on_epoch_begin(self, net, **kwargs):
                print("epoch", flush=True)
                time.sleep(0.3)
        X, y, _ = task(24)
        with registry.registered(toy_model("toy")), watching(Slow()):
            classifier(tuning="full", max_epochs=6, n_threads=1,
                       resume_dir={str(tmp_path)!r}).fit(X, y)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for _ in range(4):
        assert child.stdout.readline() == "epoch\n"
    child.kill()
    child.wait()
    child.stdout.close()
    X, y, _ = task(24)
    params = {"tuning": "full", "max_epochs": 6, "n_threads": 1}
    counted = Rates()
    with watching(counted):
        clf = classifier(**params, resume_dir=tmp_path).fit(X, y)
    assert len(counted.seen) <= 3
    expected = classifier(**params).fit(X, y)
    for found, wanted in zip(result(clf, X), result(expected, X)):
        np.testing.assert_array_equal(found, wanted)
