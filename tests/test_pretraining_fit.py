"""What ``fit`` trains, and how it answers mistakes."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

import eegfound as ef
from eegfound.base import SpecError, TrainingError, UnitError
from eegfound.pretraining.arrays import ArraySource
from eegfound.pretraining.batches import Pass, Windows
from eegfound.pretraining.net import PretrainingNet
from tests.helpers_pretraining import INFO, caps, losses, pretrainer, rows, weights, windows


def fitted(model="masked-toy", n=24, **params):
    X, groups = windows(n)
    return pretrainer(model, **params).fit(X, groups=groups)


def same_weights(first, second):
    expected = weights(second)
    for name, tensor in weights(first).items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


def test_losses_fall_below_what_zeros_reach():
    X, groups = windows(96)
    pre = pretrainer(max_epochs=25, lr=2e-2, train_batch_size=32, micro_batch_size=32)
    pre.fit(X, groups=groups)
    found = pre.evaluate(windows(24, seed=1)[0])
    assert found["main"] < found["main_trivial"] < losses(pre)[0]
    assert pre.score(windows(24, seed=1)[0]) == -found["total"]


def test_rows_tell_where_they_come_from():
    pre = fitted("staged-toy", max_epochs=3)
    assert [r["stage"] for r in pre.history_ if r["split"] == "valid"] == [
        "tokenizer", "masked", "masked",
    ]  # fmt: skip
    train = [r for r in pre.history_ if r["split"] == "train" and r["stage"] == "masked"]
    assert [r["step"] for r in train] == [1, 2, 3, 4]
    assert [r["epoch"] for r in train] == [1, 1, 2, 2]
    assert [r["n_windows"] for r in train] == [10, 20, 30, 40]
    assert pre.n_steps_ == 6
    for row in train:
        assert row["total"] == pytest.approx(row["main"] + row["side"], rel=1e-5)


def test_stages_hand_over():
    pre = fitted("staged-toy", max_epochs=3)
    assert list(pre.objectives_) == ["tokenizer", "masked"]
    assert pre.objective_.tokenizer is pre.objectives_["tokenizer"]
    assert pre.encoder_ is pre.objective_.momentum.network
    alone = fitted("staged-toy", stages=["tokenizer"], max_epochs=1)
    assert list(alone.objectives_) == ["tokenizer"]
    codes = "tokenizer.codebook.embedding.weight"
    np.testing.assert_array_equal(weights(alone)[codes], weights(pre)[codes])


def test_epochs_are_shared_among_stages():
    def counts(**params):
        table = fitted("staged-toy", n=12, **params).history_
        return {stage: max(r["epoch"] for r in table if r["stage"] == stage)
                for stage in ("tokenizer", "masked")}  # fmt: skip

    assert counts(max_epochs=6) == {"tokenizer": 2, "masked": 4}
    assert counts(max_epochs={"tokenizer": 3, "masked": 1}) == {"tokenizer": 3, "masked": 1}


class Rates(Callback):
    """Remembers rates and optimizers by stage."""

    seen: dict = {}

    def on_batch_end(self, net, training=False, **kwargs):
        self.seen.setdefault(net.stage, []).append(net.optimizer_.param_groups[0].copy())


def test_options_come_from_the_user_then_the_recipe_then_the_stage():
    Rates.seen.clear()
    epochs = {"tokenizer": 10, "masked": 1}
    fitted("staged-toy", n=12, recipe="paper", max_epochs=epochs, callbacks=[Rates()])
    assert Rates.seen["tokenizer"][0]["betas"] == (0.9, 0.99)
    assert Rates.seen["tokenizer"][0]["initial_lr"] == 2e-3
    assert Rates.seen["masked"][0]["initial_lr"] == 1e-2, "the stage's own, no recipe there"
    Rates.seen.clear()
    pre = fitted(
        "staged-toy", n=12, max_epochs=2, callbacks=[Rates()], lr={"masked": 3e-3},
        objective_params={"masked": {"dropout": 0.0}, "tokenizer": {"n_codes": 4}},
    )  # fmt: skip
    assert Rates.seen["tokenizer"][0]["initial_lr"] == 1e-2
    assert Rates.seen["masked"][0]["initial_lr"] == 3e-3
    assert pre.objective_.dropout.p == 0.0
    assert pre.objectives_["tokenizer"].codebook.n_codes == 4


def test_a_small_rate_does_not_climb_to_the_end_of_a_greater_one():
    found = [row["lr"] for row in fitted(max_epochs=3, lr=1e-7, warmup=0).history_ if "lr" in row]
    assert max(found) <= 1e-7
    with pytest.raises(SpecError, match=r"min_lr=0.01 is more than lr=0.001 in stage"):
        fitted(max_epochs=1, lr=1e-3, min_lr=1e-2)


def test_partial_fit_goes_on():
    X, groups = windows(24)
    fixed = {"lr_schedule": "constant", "warmup": 0, "ema_decay": 0.9, "lr": 1e-3}
    whole = pretrainer(max_epochs=3, **fixed).fit(X, groups=groups)
    steps = pretrainer(max_epochs=2, **fixed).fit(X, groups=groups)
    assert steps.partial_fit(X, groups=groups) is steps
    assert rows(steps) == rows(whole)
    same_weights(steps, whole)
    begun = pretrainer(max_epochs=9, **fixed).partial_fit(X, groups=groups)
    for _ in range(2):
        begun.partial_fit(X, groups=groups)
    same_weights(begun, whole)


def test_partial_fit_trains_the_last_stage():
    X, groups = windows(24)
    pre = pretrainer("staged-toy").partial_fit(X, groups=groups)
    before = copy.deepcopy(weights(pre))
    pre.partial_fit(X, groups=groups)
    changed = {name for name, t in weights(pre).items() if (t != before[name]).any()}
    assert "masked.network.embed.weight" in changed
    assert not any("tokenizer." in name for name in changed)
    with pytest.raises(ValueError, match="3 features, but FoundationPretrainer is expecting 5"):
        pre.partial_fit(X[:, :3])


def test_a_batch_of_several_montages():
    X, groups = windows(48)
    pre = pretrainer(max_epochs=2).fit(caps(X), groups=groups)
    assert all(math.isfinite(value) for value in losses(pre))
    X = caps(X)
    plan = pre.plan_
    source = ArraySource(X, plan.check(X), plan, False, groups)
    chosen = Windows(source, np.arange(48), 16, 6)
    parts = [p for k in range(3) for p in Pass(chosen, chosen.batches(5))[k].parts]
    assert sorted(len(p.job.electrodes.names) for p in parts)[0] == 2
    assert max(len(p) for p in parts) <= 6
    assert sum(len(p) for p in parts) == 48
    assert all(np.isfinite(p.job.signal).all() for p in parts)
    ours = [Pass(chosen, chosen.batches(5), rank, 2)[0].parts for rank in range(2)]
    assert sorted(p.number for own in ours for p in own) == list(range(len(ours[0] + ours[1])))


def test_a_source_need_not_tell_what_is_alike():
    X, groups = windows(24)
    pre = pretrainer(max_epochs=2).fit(caps(X), groups=groups)

    source = ArraySource(caps(X), pre.plan_.check(caps(X)), pre.plan_, False, groups)
    source.alike = None
    again = pretrainer(max_epochs=2).fit(source)
    assert rows(again) == rows(pre)


def test_long_windows_are_cut():
    X, groups = windows(12, n_times=1000)
    pre = pretrainer(max_epochs=1).fit(X, groups=groups)
    assert sum(r["n_windows"] for r in pre.history_ if r["split"] == "valid") == 2 * 3
    source = ArraySource(X, pre.plan_.check(X), pre.plan_, False, groups)
    assert len(source) == 36
    found = {place: job.signal[i] for job in source.jobs([30, 2, 31])
             for i, place in enumerate(job.epochs)}  # fmt: skip
    signal = pre.plan_.apply(X, pre.plan_.check(X))
    np.testing.assert_array_equal(found[0], signal[10][:, :400])
    np.testing.assert_array_equal(found[1], signal[0][:, 700:])
    np.testing.assert_array_equal(found[2], signal[10][:, 400:700])


def test_held_out_windows_are_not_trained_on():
    X, groups = windows(24)
    pre = pretrainer(max_epochs=1, validation_fraction=["2", "3"]).fit(X, groups=groups)
    assert pre.record_["held_out"] == ["2", "3"]
    other = X.copy()
    other[np.isin(groups, [2, 3])] *= 1.5
    again = pretrainer(max_epochs=1, validation_fraction=["2", "3"]).fit(other, groups=groups)
    same_weights(again, pre)
    assert losses(again, "valid") != losses(pre, "valid")
    with pytest.warns(UserWarning, match="No groups= were given"):
        pretrainer(max_epochs=1).fit(X)


def test_worker_processes_read_the_same():
    assert rows(fitted(n_workers=2, max_epochs=1)) == rows(fitted(max_epochs=1))


def test_early_stopping_keeps_the_best():
    X, groups = windows(24)
    params = {"optimizer": "sgd", "lr": 30.0, "max_epochs": 8, "lr_schedule": "constant"}
    pre = pretrainer(**params, early_stopping=True, patience=2).fit(X, groups=groups)
    valid = losses(pre, "valid")
    best = pre.best_["pretraining"]
    assert len(valid) == best["epoch"] + 2 < 8
    assert best["loss"] == min(valid)
    shorter = pretrainer(**(params | {"max_epochs": best["epoch"], "warmup": 0.4}))
    same_weights(pre, shorter.fit(X, groups=groups))


def test_averaged_weights_are_kept():
    pre, plain = fitted(ema_decay=0.99), fitted()
    assert losses(pre) == losses(plain), "the training itself is the same"
    assert losses(pre, "valid") != losses(plain, "valid")


def test_a_loss_that_is_no_number_stops(tmp_path):
    X, groups = windows(24)
    mad = {"optimizer": "sgd", "lr": 1e30, "lr_schedule": "constant", "warmup": 0,
           "gradient_clip": math.inf}  # fmt: skip
    pre = pretrainer(**mad, resume_dir=tmp_path, save_every=1)
    with pytest.raises(TrainingError, match=r"after 1 steps .*kept in .*Lower lr \(1e\+30\)"):
        pre.fit(X, groups=groups)
    (path,) = tmp_path.iterdir()
    state = torch.load(path, weights_only=True)
    assert state["position"]["step"] == 1
    assert all(t.isfinite().all() for t in state["objective"].values())
    assert not hasattr(pre, "objectives_")


def test_a_gradient_that_is_no_number_stops(monkeypatch):
    original = PretrainingNet._pass

    def spoiled(self, part, batch):
        found = original(self, part, batch)
        next(self.module_.parameters()).grad[...] = torch.nan
        return found

    monkeypatch.setattr(PretrainingNet, "_pass", spoiled)
    with pytest.raises(TrainingError, match="The gradient's norm is nan in stage 'pretraining'"):
        fitted()


X, GROUPS = windows(12)
HOLES = X.copy()
HOLES[3, 1, 5:9] = np.nan
MISTAKES = {
    "unit": ({"unit": "uV"}, X, GROUPS, UnitError, "unit"),
    "scattered NaN": ({}, HOLES, GROUPS, SpecError, "NaN"),
    "short": ({}, X[..., :50], GROUPS, SpecError, "on_short"),
    "nothing known": ({"info": None}, X, GROUPS, SpecError, "info="),
    "channels": ({"info": ef.ChannelInfo(("C3", "Oops"), 100)}, X[:, :2], GROUPS, SpecError,
                 "on_unknown"),
    "groups": ({}, X, GROUPS[:5], SpecError, "groups has 5 entries for 12"),
    "stage": ({"stages": ["masked"]}, X, GROUPS, SpecError, "stages=.*'pretraining'"),
    "recipe": ({"recipe": "paper"}, X, GROUPS, SpecError, "recipe='paper'"),
    "size": ({"size": "vast"}, X, GROUPS, SpecError, "size='vast'"),
    "option": ({"objective_params": {"oops": 1}}, X, GROUPS, SpecError, "objective_params.*oops"),
    "lr": ({"lr": -1}, X, GROUPS, SpecError, "lr=-1"),
    "schedule": ({"lr_schedule": "up"}, X, GROUPS, SpecError, "lr_schedule='up'"),
    "epochs": ({"max_epochs": 0}, X, GROUPS, SpecError, "max_epochs=0"),
    "epochs of": ({"max_epochs": {"a": 1}}, X, GROUPS, SpecError, "max_epochs.*'a'"),
    "micro": ({"micro_batch_size": 0}, X, GROUPS, SpecError, "micro_batch_size=0"),
    "batch": ({"train_batch_size": 2.5}, X, GROUPS, SpecError, "train_batch_size=2.5"),
    "fraction": ({"validation_fraction": 1.0}, X, GROUPS, SpecError, "validation_fraction=1.0"),
    "held out": ({"validation_fraction": ["9"]}, X, GROUPS, SpecError, "names \\['9'\\]"),
    "stopping": ({"early_stopping": True}, X, 0 * GROUPS, SpecError, "early_stopping"),
    "dtype": ({"dtype": "float16", "device": "cpu"}, X, GROUPS, SpecError, "dtype='float16'"),
    "no dtype": ({"dtype": "int8"}, X, GROUPS, SpecError, "dtype='int8'"),
    "accelerator": ({"accelerator": "gpu"}, X, GROUPS, SpecError, "accelerator='gpu'"),
    "save_every": ({"save_every": 0, "resume_dir": "."}, X, GROUPS, SpecError, "save_every=0"),
    "patience": ({"patience": 0}, X, GROUPS, SpecError, "patience=0"),
    "seed": ({"random_state": -1}, X, GROUPS, SpecError, "random_state=-1"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
def test_mistakes_name_the_parameter(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params, data, groups, kind, words = MISTAKES[name]
    with pytest.raises(kind, match=words):
        pretrainer(**({"info": INFO} | params)).fit(data, groups=groups)


def test_a_model_without_objective(toy):
    with pytest.raises(SpecError, match="declares no objective"):
        pretrainer("toy").fit(X, groups=GROUPS)


def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for name in ("metrics_file", "resume_dir"):
        with pytest.raises(SpecError, match=name):
            pretrainer(**{name: tmp_path / "file" / "inside"}).fit(X, groups=GROUPS)
