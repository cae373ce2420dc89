"""Conv-linear probing: any electrodes and rates through a frozen encoder."""

from __future__ import annotations

import pickle
import sys

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import eegfound as ef
from eegfound.base import SignalWarning, SpecError
from eegfound.estimators import FoundationClassifier, FoundationTransformer
from eegfound.estimators._adapter import any_electrodes, target_electrodes
from eegfound.estimators._conv_linear import by_moment
from eegfound.models import InputSpec, registry
from eegfound.models.files import fingerprint
from eegfound.models.network import EncoderNetwork, Tokens
from eegfound.nn import SpatialAdapter
from eegfound.testing.toy import ELECTRODES, ToyEncoder, toy_model
from tests.helpers_conv_linear import STRANGE, classifier, task

# The checks of scikit-learn need the model while tests are collected.
if "toy" not in registry.models():
    registry.register(toy_model())

LAYOUT = ("Fz", "C3", "Cz", "C4", "Pz")


class FixedNet(EncoderNetwork):
    """Needs its five electrodes in order; has a batch normalization and dropout."""

    def __init__(self, pooling="mean"):
        super().__init__()
        self.width, self.n_layers = 24, 1
        self.mix = nn.Conv1d(len(LAYOUT), 3, 1)
        self.norm = nn.BatchNorm1d(3)
        self.patch = nn.Linear(50, 24)
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch, layer=None):
        assert batch.ch_names == LAYOUT
        assert batch.rows.tolist() == list(range(5))
        x = self.norm(self.mix(batch.signal))
        n, c, _ = x.shape
        x = self.dropout(torch.tanh(self.patch(x.reshape(n, c, -1, 50))))
        times = torch.arange(x.shape[2]).repeat(c)
        return Tokens(x.flatten(1, 2), torch.full_like(times, -1), times)

    def layer_index(self, name):
        return 0


class PlacedNet(ToyEncoder):
    """Reads positions, knows no names."""

    def forward(self, batch, layer=None):
        assert batch.positions.shape == (batch.signal.shape[1], 3)
        self.__dict__["_shift"] = batch.positions.sum()
        turned = type(batch)(batch.signal, torch.arange(len(batch.ch_names)))
        return super().forward(turned, layer)


def build_fixed(**config):
    return FixedNet(**config)


def build_placed(**config):
    return PlacedNet(**config)


def _declared(name, build, *, options=None, **spec):
    given = {"sfreq": 100.0, "patch_samples": 50, "unit": "uV", "scale": 0.01} | spec
    return toy_model(
        name, input=InputSpec(**given), network=f"{__name__}:{build}", sizes={"small": {}},
        **(options or {}),
    )  # fmt: skip


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[build_fixed.__module__])
    return lambda *args, **kwargs: registry.registered(_declared(*args, **kwargs))


BIG = {"n_layers": 2, "batch_norm": True, "gelu": True, "temporal_kernel": 15, "dropout": 0.1}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"head": "linear"},
        {"head": "mlp", "adapter_channels": ["C3", "C4"]},
        {"adapter_options": BIG},
        {"adapter_options": BIG | {"bias": False, "temporal_padding": "valid"}},
        {"pooling": "mean", "layer": -1},
        {"pooling": "channels", "adapter_channels": 3},
    ],
)
def test_learns_from_electrodes_the_model_does_not_know(params):
    X, y, _ = task()
    clf = classifier(**{"max_epochs": 25} | params).fit(X[:24], y[:24])
    assert clf.ch_names_ == list(STRANGE.ch_names)
    assert clf.score(X, y) > 0.8
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), proba)
    alone = np.vstack([clf.predict_proba(x[None]) for x in X[:4]])
    np.testing.assert_allclose(alone, proba[:4], rtol=1e-12)
    refitted = clone(clf).fit(X[:24], y[:24])
    np.testing.assert_array_equal(refitted.predict_proba(X), proba)
    other = clone(clf).set_params(random_state=3).fit(X[:24], y[:24])
    assert (other.predict_proba(X) != proba).any()


def test_only_adapter_and_head_are_trained():
    X, y, _ = task()
    clf = classifier(max_epochs=3).fit(X, y)
    module = clf.net_.module_
    trained = {name: p.numel() for name, p in module.named_parameters()}
    # 5 channels to 19 electrodes; 2 patches of 16 features to 16 numbers; 2 x 16 to 2 scores.
    assert trained == {
        "network.adapter.conv_layers.0.weight": 5 * 19,
        "network.adapter.conv_layers.0.bias": 19,
        "head.body.linear_probe1.weight": 16 * 16,
        "head.body.linear_probe1.bias": 16,
        "head.body.linear_probe2.weight": 2 * 32,
        "head.body.linear_probe2.bias": 2,
    }
    held = [p for g in clf.net_.optimizer_.param_groups for p in g["params"]]
    assert {id(p) for p in held} == {id(p) for p in module.parameters()}
    encoder = clf.encoder_.network
    assert not any(p.requires_grad for p in encoder.parameters())
    assert all(p.grad is None for p in encoder.parameters())
    assert fingerprint(encoder.state_dict()) == clf.fingerprint_
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = SpatialAdapter(5, 19).conv_layers[0].weight
    now = module.network.adapter.conv_layers[0].weight
    assert now.shape == start.shape
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert now.flatten(1).norm(dim=1).max() <= 1 + 1e-2


