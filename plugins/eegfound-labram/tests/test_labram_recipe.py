"""The suite's fine-tuning steps through LaBraM as the authors' script does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from eegfound_labram import LaBraMClassifier
from skorch.callbacks import Callback

from eegfound.base import ChannelInfo
from eegfound.estimators._groups import weight_groups
from eegfound.models import get_model

GOLDEN = Path(__file__).parent / "golden"


def test_layer_wise_groups_are_the_authors():
    golden = json.loads((GOLDEN / "param_groups_ft_base.json").read_text())["params"]
    recipe = get_model("labram").recipes["paper"]
    network = get_model("labram").build("base", num_classes=6, **recipe["model_params"])
    groups = dict(weight_groups(network, recipe["layer_decay"], 1.0))
    assert set(groups) == {f"network.{name}" for name in golden}
    for name, expected in golden.items():
        options = groups[f"network.{name}"]
        assert network.layer_index(name) == expected["layer"], name
        assert options["lr"] == pytest.approx(expected["lr_scale"], rel=1e-12), name
        assert options.get("weight_decay", recipe["weight_decay"]) == expected["weight_decay"], name


class Rates(Callback):
    """Notes the learning rate of the output side before each step."""

    def on_train_begin(self, net, **kwargs):
        self.seen = []

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.seen.append(max(group["lr"] for group in net.optimizer_.param_groups))


def test_learning_rates_are_the_authors():
    golden = json.loads((GOLDEN / "lr_schedule.json").read_text())
    args = golden["args"]
    recipe = get_model("labram").recipes["paper"]
    assert (recipe["lr"], recipe["min_lr"]) == (args["base"], args["final"])
    X = 1e-5 * np.random.default_rng(0).standard_normal((2 * args["niter"], 2, 200))
    clf = LaBraMClassifier(
        size="tiny", checkpoint=None, info=ChannelInfo(("C3", "C4"), 200.0), recipe="paper",
        max_epochs=args["epochs"], warmup=args["warmup_epochs"], train_batch_size=2,
        callbacks=[("rates", Rates())],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="random"):
        clf.fit(X, np.tile([0, 1], args["niter"]))
    seen = dict(clf.net_.callbacks_)["rates"].seen
    np.testing.assert_allclose(seen, golden["values"], rtol=1e-9)


def test_the_recipe_is_what_is_trained_with():
    X = 1e-5 * np.random.default_rng(0).standard_normal((4, 2, 200))
    clf = LaBraMClassifier(
        size="tiny", checkpoint=None, info=ChannelInfo(("C3", "C4"), 200.0), recipe="paper",
        max_epochs=1, warmup=0.0, label_smoothing=0.0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="random"):
        clf.fit(X, [0, 1, 0, 1])
    network = clf.net_.module_.network
    assert network.blocks[-1].drop_path == pytest.approx(0.1)
    assert clf.net_.criterion_.label_smoothing == 0.0  # what is given goes before the recipe
    rates = {group["initial_lr"] for group in clf.net_.optimizer_.param_groups}
    expected = {5e-4 * 0.65**k for k in range(network.n_layers + 2)}
    np.testing.assert_allclose(sorted(rates), sorted(expected), rtol=1e-9)
    assert {g["weight_decay"] for g in clf.net_.optimizer_.param_groups} == {0.0, 0.05}
