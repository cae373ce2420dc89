"""Models unlike LaBraM need no change in the core: fixed layouts, front ends, positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import eegfound as ef
from eegfound.base import SignalWarning, SpecError
from eegfound.estimators import FoundationClassifier, FoundationTransformer
from eegfound.models import InputSpec, registry
from eegfound.models.network import EncoderNetwork, Tokens
from eegfound.testing import check_model
from eegfound.testing.toy import ToyEncoder, toy_model

CAP = ("Fz", "C3", "Cz", "C4", "Pz")


class FixedNet(EncoderNetwork):
    """Mixes electrodes with one matrix: all of them, in one order."""

    def __init__(self, pooling="mean"):
        super().__init__()
        self.width, self.n_layers = 48, 1
        self.mix = nn.Linear(len(CAP), 3)
        self.patch = nn.Linear(50, 48)

    def forward(self, batch, layer=None):
        mixed = self.mix(batch.signal.transpose(1, 2)).transpose(1, 2)
        n, c, _ = mixed.shape
        x = self.patch(mixed.reshape(n, c, -1, 50))
        x = x if layer == 0 else torch.tanh(x)
        times = torch.arange(x.shape[2]).repeat(c)
        return Tokens(x.flatten(1, 2), torch.full_like(times, -1), times)

    def layer_index(self, name):
        return 0 if name.startswith("mix") else 1


class PlacedNet(ToyEncoder):
    """Knows electrodes by their place on the head only."""

    def __init__(self, **config):
        super().__init__(**config)
        del self.electrode
        self.place = nn.Linear(3, self.width)

    def electrode(self, rows):
        return self._places

    def forward(self, batch, layer=None):
        self.__dict__["_places"] = self.place(10 * batch.positions.to(batch.signal))
        return super().forward(batch, layer)


class PowerNet(EncoderNetwork):
    """Takes the front end's features instead of a signal."""

    def __init__(self, pooling="mean"):
        super().__init__()
        self.width, self.n_layers = 48, 1
        self.up = nn.Linear(14, 48)

    def forward(self, batch, layer=None):
        x = self.up(batch.signal)
        x = x if layer == 0 else torch.tanh(x)
        channels = torch.arange(x.shape[1])
        return Tokens(x, channels, torch.full_like(channels, -1))

    def layer_index(self, name):
        return 0 if name.endswith("bias") else 1


class PowerFrontEnd:
    """Mean, spread and first samples of each channel, standardized over the training data."""

    def __init__(self, plan, *, power=1.0):
        self.plan, self.power = plan, power

    def _raw(self, signal):
        whole = [signal.mean(axis=-1), signal.std(axis=-1) ** self.power]
        return np.concatenate([np.stack(whole, axis=-1), signal[..., :12]], axis=-1)

    def fit(self, signal, groups=None, sample_weight=None):
        raw = self._raw(signal)
        weight = np.ones(len(raw)) if sample_weight is None else np.asarray(sample_weight)
        weight = np.broadcast_to(weight[:, None, None], raw.shape) * np.isfinite(raw)
        raw = np.nan_to_num(raw)
        self.mean_ = (weight * raw).sum(axis=(0, 1)) / weight.sum(axis=(0, 1))
        spread = (weight * (raw - self.mean_) ** 2).sum(axis=(0, 1)) / weight.sum(axis=(0, 1))
        self.scale_ = np.sqrt(spread) + 1e-6
        return self

    def transform(self, signal):
        return (self._raw(signal) - self.mean_) / self.scale_


def build_fixed(**config):
    return FixedNet(**config)


def build_placed(**config):
    return PlacedNet(**config)


def build_power(**config):
    return PowerNet(**config)


def declared(name, build, **changes):
    spec = {"sfreq": 100.0, "patch_samples": 50, "unit": "uV", "scale": 0.01}
    return toy_model(
        name,
        input=InputSpec(**(spec | changes.pop("spec", {}))),
        network=f"{__name__}:{build}",
        sizes={"small": {}},
        poolings=("mean", "max"),
        **changes,
    )


MODELS = {
    "fixed": declared(
        "fixed", "build_fixed", spec={"vocabulary": CAP, "accepts_missing": False}
    ),
    "placed": declared(
        "placed", "build_placed", spec={"patch_samples": 100, "needs_positions": True}
    ),
    "power": declared(
        "power", "build_power", spec={"vocabulary": CAP, "default_channel": "Cz"},
        front_end=f"{__name__}:PowerFrontEnd", front_end_options=("power",),
    ),
}  # fmt: skip