def test_pickles_hold_no_encoder(tmp_path, toy):
    from eegfound.models.files import save_weights
    from eegfound.models.loading import build_random

    network = build_random(toy, "wide", None, {"width": 256}, seed=7)
    path = save_weights(
        tmp_path / "w.safetensors", network.state_dict(),
        {"model": "toy", "size": "wide", "config": {"width": 256}},
    )  # fmt: skip
    X, y, _ = task()
    clf = classifier(checkpoint=str(path), max_epochs=2, adapter_channels=["C3"]).fit(X, y)
    joblib.dump(clf, tmp_path / "clf.joblib")
    assert (tmp_path / "clf.joblib").stat().st_size < path.stat().st_size / 4
    again = joblib.load(tmp_path / "clf.joblib")
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_a_fixed_layout_takes_any_montage_and_stays_in_eval(registered):
    X, y, _ = task()
    with registered("fixed", "build_fixed", vocabulary=LAYOUT, accepts_missing=False):
        with pytest.raises(SpecError, match="does not know"):
            classifier(model="fixed", tuning="head").fit(X, y)
        clf = classifier(model="fixed", max_epochs=30).fit(X, y)
        assert clf.score(X, y) > 0.8
        network = clf.encoder_.network
        assert not any(m.training for m in network.modules())
        assert network.norm.num_batches_tracked == 0
        assert fingerprint(network.state_dict()) == clf.fingerprint_
        few = classifier(model="fixed", info=ef.ChannelInfo(("O2",), 300), max_epochs=1)
        assert few.fit(X[:, :1], y).predict(X[:, :1]).shape == (36,)
        with pytest.raises(SpecError, match=r"adapter_channels=\['C3'\] has 1 of the 5"):
            classifier(model="fixed", adapter_channels=["C3"]).fit(X, y)
        turned = classifier(model="fixed", adapter_channels=LAYOUT[::-1], max_epochs=1)
        turned.fit(X, y)  # in the layout's own order: the network asserts that


def test_positions_are_those_of_the_target(registered):
    X, y, _ = task()
    with registered("placed", "build_placed", patch_samples=100, needs_positions=True):
        clf = classifier(model="placed", max_epochs=2).fit(X, y)
        target = clf.net_.module_.network.target
        assert len(target.names) == 19
        assert np.linalg.norm(target.positions, axis=1) == pytest.approx(0.1, abs=0.05)
        with pytest.raises(SpecError, match="adapter_channels=4: placed needs positions"):
            classifier(model="placed", adapter_channels=4).fit(X, y)


def test_a_model_without_vocabulary_gets_named_or_nameless_channels(registered):
    with registered("free", "build_placed", patch_samples=100):
        model = registry.get("free")
        assert len(target_electrodes(model).names) == 19
        assert target_electrodes(model, 3).names == ("virtual1", "virtual2", "virtual3")
        assert target_electrodes(model, ["a", "b"]).rows == (-1, -1)
        with pytest.raises(SpecError, match="adapter_channels='all': free has no list"):
            target_electrodes(model, "all")


def test_targets_in_a_vocabulary(toy):
    assert target_electrodes(toy).names == ELECTRODES
    assert target_electrodes(toy, "all").rows == tuple(range(19))
    assert target_electrodes(toy, 2).names == ("Fp1", "Fp2")
    assert target_electrodes(toy, ["T3", "cz"]).names == ("T7", "Cz")
    small = toy_model(input=InputSpec(sfreq=100, patch_samples=100, vocabulary=("Iz", "PO9")))
    assert target_electrodes(small).names == ("Iz", "PO9")
    for wrong in (0, True, 1.5, "C3", [], ["C3", 4], ["Iz"], ["T3", "T7"], 20):
        with pytest.raises(SpecError, match="adapter_channels"):
            target_electrodes(toy, wrong)


def test_front_ends_refuse(registered):
    X, y, _ = task()
    front = {"front_end": f"{__name__}:build_fixed"}
    with (
        registered("power", "build_fixed", vocabulary=LAYOUT, options=front),
        pytest.raises(SpecError, match=r"tuning='conv_linear'.*power has a front end"),
    ):
        classifier(model="power").fit(X, y)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layers": 2}, "some of"),
        (3, "must be a dict"),
        ({"n_layers": 0}, "n_layers=0 must be a positive integer"),
        ({"temporal_kernel": 2.5}, "temporal_kernel=2.5"),
        ({"temporal_padding": "full"}, "temporal_padding='full'"),
        ({"dropout": 1}, "dropout=1"),
        ({"max_norm": "big"}, "max_norm='big'"),
        ({"bias": 1}, "bias=1"),
    ],
)
def test_bad_adapter_options_are_named(options, told):
    X, y, _ = task(n=12)
    with pytest.raises(SpecError, match="adapter_options.*" + told):
        classifier(adapter_options=options).fit(X, y)


