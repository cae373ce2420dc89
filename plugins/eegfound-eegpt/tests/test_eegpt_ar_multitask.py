"""One classifier, several tasks: journey 11, scikit-learn's tools, caps, seeds, pickles."""

from __future__ import annotations

import pickle

import eegfound_eegpt
import mne
import numpy as np
import pytest
import sklearn
import torch
from eegfound_eegpt.ar import task_network
from eegfound_eegpt.ar.task_network import Block, TaskNetwork, TrainingEpochs
from eegfound_eegpt.ar.task_scorer import TaskScorer
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

import eegfound as ef
from eegfound.base import CheckpointError, RandomWeightsWarning, SpecError

NAMES = ("Fpz", "Pz", "C3", "Cz", "C4")
RATE = 256
INFO = ef.ChannelInfo(NAMES, RATE)


def eeg(n, n_channels, n_times, rng):
    return 5e-6 * rng.standard_normal((n, n_channels, n_times))


def recorded(n_per_task=24, n_times=320, seed=0):
    """Sleep at two electrodes and motor imagery at three, told by rhythms, shuffled."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_times) / RATE
    X = np.full((2 * n_per_task, len(NAMES), n_times), np.nan)
    task = np.repeat(["sleep", "motor"], n_per_task)
    y = np.where(task == "sleep", "N3", "left").astype("U5")
    subject = np.tile(np.arange(4), n_per_task // 2)
    X[task == "sleep", :2] = eeg(n_per_task, 2, n_times, rng)
    X[task == "motor", 2:] = eeg(n_per_task, 3, n_times, rng)
    for i in range(2 * n_per_task):
        phase = rng.uniform(0, 2 * np.pi)
        second = (i // 4) % 2 == 1
        if task[i] == "sleep":
            y[i] = "wake" if second else "N3"
            X[i, :2] += 4e-5 * np.sin(2 * np.pi * (10 if second else 2) * time + phase)
        else:
            y[i] = "right" if second else "left"
            X[i, 2:] += 4e-5 * np.sin(2 * np.pi * (25 if second else 8) * time + phase)
    order = rng.permutation(len(X))
    return X[order], y[order], task[order], subject[order]


def make(**params):
    given = {"size": "tiny", "checkpoint": None, "info": INFO, "max_epochs": 25, "lr": 5e-3}
    return eegfound_eegpt.EEGPTMultiTaskClassifier(**(given | params))


@pytest.fixture(scope="module")
def fitted():
    X, y, task, _ = recorded()
    return make().fit(X, y, task=task)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# -- the journey ----------------------------------------------------------------------------


def test_journey_11_one_model_several_tasks():
    X, y, task, _ = recorded()
    X_new, y_new, task_new, _ = recorded(seed=1)
    info = INFO
    mt = eegfound_eegpt.EEGPTMultiTaskClassifier(info=info)
    with pytest.warns(RandomWeightsWarning, match="untrained"):  # none are published
        mt.fit(X, y, task=task)
    sleep = task_new == "sleep"
    predicted = mt.predict(X_new[sleep], task="sleep")
    assert (predicted == y_new[sleep]).mean() > 0.8
    assert (mt.predict(X_new, task=task_new) == y_new).mean() > 0.8


def test_published_weights_cannot_be_asked_for():
    X, y, task, _ = recorded(4)
    with pytest.raises(CheckpointError, match="No weights are published"):
        make(checkpoint="default").fit(X, y, task=task)


def test_labels_of_a_task(fitted):
    X, y, task, _ = recorded()
    assert fitted.classes_.tolist() == ["N3", "left", "right", "wake"]
    assert fitted.tasks_ == ["motor", "sleep"]
    assert {k: v.tolist() for k, v in fitted.task_classes_.items()} == {
        "motor": ["left", "right"], "sleep": ["N3", "wake"],
    }  # fmt: skip
    proba = fitted.predict_proba(X, task=task)
    assert proba.shape == (len(X), 4)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    foreign = np.isin(fitted.classes_, fitted.task_classes_["motor"])
    assert not proba[task == "sleep"][:, foreign].any()
    assert not proba[task == "motor"][:, ~foreign].any()
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(axis=1)], fitted.predict(X, task))
    assert fitted.score(X, y, task=task) == accuracy_score(y, fitted.predict(X, task=task))
    assert fitted.score(X, y, task=task) > 0.9
    only = task == "sleep"
    one = fitted.predict_proba(X[only], task="sleep")
    np.testing.assert_allclose(one, proba[only], rtol=1e-9)
    weight = (task == "sleep").astype(float)
    assert fitted.score(X, y, task=task, sample_weight=weight) == fitted.score(
        X[only], y[only], task="sleep"
    )


def test_the_same_label_may_belong_to_several_tasks():
    X, y, task, _ = recorded()
    y = np.where(np.isin(y, ["N3", "left"]), 0, 1)
    mt = make().fit(X, y, task=np.where(task == "sleep", 7, 3))
    assert mt.classes_.tolist() == [0, 1]
    assert mt.tasks_ == [3, 7]
    assert mt.score(X, y, task=np.where(task == "sleep", 7, 3)) > 0.9


def test_tasks_must_be_said_and_known(fitted):
    X, y, _, _ = recorded(4)
    with pytest.raises(SpecError, match=r"\['motor', 'sleep'\].*task=.*enable_metadata_routing"):
        fitted.predict(X)
    with pytest.raises(SpecError, match=r"task=\['emotion'\] is not known"):
        fitted.predict(X, task="emotion")
    with pytest.raises(SpecError, match=r"shape \(3,\) for 8 epochs"):
        fitted.predict(X, task=["sleep"] * 3)
    with pytest.raises(SpecError, match="missing for epoch 2"):
        make().fit(X, y, task=["sleep", "sleep", None, *["motor"] * 5])
    with pytest.raises(SpecError, match="fitted without tasks"):
        make(max_epochs=1).fit(X, y).predict(X, task="sleep")
    with pytest.raises(NotFittedError):
        make().predict(X, task="sleep")
    one = make(max_epochs=1).fit(X, y, task="all")
    np.testing.assert_array_equal(one.predict(X), one.predict(X, task="all"))


# -- what is trained ------------------------------------------------------------------------


def test_the_encoder_stays_frozen_by_default(fitted):
    module = fitted.net_.module_
    own = fitted.encoder_.network
    trained = {name for name, _ in module.named_parameters() if not name.startswith("heads.")}
    assert trained == own.readout_parameters()
    tuned = module.encoder(torch.float32)
    assert tuned.ete is own.ete
    assert not torch.equal(tuned.special_token, own.special_token)
    # Nodes of electrodes that no epoch has are as they were.
    unused = [i for i in range(138) if i not in fitted.plan_.rows]
    assert torch.equal(tuned.teg.node_embed[unused], own.teg.node_embed[unused])
    assert not torch.equal(tuned.teg.node_embed[list(fitted.plan_.rows)],
                           own.teg.node_embed[list(fitted.plan_.rows)])  # fmt: skip


def test_full_tuning_trains_a_copy_of_the_encoder():
    X, y, task, _ = recorded(8)
    mt = make(tuning="full", max_epochs=3, lr=1e-3, head_dropout=0.1)
    before = mt.fit(X, y, task=task).encoder_.network.ete.in_proj.weight
    tuned = mt.net_.module_.network
    assert not torch.equal(tuned.ete.in_proj.weight, before)
    # A tenth of the learning rate, for three steps of about that size.
    moved = (tuned.ete.in_proj.weight - before).abs().max()
    assert 1e-5 < moved < 5e-4
    messages = "teg.layers.0.attn.proj.weight"
    before = mt.encoder_.network.get_parameter(messages)
    assert (tuned.get_parameter(messages) - before).abs().max() > 5e-4
    assert set(mt.predict(X, task=task)) <= set(y)
    with pytest.raises(SpecError, match="tuning='head'"):
        make(tuning="head").fit(X, y, task=task)
    with pytest.raises(SpecError, match="max_epochs=0"):
        make(max_epochs=0).fit(X, y, task=task)


def untrained(full=False, **params):
    X, y, task, _ = recorded(4)
    mt = make(max_epochs=1, **params).fit(X, y, task=task)
    presence = mt.plan_.check(X)
    blocks = [Block(mt.plan_.apply(X, presence), presence, mt.plan_.rows)]
    module = TaskNetwork(mt.encoder_, (2, 2), full=full, double=not full)
    module.epochs = TrainingEpochs(blocks, (task == "sleep").astype(np.int64))
    return module, mt, X, presence, task


@pytest.mark.parametrize("full", [False, True])
def test_a_mixed_batch_is_each_epoch_with_its_own_electrodes(full):
    module, mt, X, presence, _ = untrained(full)
    numbers = torch.randperm(len(X))
    mixed = module(numbers).detach()
    alone = torch.cat([module(number[None]) for number in numbers]).detach()
    torch.testing.assert_close(mixed, alone, atol=1e-5, rtol=1e-4)
    # Training sees the features that prediction will compute.
    graph = module.graph(module.epochs, numbers.tolist()).detach().float().numpy()
    features = mt._features(X, presence, network=module.encoder(torch.float32))
    np.testing.assert_allclose(graph, features[numbers], atol=1e-5)


def test_the_loss_is_the_mean_over_epochs_of_their_own_tasks():
    module, _, _, _, task = untrained()
    scores = module(torch.arange(8))
    own = np.where(
        task[:, None] == "sleep", [[False, False, True, True]], [[True, True] + 2 * [False]]
    )
    np.testing.assert_array_equal(torch.isfinite(scores).numpy(), own)
    columns = torch.from_numpy(own.argmax(axis=1))
    each = torch.nn.functional.cross_entropy(scores, columns, reduction="none")
    for i, head in enumerate((task == "sleep").astype(int)):
        of_task = scores[i, 2 * head : 2 * head + 2]
        torch.testing.assert_close(each[i], -of_task.log_softmax(0)[0])
    each.mean().backward()
    for name, parameter in module.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


def test_memory_is_bounded(monkeypatch):
    X, y, task, _ = recorded(8)
    whole = make(max_epochs=3).fit(X, y, task=task).predict_proba(X, task=task)
    monkeypatch.setattr(task_network, "KEPT_BYTES", 0)
    module, *_ = untrained()
    module(torch.arange(8))
    assert not module.epochs._memory
    again = make(max_epochs=3).fit(X, y, task=task).predict_proba(X, task=task)
    np.testing.assert_array_equal(again, whole)


def test_a_weight_is_a_repetition():
    X, y, task, _ = recorded(8)
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, len(X))
    order = rng.permutation(len(X))
    weighted = make(max_epochs=10).fit(
        X[order], y[order], task=task[order], sample_weight=weight[order]
    )
    repeated = make(max_epochs=10).fit(
        X.repeat(weight, axis=0), y.repeat(weight), task=task.repeat(weight)
    )
    np.testing.assert_allclose(
        weighted.predict_proba(X, task), repeated.predict_proba(X, task), rtol=1e-5
    )
    equal = make(max_epochs=10).fit(X, y, task=task)
    assert np.abs(weighted.predict_proba(X, task) - equal.predict_proba(X, task)).max() > 1e-3


def test_class_weights_count_within_a_task():
    from eegfound_eegpt.ar.task_reading import _balance

    y = np.array(["a", "a", "a", "b", "c", "c"])
    column = np.array([1, 1, 1, 1, 2, 2])
    np.testing.assert_allclose(_balance("balanced", y, column, np.ones(6)), [2 / 3] * 3 + [2, 1, 1])
    np.testing.assert_allclose(
        _balance({"b": 5, "c": 2}, y, column, np.ones(6)), [1, 1, 1, 5, 2, 2]
    )
    X, y, task, _ = recorded(8)
    motor = task == "motor"
    left = [
        make(max_epochs=10, class_weight=weight).fit(X, y, task=task)
        .predict_proba(X[motor], "motor")[:, 1].mean()
        for weight in ({"left": 50.0}, None, {"right": 50.0})
    ]  # fmt: skip
    assert left[0] - 0.05 > left[1] > left[2] + 0.05


def test_early_stopping_holds_out_whole_subjects():
    X, y, task, subject = recorded()
    mt = make(early_stopping=True, patience=2, validation_fraction=0.25, lr=0.05)
    mt.fit(X, y, task=task, groups=subject)
    history = mt.net_.history
    assert len(history) < 25
    # The weights of the best pass are kept, not the last ones.
    assert np.argmin(history[:, "valid_loss"]) < len(history) - 1
    assert mt.net_.train_split is None
    with pytest.raises(SpecError, match="groups has 3 entries"):
        mt.fit(X, y, task=task, groups=[1, 2, 3])


# -- scikit-learn's tools -------------------------------------------------------------------


def test_cross_validation_routes_the_task(routing):
    X, y, task, subject = recorded()
    params = {"task": task, "groups": subject}
    asked = (
        make()
        .set_fit_request(task=True)
        .set_predict_request(task=True)
        .set_score_request(task=True)
    )
    scores = cross_val_score(asked, X, y, params=params, cv=GroupKFold(2), error_score="raise")
    assert scores.mean() > 0.8
    # Asking for it is the default.
    plain = cross_val_score(make(), X, y, params=params, cv=GroupKFold(2), error_score="raise")
    np.testing.assert_array_equal(plain, scores)
    per_task = cross_val_score(
        make(), X, y, params=params, cv=GroupKFold(2), scoring=TaskScorer(), error_score="raise"
    )
    assert per_task.mean() > 0.8
    # cross_val_predict hands no metadata to predict: the message says what is missing.
    with pytest.raises(SpecError, match=r"\['motor', 'sleep'\].*task="):
        cross_val_predict(make(max_epochs=1), X, y, params=params, cv=GroupKFold(2))


def test_a_task_that_is_not_asked_for_is_told(routing):
    from sklearn.exceptions import UnsetMetadataPassedError

    X, y, task, _ = recorded(4)
    blind = make().set_score_request(task=None)
    with pytest.raises(UnsetMetadataPassedError, match="task"):
        cross_val_score(blind, X, y, params={"task": task}, cv=2, error_score="raise")


def test_grid_search_and_pipeline(routing):
    X, y, task, subject = recorded()
    grid = GridSearchCV(make(), {"max_epochs": [1, 25]}, cv=GroupKFold(2), error_score="raise").fit(
        X, y, task=task, groups=subject
    )
    assert grid.best_params_ == {"max_epochs": 25}
    assert grid.score(X, y, task=task) > 0.8
    # Electrodes of two recordings are brought together in the pipeline.
    layout = ef.ChannelInfo((*NAMES, "Oz"), RATE)
    wider = np.concatenate([X, np.full_like(X[:, :1], np.nan)], axis=1)
    mapper = ef.MontageMapper(info=layout, target=ef.union_layout(INFO), missing="nan")
    pipe = make_pipeline(mapper, make(info=mapper.fit(wider).info_out_))
    pipe.fit(wider, y, task=task)
    assert (pipe.predict(wider, task=task) == y).mean() > 0.8
    assert pipe.score(wider, y, task=task) == TaskScorer(accuracy_score)(pipe, wider, y, task)


def test_clone_pickle_and_seeds(fitted):
    X, y, task, _ = recorded()
    proba = fitted.predict_proba(X, task=task)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X, task=task), proba)
    state = torch.get_rng_state()
    twin = clone(fitted).fit(X, y, task=task)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(twin.predict_proba(X, task=task), proba)
    other = clone(fitted).set_params(random_state=1).fit(X, y, task=task)
    assert np.abs(other.predict_proba(X, task=task) - proba).max() > 1e-6
    assert make().get_params().keys() == fitted.get_params().keys()


def test_a_pickle_refers_to_a_weight_file(tmp_path):
    from safetensors.torch import save_file

    from eegfound.models import get_model

    torch.manual_seed(0)
    size = {"dim": 64, "heads": 2}
    path = tmp_path / "mine.safetensors"
    network = get_model("eegpt-ar").build("tiny", **size)
    save_file(dict(network.state_dict()), path)
    X, y, task, _ = recorded(4)
    mt = make(checkpoint=path, model_params=size, max_epochs=2).fit(X, y, task=task)
    assert mt.weights_ == str(path)
    stored = pickle.dumps(mt)
    encoder = sum(p.numel() for n, p in network.named_parameters() if n.startswith("ete."))
    trained = sum(p.numel() for p in mt.net_.module_.parameters())
    # What is trained, in float64, by the net and by its optimizer; not the encoder.
    assert len(stored) < 2 * 8 * trained + encoder
    again = pickle.loads(stored).predict_proba(X, task=task)
    np.testing.assert_array_equal(again, mt.predict_proba(X, task=task))
    path.write_bytes(b"gone")
    with pytest.raises(CheckpointError):
        pickle.loads(stored).encoder_.network  # noqa: B018


def test_epochs_of_mne():
    X, y, task, _ = recorded(8)
    own = task == "motor"
    info = mne.create_info(list(NAMES[2:]), RATE, "eeg")
    epochs = mne.EpochsArray(X[own][:, 2:], info, verbose="error")
    array = make(info=info).fit(X[own][:, 2:], y[own])
    same = make(info=None).fit(epochs, y[own])
    np.testing.assert_allclose(
        same.predict_proba(epochs), array.predict_proba(X[own][:, 2:]), rtol=1e-5
    )
