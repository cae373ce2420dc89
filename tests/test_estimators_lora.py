"""``tuning="lora"``: what is trained, where it acts, what a pickle holds."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

import eegfound as ef
from eegfound.base import SpecError
from eegfound.estimators import FoundationClassifier, FoundationRegressor
from eegfound.estimators import _low_rank as low_rank
from eegfound.estimators._observers import watching
from eegfound.models import registry
from eegfound.models.files import fingerprint, save_weights
from eegfound.models.loading import build_random
from eegfound.models.network import SignalBatch, Tokens
from eegfound.testing.subject import Subject
from eegfound.testing.toy import ToyEncoder, toy_model
from tests.helpers_native import NATIVE

pytest.importorskip("peft")
pytestmark = pytest.mark.usefixtures("toy")

SMALL = {
    "dare": "nano", "eegpt": "tiny1", "eegpt-ar": "tiny", "labram": "tiny", "neurolm": "tiny",
    "specmoe": "expert",
}  # fmt: skip
INFO = ef.ChannelInfo(("Fp1", "C3", "Cz", "C4", "O1"), 100.0)


class ReaderNet(ToyEncoder):
    """The toy with torch's transformer layer, which reads weights itself, and dropout."""

    def __init__(self, **config):
        super().__init__(**config)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(self.width, 4, 24, dropout=0.3, batch_first=True)
            for _ in range(self.n_layers)
        )

    def forward(self, batch, layer=None):
        tokens = super().forward(SignalBatch(batch.signal, batch.rows), layer=0)
        x = tokens.values
        for block in self.layers[:layer]:
            x = block(x)
        return Tokens(self.norm(x) if layer is None else x, tokens.channels, tokens.times)


class SilentNet(ToyEncoder):
    """The toy with a linear layer whose weight is read, and which says that LoRA may have it."""

    def forward(self, batch, layer=None):
        tokens = super().forward(batch, layer)
        return Tokens(tokens.values @ self.silent.weight.T, tokens.channels, tokens.times)

    def __init__(self, **config):
        super().__init__(**config)
        self.silent = nn.Linear(self.width, self.width, bias=False)

    def lora_targets(self):
        return ("layers.*.1", "silent")


def build_reader(**config):
    return ReaderNet(**config)


def build_silent(**config):
    return SilentNet(**config)


@pytest.fixture
def odd(monkeypatch):
    """Models of this file, importable under its name."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[build_reader.__module__])
    reader = toy_model("reader", network=f"{__name__}:build_reader")
    silent = toy_model("silent", network=f"{__name__}:build_silent")
    with registry.registered(reader), registry.registered(silent):
        yield


def task(n=48, n_times=200):
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], n // 2)
    X = 1e-5 * rng.standard_normal((n, 5, n_times))
    X[y == 1, 1] += 3e-5 * np.sin(2 * np.pi * 8 * np.arange(n_times) / 100)
    return X, np.array(["rest", "task"])[y], np.arange(n) // (n // 6)


def classifier(**params):
    defaults = {"model": "toy", "checkpoint": None, "info": INFO, "tuning": "lora"}
    return FoundationClassifier(**(defaults | params))


def acts_everywhere(network, batch):
    """Check each target's matrices, alone: what they do, and that merging does the same."""
    network = network.eval().requires_grad_(False)
    with torch.no_grad():
        frozen = network(batch).values.clone()
    targets = low_rank.choose(network, None)
    adapted = copy.deepcopy(network)
    factors, _ = low_rank.add_low_rank(adapted, targets, rank=2, alpha=4.0, dropout=0.0)
    assert set(factors) == set(targets)
    merged = copy.deepcopy(network)
    low_rank.merge(merged, factors, 2.0)
    with torch.no_grad():  # B is zero: nothing has changed, to the bit
        assert torch.equal(merged(batch).values, frozen)
        torch.testing.assert_close(adapted(batch).values, frozen, rtol=0, atol=1e-6)
    torch.manual_seed(1)
    for name, (A, B) in factors.items():
        with torch.no_grad():
            B.normal_(std=0.5)
            merged = copy.deepcopy(network)
            low_rank.merge(merged, {name: (A, B)}, 2.0)
            deployed = merged(batch).values
        trained = adapted(batch).values.detach()  # with gradients, as in training
        change = (deployed - frozen).abs().max()
        assert change > 1e-4, f"{name} changes nothing"
        assert (trained - deployed).abs().max() < 1e-2 * change, name
        with torch.no_grad():
            B.zero_()
    with torch.no_grad():
        for _, B in factors.values():
            B.normal_(std=0.02)
        validated = adapted(batch).values.clone()
    trained = adapted(batch).values
    torch.testing.assert_close(validated, trained.detach(), rtol=1e-4, atol=1e-5)
    every = [B for _, B in factors.values()]
    assert all(gradient.any() for gradient in torch.autograd.grad(trained.square().sum(), every))
    return targets


