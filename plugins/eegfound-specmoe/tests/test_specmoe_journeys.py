"""What users do with SpecMoE: embed, train gates, fine-tune, pretrain and assemble."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from eegfound_specmoe import (
    SpecMoEClassifier,
    SpecMoERegressor,
    SpecMoETransformer,
    assemble_experts,
)
from eegfound_specmoe.head import ClassifierHead
from eegfound_specmoe.objective import build_objective
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models.files import save_weights
from eegfound.models.network import SignalBatch

NAMES = ("C3", "Cz", "C4")
INFO = ef.ChannelInfo(NAMES, 200)
EXPERT = {"size": "expert", "checkpoint": None, "info": INFO}


def two_kinds(n=16, n_times=400):
    """Windows with and without an alpha rhythm."""
    random = np.random.default_rng(0)
    X = 1e-5 * random.standard_normal((n, 3, n_times))
    y = np.tile(["rest", "alpha"], n // 2)
    X[1::2] += 4e-5 * np.sin(2 * np.pi * 10 * np.arange(n_times) / 200)
    return X, y


def test_importing_the_declaration_imports_no_torch():
    code = "import eegfound_specmoe.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_embeddings_feed_scikit_learn():
    X, y = two_kinds()
    pipeline = make_pipeline(SpecMoETransformer(**EXPERT), StandardScaler(), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) == 1.0


def test_the_mixture_puts_experts_side_by_side():
    X, _ = two_kinds(2)
    out = SpecMoETransformer(checkpoint=None, info=INFO).fit_transform(X)
    assert out.shape == (2, 384)
    assert np.abs(out[:, :128] - out[:, 128:256]).max() > 1e-3


def test_gates_and_head_are_trained_while_experts_stay():
    X, y = two_kinds()
    clf = SpecMoEClassifier(
        **EXPERT, pooling="fused", tuning="readout", head="specmoe", head_dropout=0.2, max_epochs=8,
        train_batch_size=8, model_params={"log_psd": True},
    ).fit(X, y)  # fmt: skip
    own = clf.encoder_.network.state_dict()
    moved = {k for k, v in clf.net_.module_.network.state_dict().items() if (v != own[k]).any()}
    assert moved == {"gate_LinearT_1.weight", "gate_LinearT_1.bias"}
    assert clf.score(X, y) > 0.8
    with pytest.raises(SpecError, match="no read-out of its own"):
        SpecMoEClassifier(**EXPERT, tuning="readout").fit(X, y)


def test_everything_is_fine_tuned_with_the_references_head():
    X, y = two_kinds(8)
    clf = SpecMoEClassifier(
        **EXPERT, pooling="fused", tuning="full", head="specmoe", max_epochs=2, train_batch_size=4,
    ).fit(X, y)  # fmt: skip
    assert isinstance(clf.net_.module_.head.body, ClassifierHead)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_a_number_is_predicted():
    X, y = two_kinds()
    target = np.where(y == "alpha", 0.9, 0.1)
    reg = SpecMoERegressor(**EXPERT, head="linear").fit(X, target)
    assert reg.score(X, target) > 0.9


def test_the_references_head_is_as_wide_as_its_features():
    head = ClassifierHead(384, 5)
    assert sum(p.numel() for p in head.parameters()) + 3 * 202 * 128 == 228_101


def test_windows_of_a_second_and_one_channel_work():
    out = SpecMoETransformer(size="expert", checkpoint=None).fit_transform(
        two_kinds(2, 200)[0][:, 0]
    )
    assert out.shape == (2, 128)
    assert np.isfinite(out).all()


def test_a_missing_channel_is_left_out():
    X, _ = two_kinds(4)
    X[::2, 1] = np.nan
    enc = SpecMoETransformer(**EXPERT)
    out = enc.fit_transform(X)
    few = SpecMoETransformer(**EXPERT | {"info": ef.ChannelInfo(("C3", "C4"), 200)})
    np.testing.assert_allclose(out[::2], few.fit_transform(X[::2][:, [0, 2]]), rtol=1e-5, atol=1e-6)


def test_pretrain_three_experts_assemble_and_embed(tmp_path):
    X, _ = two_kinds(4, 480)
    signal = torch.from_numpy((X * 1e4).astype(np.float32))
    batch = SignalBatch(signal, torch.full((3,), -1), NAMES)
    files = []
    for i in range(3):  # each expert on data of its own
        torch.manual_seed(i)
        objective = build_objective(n_channels=3)
        optimizer = torch.optim.AdamW(objective.parameters(), 1e-3)
        totals = []
        for _ in range(4):
            optimizer.zero_grad()
            losses = objective(batch, generator=torch.Generator().manual_seed(i))
            losses.total.backward()
            optimizer.step()
            totals.append(losses.total.item())
        assert totals[-1] < totals[0]
        files.append(
            save_weights(
                tmp_path / f"expert{i}.safetensors", objective.encoder.state_dict(),
                {"model": "specmoe", "size": "expert", "config": {}},
            )
        )  # fmt: skip
    path = assemble_experts(files, tmp_path / "mine.safetensors")
    enc = SpecMoETransformer(checkpoint=path, info=INFO)
    assert enc.fit_transform(X).shape == (4, 384)
    assert enc.weights_ == str(path)