def test_a_filter_that_leaves_nothing_is_refused():
    X, y, _ = task(n=12, n_times=128)
    options = {"temporal_kernel": 15, "temporal_padding": "valid"}
    with pytest.raises(SpecError, match=r"86 samples are left.*temporal_padding='same'"):
        classifier(adapter_options=options).fit(X, y)


def test_channels_not_recorded_are_zero_to_the_filter():
    X, y, _ = task()
    X[::3, 4] = np.nan
    clf = classifier().fit(X, y)
    assert clf.score(X, y) > 0.8
    zeros = np.nan_to_num(X)
    np.testing.assert_array_equal(clf.predict_proba(zeros), clf.predict_proba(X))
    zeroed = classifier().fit(zeros, y).predict_proba(X)
    np.testing.assert_array_equal(zeroed, clf.predict_proba(X))


def test_what_is_no_eeg_is_left_out():
    X, y, _ = task(n=12)
    info = STRANGE.replace(
        ch_names=("EOG", "left", "right", "bad one", "STI 014"), bads=("bad one",)
    )
    with pytest.warns(SignalWarning):
        clf = classifier(info=info, max_epochs=1).fit(X, y)
    assert clf.ch_names_ == ["left", "right"]
    assert clf.net_.module_.network.adapter.conv_layers[0].in_channels == 2


def test_long_windows_are_read_in_pieces():
    X, y, _ = task(n=12, n_times=6 * 128)  # the toy takes four seconds
    clf = classifier(max_epochs=1).fit(X, y)
    assert clf.n_features_out_ == 6 * 16
    with pytest.raises(SpecError, match=r"16 features.*96"):
        clf.predict(X[..., :128])
    mean = classifier(max_epochs=1, pooling="mean").fit(X, y)
    assert mean.predict(X[..., :128]).shape == (12,)


def test_the_adapter_is_the_identity_where_it_should_be():
    """With the electrodes themselves as weights, the features are the encoder's own."""
    X, y, _ = task(sfreq=100.0, n_times=200)
    names = ("C3", "Cz", "C4", "O1", "Pz")
    info = ef.ChannelInfo(names, 100.0)
    clf = classifier(info=info, adapter_channels=names, pooling="mean", max_epochs=1).fit(X, y)
    network = clf.net_.module_.network
    with torch.no_grad():
        network.adapter.conv_layers[0].weight.copy_(torch.eye(5)[..., None])
        network.adapter.conv_layers[0].bias.zero_()
    ours = clf._features(X, np.ones((36, 5), bool), network=network)
    plain = FoundationTransformer("toy", checkpoint=None, info=info).fit_transform(X)
    np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_moments():
    values = torch.arange(24.0).reshape(1, 8, 3)
    minus, zeros = torch.full((8,), -1), torch.zeros(8, dtype=torch.int64)
    assert by_moment(Tokens(values, zeros, minus)) is None
    slices = by_moment(Tokens(values, minus, torch.arange(4).repeat(2)))
    assert slices.shape == (1, 4, 6)
    assert slices[0, 1].tolist() == [3, 4, 5, 15, 16, 17]
    channels = by_moment(Tokens(values, torch.tensor([0, 0, 1, 1, 2, 2, -1, -1]),
                                torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])))  # fmt: skip
    assert channels.tolist() == [[[6, 7, 8], [9, 10, 11]]]
    ragged = by_moment(Tokens(values, minus, torch.tensor([-1, 0, 0, 0, 1, 1, 1, 1])))
    np.testing.assert_allclose(ragged[0, 0], [6, 7, 8])


def test_the_open_declaration_keeps_rate_unit_and_reference(toy):
    opened = any_electrodes(toy).input
    assert opened.vocabulary is None
    assert (opened.sfreq, opened.scale, opened.max_samples) == (100.0, 0.01, 400)


def test_the_adapters_arithmetic():
    torch.manual_seed(0)
    adapter = SpatialAdapter(3, 4, n_layers=2, max_norm=0.5).eval()
    x = torch.randn(2, 3, 10)

    def bounded(w):
        norm = w.norm(dim=1, keepdim=True)
        return torch.where(norm > 0.5, w * 0.5 / (norm + 1e-7), w)

    first, second = adapter.conv_layers
    assert first.weight.shape == (6, 3, 1)
    expected = bounded(first.weight[..., 0]) @ x + first.bias[:, None]
    expected = bounded(second.weight[..., 0]) @ expected + second.bias[:, None]
    torch.testing.assert_close(adapter(x), expected, rtol=1e-5, atol=1e-6)
    assert SpatialAdapter(200, 58, n_layers=2).conv_layers[0].out_channels == 256


# The checks feed bare numbers of no unit, a few "samples" long: we warn, they go on.
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@pytest.mark.slow
@parametrize_with_checks(
    [
        FoundationClassifier(
            "toy",
            checkpoint=None,
            tuning="conv_linear",
            lr=0.03,
            max_epochs=25,
            head_dropout=0.0,
            train_batch_size=64,
            adapter_channels=["C3", "Cz", "C4"],
        )
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
