"""MMM's heads, through the estimators and on their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_mmm import MMMClassifier, MMMRegressor
from eegfound_mmm.heads import make_mlp, make_reference, make_reference_sigmoid

from eegfound import ChannelInfo
from eegfound.base import SpecError

INFO = ChannelInfo(["Fz", "C3", "Cz", "C4", "Pz", "Oz"], 200)
PAPER = {"size": "paper", "checkpoint": None, "info": INFO}
pytestmark = pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")


@pytest.fixture(scope="module")
def task():
    """Alpha at the back or at the front."""
    rng = np.random.default_rng(0)
    X = 5e-6 * rng.standard_normal((48, 6, 200))
    y = np.tile(["back", "front"], 24)
    alpha = 2e-5 * np.sin(2 * np.pi * 10 * np.arange(200) / 200)
    X[y == "back", 5] += alpha
    X[y == "front", 0] += alpha
    return X, y


@pytest.mark.parametrize("head", ["mmm-mlp", "mmm-reference", "mmm-reference-sigmoid"])
def test_heads_learn_on_a_frozen_encoder(task, head):
    X, y = task
    clf = MMMClassifier(**PAPER, head=head, max_epochs=15).fit(X[:32], y[:32])
    assert clf.score(X[32:], y[32:]) > 0.8


@pytest.mark.parametrize("head", ["mmm-mlp", "mmm-reference"])
def test_heads_learn_with_the_encoder(task, head):
    # Running statistics of batch norm follow the moving features slowly: the
    # encoder takes smaller steps than the head.
    X, y = task
    clf = MMMClassifier(
        **PAPER, head=head, tuning="full", lr=5e-4, layer_decay=0.5, max_epochs=25,
        train_batch_size=8,
    ).fit(X[:32], y[:32])  # fmt: skip
    assert clf.score(X, y) > 0.85


@pytest.mark.parametrize("tuning", ["readout", "full"])
def test_region_tokens_are_trained_with_the_head(task, tuning):
    X, y = task
    clf = MMMClassifier(**PAPER, tuning=tuning, max_epochs=2).fit(X[:16], y[:16])
    before = clf.encoder_.network.state_dict()
    after = clf.net_.module_.network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert "supernodes" in moved
    assert (moved == {"supernodes"}) == (tuning == "readout")


def test_the_mlp_head_regresses(task):
    X, y = task
    reg = MMMRegressor(**PAPER, head="mmm-mlp").fit(X[:32], (y[:32] == "back") * 10.0)
    assert reg.score(X[32:], (y[32:] == "back") * 10.0) > 0.5
    with pytest.raises(SpecError, match="head='mmm-mlp'"):
        MMMRegressor(**PAPER, head="mmm-reference").fit(X, (y == "back") * 1.0)


@pytest.mark.parametrize("n_classes", [3, 4])
def test_the_reference_loss_has_a_floor(n_classes):
    # Cross-entropy of a softmax's output: certainty costs ln(1 + (K - 1) / e).
    certain = torch.eye(n_classes)
    loss = torch.nn.functional.cross_entropy(certain, torch.arange(n_classes))
    assert float(loss) == pytest.approx(np.log(1 + (n_classes - 1) / np.e), abs=1e-6)
    head = make_reference(18, n_classes).eval()
    scores = head(torch.randn(5, 18))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(5))
    assert (scores >= 0).all()


def test_sigmoid_and_mlp_give_other_scores():
    torch.manual_seed(0)
    x = torch.randn(6, 18)
    sigmoid = make_reference_sigmoid(18, 2).eval()(x)
    assert ((sigmoid > 0) & (sigmoid < 1)).all()
    assert make_mlp(18, 2).eval()(x).min() < 0


def test_a_last_batch_of_one_can_be_trained_on():
    head = make_mlp(18, 2).train()
    before = head.fc_norm1.running_mean.clone()
    head(torch.randn(1, 18)).sum().backward()
    assert torch.isfinite(head.fc_out1.weight.grad).all()
    assert torch.equal(head.fc_norm1.running_mean, before)
    head(torch.randn(2, 18))
    assert not torch.equal(head.fc_norm1.running_mean, before)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    head, x = make_mlp(18, 2, hidden=32, dropout=0.5), torch.randn(4, 18)
    head.train()
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))
