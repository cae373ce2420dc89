"""Encoders whose forward passes are counted across processes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from eegfound.estimators import FoundationTransformer
from eegfound.models import registry
from eegfound.models.network import SignalBatch, Tokens
from eegfound.testing.toy import ToyEncoder, toy_model
from tests.helpers_toy import info

#: File to which every forward pass adds one line: a digest per distinct epoch in it.
COUNTED = "EEGFOUND_TEST_COUNTED"


class CountedEncoder(ToyEncoder):
    """The toy network, which writes down the epochs that pass it."""

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        place = os.environ.get(COUNTED)
        if place:
            # A filled-up batch holds copies of its own epochs: they are one pass.
            epochs = batch.signal.float().numpy()
            seen = {hashlib.sha1(epoch.tobytes()).hexdigest() for epoch in epochs}
            with open(place, "a") as file:
                file.write(" ".join(sorted(seen)) + "\n")
        return super().forward(batch, layer)


class SlowEncoder(CountedEncoder):
    """The same, taking its time."""

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        import time

        time.sleep(0.05)
        return super().forward(batch, layer)


def build_counted(**config):
    return CountedEncoder(**config)


def build_slow(**config):
    return SlowEncoder(**config)


class ShiftFrontEnd:
    """Subtracts the mean amplitude of the training data: another one after each fit."""

    def __init__(self, plan):
        self.plan = plan

    def fit(self, signal, groups=None, sample_weight=None):
        self.mean_ = float(np.nanmean(np.abs(signal)))
        return self

    def transform(self, signal):
        return signal - np.float32(self.mean_)


# Worker processes import this module with the first estimator that they unpickle.
for _model in (
    toy_model("counted", network=f"{__name__}:build_counted", micro_batch=4),
    toy_model("counted-slow", network=f"{__name__}:build_slow", micro_batch=4),
    toy_model(
        "counted-fitted", network=f"{__name__}:build_counted",
        front_end=f"{__name__}:ShiftFrontEnd",
    ),
):  # fmt: skip
    if _model.name not in registry.models():
        registry.register(_model)


class CountedTransformer(FoundationTransformer):
    """The frozen encoder of a counted model."""

    default_model = "counted"


def counted(**params):
    return CountedTransformer(**({"checkpoint": None, "info": info()} | params))


def passes(place: str | os.PathLike) -> list[str]:
    """Return the epochs that passed a counted network, each as often as it did."""
    path = Path(place)
    return path.read_text().split() if path.exists() else []
