"""MMM's stage in a training: what is measured, parts of a step, from fit to a Transformer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_mmm import MMMPretrainer
from eegfound_mmm.objective import build_objective
from eegfound_mmm.plugin import MODEL
from eegfound_mmm.topology import VOCABULARY

import eegfound as ef
from eegfound.models.network import SignalBatch

NAMES = ("FP1", "FP2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "FZ", "PZ")
ROWS = torch.tensor([VOCABULARY.index(name) for name in NAMES])
TINY = {"width": 16, "depth": 1, "n_heads": 4}


def objective(**options):
    torch.manual_seed(0)
    return build_objective(**(TINY | options))


def batch(n=6, n_windows=2, seed=1, rows=ROWS):
    """Features with a level that all electrodes of a window share."""
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(n, 1, n_windows, 5, generator=generator)
    own = 0.3 * torch.randn(n, len(rows), n_windows, 5, generator=generator)
    return SignalBatch(level + own, rows)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_measures_are_errors_on_what_is_hidden():
    pre, data = objective().eval(), batch()
    with torch.no_grad():
        found = pre.measure(data, generator=seeded())
        draws, features = seeded(), data.signal.transpose(1, 2).flatten(0, 1)
        expected = {}
        for stage in ("random", "regional"):
            hidden = pre.draw(len(features), ROWS, draws, stage=stage)
            guess = pre(data, hidden=hidden).reconstruction
            expected[stage] = (guess - features)[hidden].square().mean()
            expected[f"{stage}_zero"] = features[hidden].square().mean()
            near = torch.stack([x[~h].mean(dim=0) for x, h in zip(features, hidden, strict=True)])
            error = (near[:, None] - features)[hidden]
            expected[f"{stage}_neighbours"] = error.square().mean()
    torch.testing.assert_close(found["random"], expected["random"])
    torch.testing.assert_close(found["regional"], expected["regional"])
    for name in ("zero", "neighbours"):
        both = (expected[f"random_{name}"] + expected[f"regional_{name}"]) / 2
        torch.testing.assert_close(found[f"hidden_{name}"], both)
    # Nothing was trained on: the usual feature is zero.
    torch.testing.assert_close(found["hidden_trivial"], found["hidden_zero"])


def test_usual_features_are_means_of_each_electrode():
    pre, first, second = objective().train(), batch(), batch(seed=2, rows=ROWS[:3])
    for part in (first, second):
        pre(part, generator=seeded())
    assert not pre.usual_features().any()  # nothing moves within a step
    pre.after_step(1.0)
    usual = pre.usual_features()
    both = torch.cat([first.signal[:, 0], second.signal[:, 0]]).flatten(0, 1)
    torch.testing.assert_close(usual[ROWS[0]], both.mean(dim=0))
    torch.testing.assert_close(usual[ROWS[5]], first.signal[:, 5].flatten(0, 1).mean(dim=0))
    assert not usual[VOCABULARY.index("CB1")].any()
    pre.eval()(first, generator=seeded())
    pre.after_step(1.0)
    assert torch.equal(pre.usual_features(), usual)  # evaluation teaches nothing


def test_a_step_in_parts_is_the_step():
    whole, parts, data = objective().train(), objective().train(), batch()
    hidden = whole.draw(12, ROWS, seeded())
    whole(data, hidden=hidden).total.backward()
    for at in (slice(0, 2), slice(2, 6)):
        own = hidden[2 * at.start : 2 * at.stop]
        share = (at.stop - at.start) / 6
        (share * parts(SignalBatch(data.signal[at], ROWS), hidden=own).total).backward()
    for pre in (whole, parts):
        pre.after_step(1.0)
    torch.testing.assert_close(whole.usual_features(), parts.usual_features())
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_an_illustration_is_of_the_first_epoch():
    pre, data = objective().eval(), batch(n_windows=3)
    shown = pre.illustrate(data, generator=seeded())
    assert shown["hidden"].shape == (len(ROWS), 3)
    assert shown["hidden"].sum() == 3 * 6
    assert shown["reconstruction"].shape == shown["signal"].shape == (len(ROWS), 15)
    torch.testing.assert_close(shown["signal"][4, 5:10], data.signal[0, 4, 1])


def test_the_stage_says_what_the_paper_says():
    (stage,) = MODEL.stages
    paper = stage.recipes["paper"]
    assert (paper["max_epochs"], paper["train_batch_size"], paper["optimizer"]) == (
        600, 512, "adamw",
    )  # fmt: skip
    assert paper["objective_params"] == {"cycle_epochs": 100, "random_fraction": 0.5}


def test_from_windows_to_a_transformer(tmp_path):
    X = 1e-5 * np.random.default_rng(0).standard_normal((8, len(NAMES), 400))
    info = ef.ChannelInfo(NAMES, 200)
    pre = ef.make_pretrainer(
        "mmm", size="paper", info=info, max_epochs=2, model_params={"depth": 1}, random_state=0
    )
    assert isinstance(pre, MMMPretrainer)
    pre.fit(X, groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert [row["split"] for row in pre.history_] == ["train", "valid"] * 2
    # Both ways of masking occurred: the second pass hid regions.
    assert pre.objective_.stage == "regional"
    found = pre.evaluate(X)
    assert found["total"] == pytest.approx(-pre.score(X))
    assert 0 < found["hidden_trivial"] < 5
    path = pre.save(tmp_path / "mine.safetensors")
    enc = ef.make_transformer(
        "mmm", checkpoint=path, info=info, model_params={"depth": 1}
    ).fit(X)  # fmt: skip
    assert torch.equal(enc.encoder_.network.supernodes, pre.encoder_.supernodes)
    assert np.isfinite(enc.transform(X)).all()
