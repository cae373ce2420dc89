"""Training in steps: what moves, what a step computes, and going on after a kill."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, make_scorer
from skorch.callbacks import Callback, EpochScoring

from eegfound.base import SignalWarning, SpecError
from eegfound.estimators._augment import drop_channels, mix_pairs
from eegfound.estimators._averaging import AveragedWeights
from eegfound.estimators._memory import saved_bytes, windows_per_pass
from eegfound.estimators._observers import watching
from eegfound.nn import cosine_schedule
from tests.helpers_training import Rates, classifier, regressor, task

pytestmark = pytest.mark.usefixtures("toy")


def moved(clf):
    """Names of the encoder's tensors that differ from the pretrained ones."""
    before, after = clf.encoder_.network.state_dict(), clf.net_.module_.network.state_dict()
    return {name for name in before if (before[name] != after[name]).any()}


def test_partial_trains_the_last_layers_only():
    X, y, _ = task(24)
    network = classifier().fit(X, y).encoder_.network
    for count in (1, network.n_layers):
        clf = classifier(tuning="partial", n_unfrozen=count, max_epochs=2, lr=1e-2).fit(X, y)
        depth = {name: network.layer_index(name) for name, _ in network.named_parameters()}
        allowed = {n for n, d in depth.items() if d > network.n_layers - count}
        # Parameters after the read-out layer may have no gradient, but none below moves.
        assert moved(clf)
        assert moved(clf) <= allowed
        head = sum(p.numel() for p in clf.net_.module_.head.parameters())
        own = sum(p.numel() for n, p in network.named_parameters() if n in allowed)
        assert clf.n_trained_parameters_ == own + head


def test_partial_pickles_trained_tensors_only():
    X, y, _ = task(24)
    small = classifier(tuning="partial", n_unfrozen=1, max_epochs=1, lr=1e-2).fit(X, y)
    again = pickle.loads(pickle.dumps(small))
    np.testing.assert_array_equal(again.predict_proba(X), small.predict_proba(X))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(again)).predict_proba(X), small.predict_proba(X)
    )
    state = small.net_.module_.__getstate__()
    assert {k for k in state["_tensors"]} >= moved(small)
    assert len(state["_tensors"]) < len(small.encoder_.network.state_dict())


def test_unfrozen_layers_must_exist():
    X, y, _ = task(12)
    with pytest.raises(SpecError, match="n_unfrozen"):
        classifier(tuning="partial", n_unfrozen=0).fit(X, y)


def test_two_stages_start_from_a_probe():
    X, y, _ = task(48)
    probe = classifier(tuning="head", weight_decay=0.01).fit(X, y)
    first = classifier(tuning="full", max_epochs=1, lr=1e-5).fit(X, y)
    staged = classifier(tuning="two_stage", max_epochs=1, lr=1e-5).fit(X, y)
    assert staged.score(X, y) >= 0.95 * probe.score(X, y)
    losses = [clf.net_.history[0, "train_loss"] for clf in (first, staged)]
    assert losses[1] < 0.7 * losses[0]  # a blind head begins at log 2
    lora_free = classifier(tuning="two_stage", second_stage="partial", n_unfrozen=1, max_epochs=1)
    assert moved(lora_free.fit(X, y))
    with pytest.raises(SpecError, match="second_stage"):
        classifier(tuning="two_stage", second_stage="head").fit(X, y)


@pytest.mark.parametrize("start", ["ridge", "probe"])
def test_head_starts(start):
    X, y, _ = task(48)
    params = {"tuning": "full", "max_epochs": 1, "lr": 1e-6}
    clf = classifier(head_start=start, **params).fit(X, y)
    assert clf.net_.history[0, "train_loss"] < 0.5 * np.log(2)
    assert clf.score(X, y) > 0.95
    reg = regressor(head_start=start, **params).fit(X, (y == "task") * 3.0 - 1)
    assert reg.score(X, (y == "task") * 3.0 - 1) > 0.8


