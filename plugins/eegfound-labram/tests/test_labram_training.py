"""The recipe of the open checkpoint: draws, stages, report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from eegfound_labram.objective import build_objective
from eegfound_labram.tokenizer import VQNSP

from eegfound.models import get_model
from eegfound.models.files import sha256_of
from eegfound.models.loading import load_encoder

SCRIPTS = Path(__file__).parents[1] / "scripts"
TINY = {"out_chans": 4, "depth": 1, "num_heads": 4}


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import open_recordings
        import train_open_checkpoint

        yield open_recordings, train_open_checkpoint
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def runs(scripts):
    """Three subjects: rhythms of their own, one artifact, one electrode less."""
    rng = np.random.default_rng(0)
    times = np.arange(6000) / 200
    made = []
    for subject, n_channels in ((1, 40), (2, 40), (3, 39)):
        phase = rng.uniform(0, 6, (n_channels, 1))
        data = 0.2 * np.sin(2 * np.pi * (8 + subject) * times + phase)
        data += 0.05 * rng.standard_normal((n_channels, 6000))
        made.append(scripts[0].Run(subject, data.astype(np.float32), np.arange(n_channels)))
    made[1].data[3, 3000] = 50.0
    return made


def test_draws_are_reproducible_windows_of_what_was_recorded(scripts, runs):
    one, two = (scripts[0].Windows(runs, seed=4, tokens=320) for _ in range(2))
    sizes = set()
    for _ in range(20):
        a, b = one.draw(), two.draw()
        assert torch.equal(a.signal, b.signal)
        assert torch.equal(a.rows, b.rows)
        assert a.signal.shape[1:] == (len(a.rows), 800)
        assert len(set(a.rows.tolist())) == len(a.rows) >= 12
        assert a.signal.abs().max() < scripts[0].LIMIT
        assert (a.signal.std(dim=2) > 0).all()
        sizes.add(len(a.rows))
    assert len(sizes) > 3


def test_a_window_is_cut_from_the_electrodes_asked_for(scripts, runs):
    windows = scripts[0].Windows(runs[:1], seed=0)
    for _ in range(5):
        batch = windows.draw()
        for row, signal in zip(batch.rows.tolist(), batch.signal[0].numpy()):
            source = runs[0].data[row]
            starts = np.flatnonzero(source[: 6000 - 799] == signal[0])
            assert any(np.array_equal(source[s : s + 800], signal) for s in starts)


def test_the_codebook_is_filled_after_the_free_steps_and_idle_codes_move(scripts, runs):
    training = scripts[1]
    torch.manual_seed(0)
    tokenizer = VQNSP(**TINY, decoder_depth=1, decoder_heads=4, n_codes=16, code_dim=8).train()
    step = training.TokenizerStep(tokenizer, scripts[0].Windows(runs, 1, tokens=96))
    step.start(20)
    windows = scripts[0].Windows(runs, 2, tokens=96)
    for _ in range(3):
        loss, parts = step(windows.draw())
        assert "commitment" not in parts
        assert not tokenizer.quantize.is_initialized
    loss, parts = step(windows.draw())
    assert tokenizer.quantize.is_initialized
    assert loss.item() == pytest.approx(sum(parts.values()), abs=1e-5)
    book = tokenizer.quantize
    book.cluster_size.fill_(1.0)
    book.cluster_size[5] = 0.0
    before = book.embedding.weight.clone()
    step._restart(windows.draw())
    moved = (book.embedding.weight != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [5]
    assert book.embedding.weight[5].norm().item() == pytest.approx(1, abs=1e-5)


def test_timing_the_first_steps_leaves_no_trace(scripts, runs):
    training = scripts[1]
    torch.manual_seed(0)
    tokenizer = VQNSP(**TINY, decoder_depth=1, decoder_heads=4, n_codes=16, code_dim=8).train()
    windows = scripts[0].Windows(runs, 2, tokens=96)
    step = training.TokenizerStep(tokenizer, scripts[0].Windows(runs, 1, tokens=96))
    before = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    noise = torch.get_rng_state()
    assert training._affordable_steps(tokenizer, step, windows, 0.0) == 20
    assert all(torch.equal(v, before[k]) for k, v in tokenizer.state_dict().items())
    assert torch.equal(noise, torch.get_rng_state())
    assert torch.equal(windows.draw().signal, scripts[0].Windows(runs, 2, tokens=96).draw().signal)


def test_both_stages_learn_and_report(scripts, runs, capsys):
    training, windows = scripts[1], scripts[0].Windows
    torch.manual_seed(0)
    tokenizer = VQNSP(**TINY, decoder_depth=1, decoder_heads=4, n_codes=16, code_dim=8)
    first = training.train_stage(
        "tokenizer", tokenizer, training.TokenizerStep(tokenizer, windows(runs, 1, tokens=192)),
        windows(runs, 2, tokens=192), seconds=0, steps=40,
    )  # fmt: skip
    held = [windows(runs, 3, tokens=192).draw()]
    first |= training.tokenizer_figures(tokenizer.eval(), held)
    assert first["log"][-1]["amplitude"] < 0.9 * first["log"][0]["amplitude"]
    assert 1 <= first["held_out_code_perplexity"] <= first["held_out_codes_used"] <= 16
    objective = build_objective(tokenizer=tokenizer, **TINY)
    second = training.train_stage(
        "masked", objective.network, training.MaskedStep(objective, 5),
        windows(runs, 4, tokens=192), seconds=0, steps=40,
    )  # fmt: skip
    second |= training.masked_figures(objective.eval(), held, windows(runs, 6, tokens=192))
    assert second["log"][-1]["masked"] < second["log"][0]["masked"]
    assert 0 <= second["held_out_accuracy"] <= 1
    assert second["steps"] == 40


CHECKPOINTS = [c for c in get_model("labram").checkpoints if c.packaged]


@pytest.mark.skipif(not CHECKPOINTS, reason="this release packages no checkpoint")
def test_the_packaged_checkpoint_is_the_one_of_its_report():
    import eegfound_labram

    folder = Path(eegfound_labram.__file__).parent / "checkpoints"
    for checkpoint in CHECKPOINTS:
        report = json.loads((folder / f"{checkpoint.name}.json").read_text())
        path = folder / f"{checkpoint.name}.safetensors"
        assert sha256_of(path) == report["sha256"] == checkpoint.sha256
        assert path.stat().st_size <= 3_000_000
        assert load_encoder(get_model("labram"), checkpoint=checkpoint.name).report.ok
        assert not set(report["data"]["train_subjects"]) & set(report["data"]["held_out_subjects"])
        assert (
            report["masked"]["held_out_accuracy"]
            > (report["masked"]["held_out_accuracy_of_most_frequent_code"])
        )


@pytest.mark.slow
@pytest.mark.skipif("EEGFOUND_DATA" not in os.environ, reason="EEGFOUND_DATA is not set")
def test_the_script_runs_from_the_shell(tmp_path):
    command = [sys.executable, str(SCRIPTS / "train_open_checkpoint.py"), "--steps", "20", "20"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True)
    report = json.loads((tmp_path / "labram-tiny-open.json").read_text())
    loaded = load_encoder(get_model("labram"), checkpoint=tmp_path / "labram-tiny-open.safetensors")
    assert loaded.file.sha256 == report["sha256"]
    assert loaded.size == "tiny"
