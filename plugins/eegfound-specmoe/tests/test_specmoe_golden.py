"""SpecMoE reproduces its golden vectors, and notices plausible mistakes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import eegfound_specmoe.golden as specmoe
import numpy as np
import pytest
import torch
from eegfound_specmoe import attention, blocks, decoder, network, times

from eegfound.testing import golden
from eegfound.testing.golden_case import golden_files, read_values

FOLDER = Path(__file__).parent / "golden"
CASES = [path.stem for path in golden_files(FOLDER)]
SMALL = "expert_2x240_heads4"


@pytest.fixture(scope="module")
def results():
    return {result.case: result for result in golden.run_folder("specmoe", FOLDER)}


@pytest.mark.parametrize("case", CASES)
def test_golden(results, case):
    assert results[case].ok, golden.format_results([results[case]])
    values = read_values(FOLDER / f"{case}.npz")
    given = {"meta", "grad_keys", *(name for name in values if name.startswith("case"))}
    assert {array.name for array in results[case].arrays} == set(values) - given


def test_exactly_the_goldens_of_the_folder_were_run(results):
    assert set(results) == set(CASES)
    assert len(CASES) == 10


@pytest.mark.slow
@pytest.mark.skipif("EEGFOUND_GOLDEN" not in os.environ, reason="EEGFOUND_GOLDEN is not set")
def test_all_goldens_there_are():
    results = golden.run_folder("specmoe", Path(os.environ["EEGFOUND_GOLDEN"]) / "specmoe")
    assert golden.exit_code(results) == 0, golden.format_results(results)
    assert len(results) >= 14


def _run_only(tmp_path, case=SMALL):
    for path in (*FOLDER.glob("manifest_*.json"), FOLDER / f"{case}.npz"):
        shutil.copy(path, tmp_path)
    (result,) = golden.run_folder("specmoe", tmp_path)
    return result


def _softmax_over_keys(monkeypatch):
    def attend(q, k, v, *, mode="auto"):
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        scores.diagonal(dim1=-2, dim2=-1).zero_()
        return scores.softmax(dim=-1) @ v

    monkeypatch.setattr(blocks, "attend", attend)


def _scored_diagonal(monkeypatch):
    def attend(q, k, v, *, mode="auto"):
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return scores.softmax(dim=-2) @ v

    monkeypatch.setattr(blocks, "attend", attend)


def _halves_paired(monkeypatch):
    rotate = blocks.rotate
    monkeypatch.setattr(
        blocks, "rotate", lambda x, angles, interleaved: rotate(x, angles, interleaved=False)
    )


def _padding_not_counted(monkeypatch):
    pool = torch.nn.functional.avg_pool1d
    monkeypatch.setattr(
        times.F, "avg_pool1d", lambda x, *size: pool(x, *size, count_include_pad=False)
    )


def _odd_zero_first(monkeypatch):
    def padded(self, x):
        total = self.kernel_size[0] - 1
        return torch.nn.functional.pad(x, (total - total // 2, total // 2))

    monkeypatch.setattr(blocks.SameConv1d, "padded", padded)


def _epsilon_of_the_norm(monkeypatch):
    monkeypatch.setattr(blocks.UnbiasedNorm, "eps", 1e-3)


def _rows_transposed(monkeypatch):
    def rows_of(output, n_channels, how):
        n, features, _ = output.shape
        reduced = network.reduce(output.reshape(n, features, n_channels, -1), how, dim=-1)
        return reduced.transpose(1, 2)

    monkeypatch.setattr(specmoe, "rows_of", rows_of)


def _positions_swapped(monkeypatch):
    monkeypatch.setattr(times.Tensor, "repeat_interleave", lambda x, count, dim: x.repeat(1, count))


def _branches_swapped(monkeypatch):
    join = blocks.join_time
    monkeypatch.setattr(decoder, "join_time", lambda halves, n: join(halves[::-1], n))


@pytest.mark.parametrize(
    "mistake",
    [
        _softmax_over_keys, _scored_diagonal, _halves_paired, _padding_not_counted,
        _odd_zero_first, _epsilon_of_the_norm, _rows_transposed, _positions_swapped,
        _branches_swapped,
    ],
)  # fmt: skip
def test_a_plausible_mistake_is_noticed(tmp_path, monkeypatch, mistake):
    mistake(monkeypatch)
    result = _run_only(tmp_path)
    assert not result.error
    assert not result.ok


def test_the_chunked_form_reproduces_them_too(tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "_FEW_TOKENS", 0)
    monkeypatch.setattr(attention, "_SCORES", 40)
    result = _run_only(tmp_path)
    assert result.ok, golden.format_results([result])


def test_another_manifest_is_noticed(tmp_path):
    for path in (FOLDER / "manifest_expert.json", FOLDER / f"{SMALL}.npz"):
        shutil.copy(path, tmp_path)
    manifest = json.loads((tmp_path / "manifest_expert.json").read_text())
    manifest["Down1.features2.0.weight"] = manifest.pop("Down1.features3.0.weight")
    (tmp_path / "manifest_expert.json").write_text(json.dumps(manifest))
    (result,) = golden.run_folder("specmoe", tmp_path)
    assert "Down1.features2.0.weight" in result.error


@pytest.mark.parametrize("changes", [{"kind": "speech"}, {"kind": "fused", "fs": 100}])
def test_what_is_no_case_of_this_model_is_said(tmp_path, changes):
    values = read_values(FOLDER / "fused_1ch_2s_meanmean_k3_b1.npz")
    meta = json.loads(str(values.pop("meta"))) | changes
    np.savez(tmp_path / "other.npz", meta=json.dumps(meta), **values)
    (result,) = golden.run_folder("specmoe", tmp_path)
    assert "is of kind 'speech'" in result.error or "made for 200 Hz" in result.error


def test_a_mask_option_that_is_not_known_is_not_ignored():
    options = {"C": 1, "T": 800, "seed": 1, "index": 0}
    meta = {"kind": "mask", "n": 1, "scale": 1.0, "case0": json.dumps(options | {"depth": 1})}
    case = golden.GoldenCase("anything", meta, shapes={"mask0": (201, 5)})
    with pytest.raises(ValueError, match="depth"):
        specmoe.reproduce(case)
    meta["case0"] = json.dumps(options | {"mask_ratio": 0.3})
    assert specmoe.reproduce(case)["mask0"].shape == (201, 5)