def test_ridge_start_needs_a_linear_head():
    X, y, _ = task(12)
    with pytest.raises(SpecError, match="head='linear'"):
        classifier(tuning="full", head="mlp", head_start="ridge").fit(X, y)
    with pytest.raises(SpecError, match="two_linear"):
        classifier(tuning="full", head="two_linear", head_start="probe").fit(X, y)


def gradients(**params):
    """Weights after one step of plain gradient descent."""
    X, y, _ = task(16)
    X[3, 0] = X[7, :2] = np.nan  # three caps in one batch
    clf = classifier(
        tuning="full", head="mlp", optimizer="sgd", lr=1e-2, weight_decay=0.0, max_epochs=1,
        train_batch_size=16, n_threads=1, **params,
    ).fit(X, y, sample_weight=np.linspace(0.5, 2, 16))  # fmt: skip
    return clf, torch.cat([p.detach().flatten() for p in clf.net_.module_.parameters()])


def test_small_passes_give_the_gradient_of_the_batch():
    whole, expected = gradients()
    with pytest.warns(SignalWarning, match="activation_memory_mb"):
        split, found = gradients(activation_memory_mb=1e-3)
    assert whole.net_.windows_per_pass_ == 16
    assert split.net_.windows_per_pass_ == 1
    start = torch.cat([p.flatten() for p in whole.encoder_.network.parameters()])
    step = (expected[: len(start)] - start).abs().max()
    assert step > 0
    assert (found - expected).abs().max() < 1e-4 * step
    assert split.net_.history[0, "train_loss"] == pytest.approx(
        whole.net_.history[0, "train_loss"], rel=1e-5
    )


def test_memory_is_measured():
    layer = torch.nn.Sequential(torch.nn.Linear(1000, 1000), torch.nn.GELU())
    signal = torch.ones(1, 1000)
    kept = saved_bytes(layer, lambda: layer(signal))
    assert 4_000 <= kept <= 20_000  # one or a few vectors of float32, not the weights
    state = torch.get_rng_state()
    most = windows_per_pass(layer, signal, 10_000, limit_mb=1.0)
    assert most in range(50, 251)
    # One window more than fits: two passes, neither larger than it must be.
    fits = max(n for n in range(50, 300) if windows_per_pass(layer, signal, n, 1.0) == n)
    assert windows_per_pass(layer, signal, fits + 1, limit_mb=1.0) == fits // 2 + 1
    assert torch.equal(state, torch.get_rng_state())
    batch_norm = torch.nn.Sequential(layer, torch.nn.BatchNorm1d(1000)).train()
    assert windows_per_pass(batch_norm, signal, 64, limit_mb=1e-6) == 64


def test_channels_left_out_leave_something():
    torch.manual_seed(0)
    signal = torch.ones(4, 5, 10)
    signal[0, :4] = torch.nan  # this one has a single electrode
    seen = set()
    for _ in range(50):
        dropped = drop_channels(signal, 0.7, fill=float("nan"))
        left = ~torch.isnan(dropped[..., 0])
        assert left.any(dim=1).all()
        assert (left <= ~torch.isnan(signal[..., 0])).all()
        seen.add(int(left[1].sum()))
    assert len(seen) > 1
    assert drop_channels(signal, 0.0, fill=0.0) is signal


def test_pairs_are_mixed_within_a_cap():
    torch.manual_seed(0)
    signal = torch.arange(6.0)[:, None, None].expand(6, 2, 3).clone()
    signal[3:, 0] = torch.nan
    mixed, partner, share = mix_pairs(signal, 0.4)
    assert 0 <= share <= 1
    assert set(partner[:3].tolist()) == {0, 1, 2}
    assert set(partner[3:].tolist()) == {3, 4, 5}
    assert torch.equal(torch.isnan(mixed), torch.isnan(signal))
    assert torch.allclose(mixed[:, 1, 0], share * torch.arange(6.0) + (1 - share) * partner)


