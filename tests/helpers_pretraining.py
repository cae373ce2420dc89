"""Toy trainings: unlabelled windows of a few subjects, and Pretrainers of them."""

from __future__ import annotations

import multiprocessing
import os
import socket

import numpy as np

import eegfound as ef
from eegfound.estimators import FoundationPretrainer
from eegfound.models import registry
from eegfound.testing.toy import toy_model
from eegfound.testing.toy_pretraining import staged_toy_model

INFO = ef.ChannelInfo(("Fp1", "C3", "Cz", "C4", "O1"), 100.0)
MASKED = "eegfound.testing.toy_pretraining:build_masked"


def register():
    """Make the toy models known, once per process."""
    for model in (toy_model("masked-toy", objective=MASKED), staged_toy_model()):
        if model.name not in registry.models():
            registry.register(model)


register()


def windows(n=48, n_times=200, seed=0):
    """Rhythms of six subjects with noise, in volts; and the subjects."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_times) / 100
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    X = 2e-5 * np.sin(2 * np.pi * rng.choice([4, 8, 12], (n, 1, 1)) * t + phase)
    return X + 5e-6 * rng.standard_normal((n, 5, n_times)), np.arange(n) * 6 // n


def caps(X):
    """Let every third window lack two electrodes, and another one all but two."""
    X = X.copy()
    X[::3, :2] = np.nan
    X[1::6, 2:] = np.nan
    return X


def pretrainer(model="masked-toy", **params):
    given = {"info": INFO, "train_batch_size": 16, "micro_batch_size": 6, "max_epochs": 4}
    return FoundationPretrainer(model, **(given | params))


def losses(pre, split="train"):
    """Totals of all rows, in order."""
    return [row["total"] for row in pre.history_ if row["split"] == split]


def rows(pre):
    """Rows without what a clock has to do with."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in pre.history_]


def weights(pre):
    """All tensors of all stages."""
    return {
        f"{stage}.{name}": tensor.numpy()
        for stage, objective in pre.objectives_.items()
        for name, tensor in objective.state_dict().items()
    }


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def as_member(rank, port):
    """Be one of two processes, as `accelerate launch` would have it."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip


def run_two(target, *args, queue, count):
    """Run ``target(rank, port, *args)`` twice at once, and return what they put."""
    context, port = multiprocessing.get_context("fork"), free_port()
    team = [context.Process(target=target, args=(r, port, *args)) for r in range(2)]
    for process in team:
        process.start()
    found = [queue.get(timeout=240) for _ in range(count)]
    for process in team:
        process.join()
    assert [process.exitcode for process in team] == [0, 0]
    return found