@pytest.mark.skipif(len(NATIVE) < 3, reason="only some plugins are installed")
@pytest.mark.parametrize("name", NATIVE)
def test_every_target_of_a_native_model_acts(name):
    model = registry.get(name)
    torch.manual_seed(0)
    network = model.build(SMALL.get(name))
    batch = Subject(model, SMALL.get(name) or model.default_size).batch(1)
    targets = acts_everywhere(network, batch)
    layers = {network.layer_index(target) for target in targets}
    if name == "specmoe":  # its layers are stages, two of which are transformer blocks
        assert len(layers) == 2
    else:
        assert layers == set(range(1, network.n_layers + 1))
    assert all("attn" in t or "Attn" in t or "lin_1" in t or ".qkv" in t or ".proj" in t
               for t in targets)  # fmt: skip


def test_torchs_own_layers_are_adapted_although_they_read_weights(odd):
    torch.manual_seed(0)
    network = registry.get("reader").build()
    batch = Subject(registry.get("reader"), "small").batch(2)
    targets = acts_everywhere(network, batch)
    assert len(targets) == network.n_layers * 4  # in_proj_weight, out_proj, linear1, linear2
    assert not any(targets.values())
    X, y, _ = task()
    clf = classifier(model="reader", max_epochs=2).fit(X[:12], y[:12])
    own, moved = clf.encoder_.network.state_dict(), clf.net_.module_.network.state_dict()
    assert {key for key in own if (own[key] != moved[key]).any()} == set(targets)
    n_lora = sum(A.numel() + B.numel() for A, B in clf.net_.module_.factors.values())
    assert clf.n_trained_parameters_ == n_lora + 2 * 16 + 2
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


class Spy(Callback):
    """Notes what is trained, and in which mode."""

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            module = net.module_
            self.trained = {
                name: parameter.numel()
                for name, parameter in module.named_parameters() if parameter.requires_grad
            }  # fmt: skip
            held = {id(p) for group in net.optimizer_.param_groups for p in group["params"]}
            self.held = held == {id(p) for p in module.parameters() if p.requires_grad}
            self.training = {k for k, m in module.network.named_modules() if m.training}
            self.head = module.head.training
            self.rates = {
                name: group["lr"]
                for group in net.optimizer_.param_groups
                for name, p in module.named_parameters()
                if any(p is q for q in group["params"])
            }


def test_only_the_matrices_and_the_head_are_trained():
    X, y, _ = task()
    clf = classifier(
        max_epochs=25, lr=1e-2, lora_rank=3, lora_dropout=0.1, callbacks=[("spy", Spy())]
    ).fit(X[:30], y[:30])
    spy = dict(clf.net_.callbacks_)["spy"]
    assert spy.held
    assert spy.head
    lora = {name: n for name, n in spy.trained.items() if name.startswith("network.")}
    assert sum(lora.values()) == 2 * 3 * (16 + 16)  # two layers, r * (in + out)
    assert all("lora_" in name for name in lora)
    assert sum(spy.trained.values()) - sum(lora.values()) == 2 * 16 + 2
    assert spy.training
    assert all("lora_dropout" in name for name in spy.training)
    factors = clf.net_.module_.factors
    assert set(factors) == {"layers.0.1.weight", "layers.1.1.weight"}
    assert all(A.shape == (3, 16) and B.shape == (16, 3) and B.any() for A, B in factors.values())
    assert fingerprint(clf.encoder_.network.state_dict()) == clf.fingerprint_
    own, moved = clf.encoder_.network.state_dict(), clf.net_.module_.network.state_dict()
    assert {key for key in own if (own[key] != moved[key]).any()} == set(factors)
    losses = clf.net_.history[:, "train_loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert clf.score(X[30:], y[30:]) > 0.9


def test_alpha_is_twice_the_rank_unless_given():
    X, y, _ = task(12)
    params = {"max_epochs": 3, "lora_rank": 4}
    module = classifier(**params).fit(X, y).net_.module_
    A, B = module.factors["layers.0.1.weight"]
    change = module.network.layers[0][1].weight - module.handle.network.layers[0][1].weight
    assert change.abs().max() > 1e-4
    torch.testing.assert_close(change, 2.0 * B @ A, rtol=1e-2, atol=1e-7)
    assert classifier(lora_alpha=2.0, **params).fit(X, y).net_.module_.alpha == 2.0


def test_predictions_are_the_same_after_pickling_and_need_no_peft(tmp_path):
    network = build_random(registry.get("toy"), "wide", None, {"depth": 24}, seed=7)
    path = save_weights(
        tmp_path / "w.safetensors", network.state_dict(),
        {"model": "toy", "size": "wide", "config": {"depth": 24}},
    )  # fmt: skip
    X, y, groups = task()
    clf = classifier(
        checkpoint=str(path), max_epochs=2, early_stopping=True, lora_rank=1,
        lora_targets="layers.2?.1",
    ).fit(X, y, groups=groups)  # fmt: skip
    assert len(clf.net_.module_.factors) == 4
    proba = clf.predict_proba(X)
    dumped = pickle.dumps(clf)
    assert len(dumped) < path.stat().st_size / 2
    again = pickle.loads(dumped)
    np.testing.assert_array_equal(again.predict_proba(X), proba)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict_proba(X), proba)
    np.testing.assert_array_equal(copy.deepcopy(clf).predict_proba(X), proba)
    (tmp_path / "clf.pkl").write_bytes(dumped)
    np.save(tmp_path / "X.npy", X)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FRESH, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), proba)