@pytest.mark.parametrize(
    "params",
    [
        {"mixup": 0.5},
        {"channel_dropout": 0.4},
        {"label_smoothing": 0.1},
        {"ema_decay": 0.9},
        {"gradient_clip": 0.1},
        {"optimizer": "amsgrad", "lr_schedule": "plateau"},
        {"lr_schedule": "onecycle", "warmup": 1},
        {"lr_schedule": "cosine", "warmup": 2, "min_lr": 1e-6},
    ],
    ids=str,
)
def test_ways_of_training_change_the_weights_and_learn(params):
    X, y, _ = task(48)
    base = {"tuning": "full", "max_epochs": 8, "lr": 3e-3, "train_batch_size": 16}
    plain = classifier(**base).fit(X, y)
    clf = classifier(**base, **params).fit(X, y)
    assert (clf.predict_proba(X) != plain.predict_proba(X)).any()
    assert clf.score(X, y) > 0.9
    again = classifier(**base, **params).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    pickle.dumps(clf)


def test_frozen_features_ignore_what_needs_steps():
    X, y, _ = task(24)
    plain = classifier().fit(X, y).predict_proba(X)
    same = classifier(mixup=0.5, ema_decay=0.9, channel_dropout=0.5, optimizer="sgd").fit(X, y)
    np.testing.assert_array_equal(same.predict_proba(X), plain)
    smooth = classifier(label_smoothing=0.2).fit(X, y)
    assert (
        np.abs(smooth.decision_function(X)).max()
        < np.abs(classifier().fit(X, y).decision_function(X)).max()
    )


def test_averaged_weights():
    module = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
    average = AveragedWeights(module, 0.5)
    expected = 0.0
    for step in range(6):
        with torch.no_grad():
            module.weight.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    average.use(averaged=True)
    assert module.weight.item() == pytest.approx(expected)
    average.use(averaged=True)  # twice is once
    average.use(averaged=False)
    assert module.weight.item() == 5.0


def rates(**params):
    X, y, _ = task(24)
    clf = classifier(
        tuning="full", max_epochs=5, train_batch_size=8, lr=1e-2, callbacks=[Rates()], **params
    ).fit(X, y)
    return np.array(next(c for _, c in clf.net_.callbacks_ if isinstance(c, Rates)).seen)


def test_learning_rates_follow_the_schedule_in_every_layer():
    wanted = cosine_schedule(1.0, 0.1, epochs=5, steps_per_epoch=3, warmup_epochs=2)
    seen = rates(lr_schedule="cosine", warmup=2, min_lr=1e-3, layer_decay=0.5)
    top = seen[6].max()
    assert top == pytest.approx(1e-2)
    np.testing.assert_allclose(seen / seen[6], wanted[:, None] * np.ones_like(seen), rtol=1e-6)
    assert len(np.unique(np.round(seen[6] / top, 9))) > 2  # layers learn at their own rates
    warm = rates(warmup=2)
    np.testing.assert_allclose(warm[:, 0], 1e-2 * np.r_[np.linspace(0, 1, 6), np.ones(9)])


@pytest.mark.parametrize(
    ("epochs", "warmup", "size"), [(10, 1, 32), (5, 1, 32), (1, None, 32), (2, 9, 32), (5, 2, 8)]
)
def test_one_cycle_of_few_steps(epochs, warmup, size):
    X, y, _ = task(24)
    seen = Rates()
    with watching(seen):
        classifier(
            tuning="full", max_epochs=epochs, warmup=warmup, lr_schedule="onecycle", lr=1e-2,
            train_batch_size=size,
        ).fit(X, y)  # fmt: skip
    rates = np.array(seen.seen)[:, -1]
    assert rates[0] == pytest.approx(1e-2 / 25)  # not the vanishing rate of the end
    assert rates.max() == pytest.approx(1e-2) or len(rates) == 1 or warmup == 9


def test_one_cycle_between_half_the_rate_and_a_sixteenth():
    X, y, _ = task(24)
    seen = Rates()
    with watching(seen):
        classifier(
            tuning="full", max_epochs=20, warmup=4, lr_schedule="onecycle_half", lr=1e-2,
            train_batch_size=12,
        ).fit(X, y)  # fmt: skip
    rates = np.array(seen.seen)[:, -1]
    assert rates[[0, -1]] == pytest.approx([1e-2 / 2, 1e-2 / 16])
    assert rates.max() == pytest.approx(1e-2)


