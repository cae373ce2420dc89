"""What tuning, pickling and pretraining must do, one function per promise."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eegfound.testing.subject import Subject, check


@check
def _embedding_and_tuning_share_a_process(subject: Subject) -> None:
    X, y = subject.eeg(12), np.tile(["a", "b"], 6)
    X[1::2] *= 2
    enc = subject.transformer(info=subject.info).fit(X)
    before = enc.transform(X)
    tunings = ["head", "partial", "full"]
    if importlib.util.find_spec("peft") is not None:
        tunings.append("lora")
    if subject.model.front_end is None:
        tunings.append("conv_linear")
    if enc.encoder_.network.readout_parameters():
        tunings.append("readout")
    for tuning in tunings:
        clf = subject.classifier(info=subject.info, tuning=tuning, max_epochs=2, n_unfrozen=1).fit(
            X, y
        )
        assert set(clf.predict(X)) <= {"a", "b"}
        np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1, atol=1e-6)
        if tuning == "full":
            losses = clf.net_.history[:, "train_loss"]
            assert np.isfinite(losses).all(), f"losses {losses}"
            moved = clf.net_.module_.network.state_dict()
            own = clf.encoder_.network.state_dict()
            assert any((moved[k] != own[k]).any() for k in own), "tuning changed no weight"
    np.testing.assert_array_equal(enc.transform(X), before)


@check
def _recipes_train(subject: Subject) -> None:
    X, y = subject.eeg(6), np.tile(["a", "b"], 3)
    for name in subject.model.recipes:
        clf = subject.classifier(info=subject.info, recipe=name, max_epochs=1, train_batch_size=6)
        chances = clf.fit(X, y).predict_proba(X)
        assert np.isfinite(chances).all(), f"recipe {name!r} diverges"


@check
def _lora_acts_where_the_model_says(subject: Subject) -> None:
    if importlib.util.find_spec("peft") is None:
        return
    import copy

    import torch

    from eegfound.estimators._low_rank import add_low_rank, choose, merge

    enc = subject.transformer(info=subject.info).fit(subject.eeg(2))
    network = copy.deepcopy(enc.encoder_.network)
    if not network.lora_targets():
        return  # training leaves out what it finds is not called
    batch, targets = subject.batch(1), choose(network, None)
    with torch.no_grad():
        frozen = network(batch).values.clone()
    adapted = copy.deepcopy(network)
    factors, _ = add_low_rank(adapted, targets, rank=1, alpha=1.0, dropout=0.0)
    last = {name: B for name, (_, B) in factors.items()}
    gradients = torch.autograd.grad(
        adapted(batch).values.square().sum(), list(last.values()), allow_unused=True
    )
    passed = [name for name, gradient in zip(last, gradients) if gradient is None]
    assert not passed, f"lora_targets() names layers whose weights are read, not called: {passed}"
    merge(network, factors, 1.0)  # zeros so far
    with torch.no_grad():
        assert torch.equal(network(batch).values, frozen), "zero matrices change the output"


@check
def _fitted_estimators_survive_pickling(subject: Subject) -> None:
    from sklearn.base import clone

    X, y = subject.eeg(6), np.tile([0.5, 1.5], 3)
    for estimator in (subject.transformer(info=subject.info), subject.regressor(info=subject.info)):
        fitted = estimator.fit(X, y)
        method = "transform" if hasattr(fitted, "transform") else "predict"
        expected = getattr(fitted, method)(X)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(getattr(again, method)(X), expected)
        np.testing.assert_array_equal(getattr(clone(fitted).fit(X, y), method)(X), expected)


@check
def _pickles_open_in_a_fresh_process(subject: Subject) -> None:
    from eegfound.models import registry

    name = subject.model.name
    if not any(name in record.models and record.distribution for record in registry.records()):
        return  # registered by hand: a fresh process does not know it
    X, y = subject.eeg(6), np.tile(["a", "b"], 3)
    enc = subject.transformer(info=subject.info).fit(X)
    clf = subject.classifier(info=subject.info).fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "fitted.pkl").write_bytes(pickle.dumps((enc, clf, X)))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _REOPEN, folder],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-400:]
        with np.load(place / "out.npz") as out:
            np.testing.assert_array_equal(out["embedded"], enc.transform(X))
            np.testing.assert_array_equal(out["chances"], clf.predict_proba(X))


#: Nothing but unpickling: the process imports what the pickle names.
_REOPEN = """
import pathlib, pickle, sys
import numpy as np
folder = pathlib.Path(sys.argv[1])
enc, clf, X = pickle.loads((folder / "fitted.pkl").read_bytes())
np.savez(folder / "out.npz", embedded=enc.transform(X), chances=clf.predict_proba(X))
"""


@check
def _the_objective_learns(subject: Subject) -> None:
    if subject.model.objective is None:
        return
    import torch

    from eegfound.models import load_object
    from eegfound.models.randomness import seeded_torch
    from eegfound.nn import Losses, Objective

    batch = subject.batch()
    with seeded_torch(0):
        objective = load_object(subject.model.objective)(**subject.model.sizes[subject.size])
        assert isinstance(objective, Objective), f"{type(objective)} is no eegfound.nn.Objective"
        objective.prepare(batch)
        objective.start_epoch(0, 1)
        trained = [p for p in objective.parameters() if p.requires_grad]
        rate = 1e-3 if sum(p.numel() for p in trained) < 2e7 else 5e-5  # large ones need care
        optimizer = torch.optim.Adam(trained, rate)

        def step() -> float:
            torch.manual_seed(0)  # the same dropout each time
            losses = objective(batch, generator=torch.Generator().manual_seed(0))
            assert isinstance(losses, Losses), "losses have no total"
            optimizer.zero_grad()
            losses.total.backward()
            return float(losses.total.detach())

        first, again = step(), step()
        assert np.isfinite(first), f"the loss is {first}"
        assert first == again, f"one seed gives two losses, {first} and {again}"
        moved = [p.grad is not None and p.grad.any() for p in objective.encoder.parameters()]
        assert any(moved), "the encoder gets no gradient"
        totals = []
        for i in range(6):
            optimizer.step()
            objective.after_step((i + 1) / 6)
            totals.append(step())
    assert min(totals[3:]) < first, f"six steps on one batch raise the loss: {first}, {totals}"
    unknown = objective.no_weight_decay() - {name for name, _ in objective.named_parameters()}
    assert not unknown, f"the objective's no_weight_decay names no parameter: {unknown}"


@check
def _forward_leaves_the_objective_as_it_was(subject: Subject) -> None:
    # What training changes beside gradients is changed after a step, once for all parts.
    import torch

    from eegfound.estimators import make_pretrainer
    from eegfound.models.randomness import seeded_torch
    from eegfound.pretraining.options import stages_of
    from eegfound.pretraining.trainer import build_objective

    if subject.model.objective is None and not subject.model.stages:
        return
    batch = subject.batch()
    previous: dict[str, torch.nn.Module] = {}
    with seeded_torch(0):
        # The Pretrainer knows which stages this size has.
        for stage in stages_of(make_pretrainer(subject.model.name, size=subject.size)._model()):
            objective = build_objective(
                subject.model, stage, size=subject.size, config={}, previous=previous,
                params=dict(stage.defaults.get("objective_params", {})), seed=0,
            )  # fmt: skip
            objective.prepare(batch)
            objective.start_epoch(0, 1)
            objective.train()
            before = {k: v.clone() for k, v in objective.state_dict().items() if torch.is_tensor(v)}
            objective(batch, generator=torch.Generator().manual_seed(0)).total.backward()
            after = objective.state_dict()
            moved = [k for k, v in before.items() if not torch.equal(v, after[k])]
            assert not moved, f"stage {stage.name!r}: forward changed {moved[:5]}"
            previous[stage.name] = objective