#: Another process, with another number of threads, in which peft cannot be imported.
_FRESH = """
import pathlib, pickle, sys
sys.modules["peft"] = None
import numpy as np
import torch
from eegfound.models import registry
from eegfound.testing.toy import toy_model
torch.set_num_threads(2)
registry.register(toy_model())
folder = pathlib.Path(sys.argv[1])
clf = pickle.loads((folder / "clf.pkl").read_bytes())
np.save(folder / "proba.npy", clf.predict_proba(np.load(folder / "X.npy")))
"""


def test_a_seed_decides_and_a_killed_training_goes_on(tmp_path):
    X, y, _ = task(24)
    params = {"max_epochs": 4, "lora_dropout": 0.2, "train_batch_size": 8, "lr": 1e-2}
    whole = classifier(random_state=1, **params).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(
        classifier(random_state=1, **params).fit(X, y).predict_proba(X), whole
    )
    other = classifier(random_state=2, **params).fit(X, y).predict_proba(X)
    assert np.abs(other - whole).max() > 0

    class Killer(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise RuntimeError("killed")

    killed = classifier(random_state=1, resume_dir=tmp_path, **params)
    with pytest.raises(RuntimeError, match="killed"), watching(Killer()):
        killed.fit(X, y)
    assert len(list(tmp_path.iterdir())) == 1
    resumed = classifier(random_state=1, resume_dir=tmp_path, **params).fit(X, y)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole)
    assert len(resumed.net_.history) == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_rates_decay_by_layer():
    X, y, _ = task(12)
    clf = classifier(max_epochs=1, lr=1e-3, layer_decay=0.5, callbacks=[("spy", Spy())]).fit(X, y)
    rates = dict(clf.net_.callbacks_)["spy"].rates
    for layer, expected in ((0, 1e-3 * 0.5**2), (1, 1e-3 * 0.5)):
        of_layer = {
            rate for name, rate in rates.items() if name.startswith(f"network.layers.{layer}")
        }
        assert list(of_layer) == pytest.approx([expected])
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {1e-3}


def test_targets_behind_the_layer_that_is_read_are_left_out():
    X, y, _ = task(12)
    module = classifier(max_epochs=1, layer=1).fit(X, y).net_.module_
    assert set(module.factors) == {"layers.0.1.weight"}
    with pytest.raises(SpecError, match="up to layer=0"):
        classifier(max_epochs=1, layer=0).fit(X, y)


def test_named_targets():
    X, y, _ = task(12)
    module = classifier(max_epochs=1, lora_targets=["embed", "layers.1.*"]).fit(X, y).net_.module_
    assert set(module.factors) == {"embed.weight", "layers.1.1.weight"}
    with pytest.raises(
        SpecError, match=r"'q_proj' matches no linear layer.*has embed, layers\.\*\.\*"
    ):
        classifier(lora_targets=["embed", "q_proj"]).fit(X, y)
    for bad in ([], [3]):
        with pytest.raises(SpecError, match="lora_targets="):
            classifier(lora_targets=bad).fit(X, y)


def test_a_target_that_is_not_called_is_refused(odd):
    X, y, _ = task(12)
    with pytest.raises(SpecError, match=r"does not call 'silent' \(1 such\)"):
        classifier(model="silent").fit(X, y)


def test_the_kit_finds_targets_that_are_not_called(odd):
    from eegfound.testing.checks_training import _lora_acts_where_the_model_says as check

    with pytest.raises(AssertionError, match=r"read, not called: \['silent.weight'\]"):
        check(Subject(registry.get("silent"), "small"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lora_rank": 0}, "lora_rank="),
        ({"lora_alpha": -1.0}, "lora_alpha="),
        ({"lora_dropout": 1.0}, "lora_dropout="),
    ],
)
def test_bad_parameters_are_named(params, message):
    X, y, _ = task(12)
    with pytest.raises(SpecError, match=message):
        classifier(**params).fit(X, y)


def test_without_peft_the_extra_is_named(monkeypatch):
    X, y, _ = task(12)
    monkeypatch.setattr(low_rank, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r'pip install "eegfound\[lora\]"'):
        classifier().fit(X, y)


def test_regressor():
    rng = np.random.default_rng(0)
    X, _, _ = task()
    power = rng.uniform(0, 3, len(X))
    X[:, 1] += 4e-5 * power[:, None] * np.sin(2 * np.pi * 8 * np.arange(200) / 100)
    reg = FoundationRegressor(
        "toy",
        checkpoint=None,
        info=INFO,
        tuning="lora",
        max_epochs=12,
        lr=1e-2,
        train_batch_size=8,
    )
    losses = reg.fit(X, power).net_.history[:, "train_loss"]
    assert losses[-1] < 0.9 * losses[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reg)).predict(X), reg.predict(X))
