"""EEGPT (2024) reproduces its golden vectors, and the runner notices when it does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import eegfound_eegpt.dual.golden as dual
import numpy as np
import pytest
import torch
from eegfound_eegpt.dual import golden_heads

from eegfound.nn import slices
from eegfound.testing import golden
from eegfound.testing.golden_case import GoldenCase, golden_files, read_values

FOLDER = Path(__file__).parent / "golden_dual"
CASES = [path.stem for path in golden_files(FOLDER)]
GIVEN = {"config", "mask_x", "mask_y"}


@pytest.fixture(scope="module")
def results():
    return {result.case: result for result in golden.run_folder("eegpt", FOLDER)}


@pytest.mark.parametrize("case", CASES)
def test_golden(results, case):
    result = results[case]
    assert result.ok, golden.format_results([result])
    (path,) = (path for path in golden_files(FOLDER) if path.stem == case)
    assert {array.name for array in result.arrays} == set(read_values(path)) - GIVEN


def test_exactly_the_goldens_of_the_folder_were_run(results):
    assert set(results) == set(CASES)
    assert len(CASES) == 8


@pytest.mark.slow
def test_the_published_size():
    results = golden.run_folder("eegpt", FOLDER / "large")
    assert len(results) == 9
    assert all(result.ok for result in results), golden.format_results(results)


@pytest.mark.slow
@pytest.mark.skipif("EEGFOUND_GOLDEN" not in os.environ, reason="EEGFOUND_GOLDEN is not set")
def test_the_whole_folder():
    results = golden.run_folder("eegpt", Path(os.environ["EEGFOUND_GOLDEN"]) / "eegpt-dual")
    assert all(result.ok for result in results), golden.format_results(results)


def _run_only(tmp_path, case):
    for path in (*FOLDER.glob("manifest_*.json"), FOLDER / f"{case}.npz"):
        shutil.copy(path, tmp_path)
    (result,) = golden.run_folder("eegpt", tmp_path)
    return result


def _tanh_gelu(monkeypatch):
    exact = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: exact(x, approximate="tanh"))


def _no_channel_table(monkeypatch):
    embed = slices.SliceEncoder.embed

    def nameless(self, signal, ids=None, mask=None):
        self.chan_embed.weight.data.zero_()
        return embed(self, signal, ids, mask)

    monkeypatch.setattr(slices.SliceEncoder, "embed", nameless)


def _other_epsilon(monkeypatch):
    build = slices.SliceEncoder.__init__

    def wrong(self, **config):
        build(self, **config)
        self.norm.eps = 1e-4

    monkeypatch.setattr(slices.SliceEncoder, "__init__", wrong)


def _whole_steps(monkeypatch):
    from eegfound.nn.slices.blocks import TimeEmbed

    forward = TimeEmbed.forward
    monkeypatch.setattr(TimeEmbed, "forward", lambda self, times: forward(self, 2 * times))


def _half_pairs(monkeypatch):
    from eegfound.nn.slices import blocks

    rotate = blocks.rotate
    monkeypatch.setattr(
        blocks, "rotate", lambda x, angles, interleaved: rotate(x, angles, interleaved=False)
    )


def _raw_targets(monkeypatch):
    from eegfound.nn.slices import pretraining

    monkeypatch.setattr(pretraining, "feature_targets", lambda features: features)


@pytest.mark.parametrize(
    ("mutant", "case", "array"),
    [
        (_tanh_gelu, "enc_tiny2_noids_5ch_192", "z"),
        (_no_channel_table, "enc_tiny1_cz_256", "token_slice"),
        (_other_epsilon, "enc_tiny1_cz_256", "z"),
        (_whole_steps, "pretrain_tiny1_5ch_320", "z_pred"),
        (_half_pairs, "pretrain_tiny1_5ch_320", "rec"),
        (_raw_targets, "pretrain_tiny1_5ch_320", "loss_align"),
    ],
)
def test_a_wrong_implementation_is_noticed(monkeypatch, tmp_path, mutant, case, array):
    assert _run_only(tmp_path, case).ok
    mutant(monkeypatch)
    result = _run_only(tmp_path, case)
    assert not result.error
    assert array in {a.name for a in result.arrays if not a.ok}


def test_a_manifest_that_does_not_fit_is_noticed(tmp_path):
    shutil.copy(FOLDER / "pretrain_tiny2_58ch.npz", tmp_path)
    manifest = json.loads((FOLDER / "manifest_checkpoint_tiny2.json").read_text())
    manifest["encoder.norm.weight"] = [65]
    (tmp_path / "manifest_checkpoint_tiny2.json").write_text(json.dumps(manifest))
    (result,) = golden.run_folder("eegpt", tmp_path)
    assert "checkpoint_tiny2" in result.error


def _described(**meta):
    shapes = {"z": (1, 1, 1, 64), "pooled_mean": (1, 64)}
    meta = {"tag": "tiny1", "B": 1, "T": 64, "chans": ["cz"], "scale": 1.0} | meta
    return GoldenCase("anything", meta, salt=meta.pop("salt", "other"), shapes=shapes)


def test_other_salts_names_and_lengths_give_other_numbers():
    first = dual.reproduce(_described())
    assert first["z"].shape == (1, 1, 1, 64)
    assert np.array_equal(first["z"], dual.reproduce(_described(chans=["CZ."]))["z"])
    assert not np.array_equal(first["z"], dual.reproduce(_described(salt="third"))["z"])
    assert not np.array_equal(first["z"], dual.reproduce(_described(chans=["C3"]))["z"])


@pytest.mark.parametrize(("meta", "told"), [({"chans": ["T3"]}, "T3"), ({"tag": "huge"}, "'huge'")])
def test_what_eegpt_does_not_have_is_named(meta, told):
    with pytest.raises(ValueError, match=told):
        dual.reproduce(_described(**meta))


@pytest.mark.parametrize(("n_outputs", "name"), [(1, "tuab"), (6, "tuev")])
def test_an_unnamed_adapter_is_known_by_its_classes(n_outputs, name):
    case = GoldenCase("anything", {"num_classes": n_outputs})
    assert golden_heads._of(case, golden_heads.ADAPTERS) == name
    with pytest.raises(ValueError, match="none of"):
        golden_heads._of(GoldenCase("anything", {"num_classes": 3}), golden_heads.ADAPTERS)


def test_probes_have_the_classes_that_are_asked_for(monkeypatch):
    tiny = slices.SliceEncoder(**slices.EEGPT_SIZES["tiny2"])
    monkeypatch.setattr(golden_heads, "_large", lambda stride=None: tiny)
    meta = {"head": "linear_probe_EEGPT_BCIC2B", "input_shape": [1, 5, 192]}
    case = GoldenCase("anything", meta, shapes={"logits": (1, 3)})
    assert golden_heads.probe(case)["logits"].shape == (1, 3)