def test_partial_counts_from_the_layer_that_is_read():
    X, y, _ = task(24)
    params = {"tuning": "partial", "max_epochs": 2, "lr": 1e-2}
    clf = classifier(**params, layer=1, n_unfrozen=1).fit(X, y)
    assert moved(clf)
    assert all(name.startswith("layers.0.") for name in moved(clf))
    with pytest.raises(SpecError, match="layer=0"):
        classifier(**params, layer=0).fit(X, y)


def test_windows_of_another_length_name_the_way_out():
    X, y, _ = task(24)
    for head in ("attention", "conv_linear"):
        with pytest.raises(SpecError, match="200 samples"):
            classifier(head=head).fit(X, y).predict(X[..., :100])


def test_balanced_classes_count_weights():
    X, y, _ = task(24)
    index = np.r_[np.arange(24), np.arange(0, 24, 2), [4, 6]]
    weight = np.bincount(index, minlength=24).astype(float)
    for tuning in ("head", "full"):
        params = {"class_weight": "balanced", "tuning": tuning, "max_epochs": 3}
        weighted = classifier(**params).fit(X, y, sample_weight=weight).decision_function(X)
        repeated = classifier(**params).fit(X[index], y[index]).decision_function(X)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-4, atol=1e-6)


def test_options_out_of_range_name_the_parameter():
    X, y, _ = task(12)
    for name, value in {
        "label_smoothing": 1.0, "mixup": -1, "channel_dropout": 1.0, "max_epochs": 0, "lr": 0.0,
        "warmup": -1, "gradient_clip": 0, "ema_decay": 1.0, "train_batch_size": 2.5,
        "activation_memory_mb": 0, "optimizer": "lion", "lr_schedule": "step",
        "head_start": "zeros", "n_unfrozen": True, "layer_decay": 1.5, "recipe": "mine",
        "callbacks": Rates(),
    }.items():  # fmt: skip
        with pytest.raises(SpecError, match=name):
            classifier(tuning="full", **{name: value}).fit(X, y)


def test_interrupting_is_not_early_stopping():
    X, y, groups = task(24)
    with pytest.raises(KeyboardInterrupt):
        classifier(tuning="full", max_epochs=5, callbacks=[_Interrupt()]).fit(X, y)
    stopped = classifier(tuning="full", max_epochs=30, lr=0.5, early_stopping=True, patience=1).fit(
        X, y, groups=groups
    )
    assert len(stopped.net_.history) < 30


class _Interrupt(Callback):
    """Somebody at the keys, seen from inside torch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            infer = net.infer

            def interrupted(*args, **kwargs):
                net.infer = infer
                raise KeyboardInterrupt

            net.infer = interrupted


def test_whoever_watches_is_no_part_of_the_net():
    X, y, _ = task(24)
    seen = Rates()
    with watching(seen):
        clf = classifier(tuning="full", max_epochs=2, callbacks=[Rates()]).fit(X, y)
    assert len(seen.seen) == 2
    assert all(c is not seen for _, c in clf.net_.callbacks_)
    assert sum(isinstance(c, Rates) for _, c in clf.net_.callbacks_) == 1
    assert len(pickle.loads(pickle.dumps(clf)).net_.history) == 2


@pytest.mark.parametrize("tuning", ["head", "full"])
def test_scores_of_an_epoch(tuning):
    """skorch finds no targets where it predicts anew; a function finds them in the data."""
    X, y, _ = task(24)

    def fit(scoring, **params):
        params |= {"lower_is_better": False, "name": "own"}
        scores = ("mine", EpochScoring(scoring, **params))
        made = classifier(tuning=tuning, max_epochs=2, early_stopping=True, callbacks=[scores])
        return made.fit(X, y).net_.history[-1, "own"]

    def accuracy(net, data, _):
        return float(np.mean(net.predict(data) == data.y))

    kept = fit("accuracy")
    assert fit(accuracy, use_caching=False) == kept
    for asks in ("accuracy", make_scorer(accuracy_score), accuracy_score, None):
        with pytest.raises(SpecError, match="use_caching"):
            fit(asks, use_caching=False)