# The example plugin reads positions too, and runs the whole kit every day.
@pytest.fixture(
    params=[pytest.param(m, marks=[pytest.mark.slow] * (m == "placed")) for m in MODELS]
)
def model(request, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[build_fixed.__module__])
    with registry.registered(MODELS[request.param]):
        yield request.param


@pytest.fixture
def only(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[build_fixed.__module__])
    return lambda name: registry.registered(MODELS[name])


def eeg(n=4, n_channels=5, n_times=200):
    return 1e-5 * np.random.default_rng(0).standard_normal((n, n_channels, n_times))


@pytest.mark.parametrize("scikit_learn", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_kind_of_model_conforms(model, scikit_learn):
    assert len(check_model(model, scikit_learn=scikit_learn)) > (150 if scikit_learn else 15)


def test_a_fixed_layout_gets_its_own_order_or_an_error(only):
    X = eeg()
    with only("fixed"):
        plain = FoundationTransformer("fixed", checkpoint=None, info=ef.ChannelInfo(CAP, 100))
        order = [4, 2, 0, 1, 3]
        turned = ef.ChannelInfo([CAP[i] for i in order], 100)
        other = FoundationTransformer("fixed", checkpoint=None, info=turned)
        np.testing.assert_array_equal(other.fit_transform(X[:, order]), plain.fit_transform(X))
        few = FoundationTransformer("fixed", checkpoint=None, info=ef.ChannelInfo(CAP[:3], 100))
        with pytest.raises(SpecError, match=r"\['C4', 'Pz'\] are missing.*interpolate"):
            few.fit(X[:, :3])
        mapped = ef.prepare_for("fixed", ef.ChannelInfo(CAP[:3], 100)).fit_transform(X[:, :3])
        assert FoundationTransformer("fixed", checkpoint=None).fit_transform(mapped).shape == (
            4,
            48,
        )
        with pytest.warns(SignalWarning, match="stands in for each"):
            FoundationTransformer("fixed", checkpoint=None).fit(X[:, 0])


def test_a_front_end_is_fitted_with_the_estimator(only):
    X = eeg(30)
    X[::2, 1] *= 3
    y = np.tile(["loud", "quiet"], 15)
    with only("power"):
        info = ef.ChannelInfo(CAP, 100)
        for tuning in ("head", "full"):
            clf = FoundationClassifier(
                "power", checkpoint=None, info=info, tuning=tuning, max_epochs=30, lr=None,
                model_params={"power": 2.0},
            )  # fmt: skip
            assert clf.fit(X, y).score(X, y) > 0.8
            assert clf.front_end_.power == 2.0
        with pytest.raises(SpecError, match="model_params"):
            FoundationClassifier(
                "power", checkpoint=None, info=info, model_params={"depth": 3}
            ).fit(X, y)


def test_a_front_end_does_not_see_what_is_held_out(only):
    X, groups = eeg(40), np.repeat(np.arange(4), 10)
    y = np.tile(["loud", "quiet"], 20)
    params = {"checkpoint": None, "info": ef.ChannelInfo(CAP, 100), "early_stopping": True}
    with only("power"):
        first = FoundationClassifier("power", **params).fit(X, y, groups=groups)
        held = _held_out(groups)
        X[held] *= 5
        again = FoundationClassifier("power", **params).fit(X, y, groups=groups)
        np.testing.assert_array_equal(again.front_end_.scale_, first.front_end_.scale_)
        X[~held] *= 5
        other = FoundationClassifier("power", **params).fit(X, y, groups=groups)
        assert (other.front_end_.scale_ != first.front_end_.scale_).any()


def _held_out(groups):
    """Say which epochs early stopping holds out with the default seed."""
    from eegfound.estimators._validation import validation_split

    y = np.tile([0, 1], len(groups) // 2)
    _, valid = validation_split(y, groups, fraction=0.2, seed=0, stratify=True)
    return np.isin(np.arange(len(groups)), valid)


def test_positions_reach_the_network(only):
    X = eeg()
    with only("placed"):
        here = FoundationTransformer("placed", checkpoint=None, info=ef.ChannelInfo(CAP, 100))
        there = FoundationTransformer(
            "placed", checkpoint=None, info=ef.ChannelInfo(("O1", "C3", "Cz", "C4", "Pz"), 100)
        )
        assert np.abs(here.fit_transform(X) - there.fit_transform(X)).max() > 1e-4
        assert np.linalg.norm(here.plan_.positions, axis=1) == pytest.approx(0.1, abs=0.05)
