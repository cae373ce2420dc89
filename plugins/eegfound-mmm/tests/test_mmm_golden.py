"""MMM reproduces its golden vectors, and the runner notices when it does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import eegfound_mmm.golden as mmm
import numpy as np
import pytest
import torch
from eegfound_mmm import blocks, golden_networks, heads, normalization, objective, seed, topology
from eegfound_mmm.network import MMM

from eegfound.testing import golden
from eegfound.testing.golden_case import describe, golden_files, read_manifests, read_values

FOLDER = Path(__file__).parent / "golden"
PUBLISHED = "official_checkpoint"
CASES = [path.stem for path in golden_files(FOLDER) if path.stem != PUBLISHED]
MANIFESTS = read_manifests(FOLDER)
#: Stored values that are inputs or description, not outputs.
GIVEN = {
    "config", "salt", "sha256", "channels", "full62_channels", "ch19_channels", "labels", "mask",
    "ratio", "index_train", "index_valid", *(f"c{j}_{k}" for j in range(4)
    for k in ("fs", "win", "shape")),
}  # fmt: skip


def run_only(folder, *cases):
    for path in (*FOLDER.glob("manifest_*.json"), *(FOLDER / f"{case}.npz" for case in cases)):
        shutil.copy(path, folder)
    return golden.run_folder("mmm", folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    return {result.case: result for result in run_only(folder, *CASES)}


@pytest.mark.parametrize("case", CASES)
def test_golden(results, case):
    result = results[case]
    assert result.ok, golden.format_results([result])
    stored = set(read_values(FOLDER / f"{case}.npz")) - GIVEN
    if case.startswith("pretrain"):
        stored -= {"channel_mask"}
    if case == "topology_tables":
        stored |= {"channels"}
    assert {array.name for array in result.arrays} == stored


def test_exactly_the_goldens_of_the_folder_were_run(results):
    assert set(results) == set(CASES)
    assert len(CASES) == 14
    assert sum(len(result.arrays) for result in results.values()) == 146


def test_the_published_weights(published, tmp_path):
    (result,) = run_only(tmp_path, PUBLISHED)
    assert not result.skipped, result.skipped
    assert result.ok, golden.format_results([result])
    assert len(result.arrays) == 6


def test_without_the_published_weights_their_golden_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    (result,) = run_only(tmp_path, PUBLISHED)
    assert "tuh_pretrained_encoder_base.pt" in result.skipped
    assert not result.arrays


@pytest.mark.slow
@pytest.mark.skipif("EEGFOUND_GOLDEN" not in os.environ, reason="EEGFOUND_GOLDEN is not set")
def test_all_goldens():
    results = golden.run_folder("mmm", Path(os.environ["EEGFOUND_GOLDEN"]) / "mmm")
    assert golden.exit_code(results) == 0, golden.format_results(results)


# Each mutant below changes one fact of the specification.


def _ordinary_residual(monkeypatch):
    def forward(self, x, allowed):
        x = x + self.attn(self.norm1(x), allowed)
        return x + self.mlp(self.norm2(x))

    monkeypatch.setattr(blocks.Block, "forward", forward)


def _tanh_gelu(monkeypatch):
    exact = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: exact(x, approximate="tanh"))


def _final_norm(monkeypatch):
    encode = MMM.encode

    def normed(self, x, rows, layer=None):
        out = encode(self, x, rows, layer)
        return self.network.norm(out) if layer is None else out

    monkeypatch.setattr(MMM, "encode", normed)


def _everyone_attends(monkeypatch):
    monkeypatch.setattr(
        blocks, "allowed_pairs", lambda kind: np.ones((topology.N_TOKENS,) * 2, dtype=bool)
    )


def _ranks_of_this_montage(monkeypatch):
    table = blocks.position_table
    monkeypatch.setattr(blocks, "position_table", lambda kind, width: table("1d", width))


def _gelu_inside(monkeypatch):
    reference = heads.make_reference

    def other(*args, **kwargs):
        head = reference(*args, **kwargs)
        head.activation = torch.nn.functional.gelu
        return head

    monkeypatch.setattr(golden_networks, "make_reference", other)


def _biased_running_variance(monkeypatch):
    init = heads.BatchNorm.__init__

    def other(self, n):
        init(self, n, momentum=0.2)

    monkeypatch.setattr(heads.BatchNorm, "__init__", other)


def _electrodes_reach_the_decoder(monkeypatch):
    monkeypatch.setattr(objective.torch, "zeros_like", lambda x: x)


def _sample_deviation(monkeypatch):
    monkeypatch.setattr(normalization.np, "sqrt", lambda v: np.power(v, 0.5) * (1 + 1e-4))


def _order_of_the_files(monkeypatch):
    monkeypatch.setattr(seed, "REORDER", np.arange(62))


def _other_bands(monkeypatch):
    entropy = mmm.differential_entropy
    monkeypatch.setattr(
        mmm, "differential_entropy", lambda x, f, b, **k: entropy(x, f, "seed_shared", **k)
    )


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        ("ch14_epoc_d16", _ordinary_residual),
        ("ch14_epoc_d16", _tanh_gelu),
        ("ch14_epoc_d16", _final_norm),
        ("ch14_epoc_d16", _everyone_attends),
        ("ch14_epoc_d16", _ranks_of_this_montage),
        ("train_ch22_d16", _gelu_inside),
        ("train_ch22_d16", _biased_running_variance),
        ("pretrain_random_d16", _electrodes_reach_the_decoder),
        ("seed_dataset", _sample_deviation),
        ("seed_dataset", _order_of_the_files),
        ("de_features", _other_bands),
    ],
)
def test_one_wrong_fact_is_a_miss(tmp_path, monkeypatch, case, spoil):
    spoil(monkeypatch)
    (result,) = run_only(tmp_path, case)
    assert not result.error, result.error
    assert golden.exit_code([result]) == 1


def test_names_and_manifests_are_not_needed(tmp_path):
    # Goldens made elsewhere may be named otherwise and come without manifests.
    for i, case in enumerate(CASES):
        shutil.copy(FOLDER / f"{case}.npz", tmp_path / f"sample_{i}.npz")
    results = golden.run_folder("mmm", tmp_path)
    assert golden.exit_code(results) == 0, golden.format_results(results)


def other_case(case, salt="private", channels=None, inputs=None, **config):
    """Compute a golden like a stored one, with other salt, channels or options."""
    values = read_values(FOLDER / f"{case}.npz")
    meta = describe(values)[0] | {"salt": salt} | config
    names = list(values["channels"]) if channels is None else channels
    n = values["input"].shape[0]
    given = {"channels": np.array(names), **(inputs or {})}
    if "labels" in values:
        given["labels"] = values["labels"]
    shapes = {name: (0,) for name in set(values) - set(given) - {"config", "mask", "ratio"}}
    shapes["input"] = (n, len(names), 5)
    made = golden.GoldenCase(case, meta, salt, given, shapes, MANIFESTS)
    return mmm.reproduce(made)


MONTAGE = ["O2", "CB1", "t7", "CZ", "FP1"]


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("ch14_epoc_d16", {"encoder_dim": 64, "out_size": 4, "depth": 2}),
        ("full62_d16_sph", {"local": True}),
        ("full62_d16_local", {"pe": "1d", "heads": 4}),
        ("full62_d16_sigmoid", {"out_size": 5, "input_scale": 2.0}),
        ("train_ch22_d16", {"encoder_dim": 64}),
    ],
)
def test_other_salts_channels_and_options(case, options):
    here = other_case(case, channels=MONTAGE, **options)
    again = other_case(case, channels=MONTAGE, **options)
    other = other_case(case, salt="another", channels=MONTAGE, **options)
    key = "probs_train" if case.startswith("train") else "probs"
    assert here[key].shape[1] == options.get("out_size", 3)
    np.testing.assert_array_equal(here[key], again[key])
    assert np.abs(here["input"] - other["input"]).max() > 0.1
    width = options.get("encoder_dim", 16)
    rows = here.get("tokens_out", here.get("grad_pos_embed")[None] if key != "probs" else None)
    assert rows.shape[1:] == (len(MONTAGE) + 18, width)


def test_other_masks():
    montage = [*MONTAGE, "OZ"]
    hidden = np.array([[1, 0, 0, 1, 0, 0]] * 3)
    per_electrode = other_case("mask_random_d64", channels=montage, inputs={"mask": hidden})
    np.testing.assert_array_equal(per_electrode["channel_mask"], hidden)
    regions = np.zeros((3, 17), dtype=int)
    regions[:, 15] = 1  # O2 and OZ
    per_region = other_case("mask_regional_d64", channels=montage, inputs={"mask": regions})
    np.testing.assert_array_equal(per_region["channel_mask"], [[1, 0, 0, 0, 0, 1]] * 3)
    assert np.abs(per_region["probs"] - per_electrode["probs"]).max() > 0
    pre = other_case(
        "pretrain_random_d16", channels=montage, inputs={"channel_mask": hidden}, decoder_depth=2
    )
    error = (pre["reconstruction"] - pre["input"]) ** 2
    assert pre["loss_masked"] == pytest.approx(error[hidden.astype(bool)].mean(), abs=1e-6)
    assert pre["loss_all"] == pytest.approx(error.mean(), abs=1e-6)


def test_a_manifest_of_another_network_is_a_miss(tmp_path):
    shutil.copy(FOLDER / "train_ch22_d16.npz", tmp_path)
    manifest = json.loads((FOLDER / "manifest_finetune_d16.json").read_text())
    for change in ({"network.extra": [[3], "float32"]}, {"network.cls_token": [[1, 1, 16], "x"]}):
        spoiled = manifest | change
        if "network.extra" not in change:
            spoiled["fc_norm1.weight"] = [[7], "float32"]
        (tmp_path / "manifest_mine.json").write_text(json.dumps(spoiled))
        (result,) = golden.run_folder("mmm", tmp_path)
        assert "differs from manifest_mine" in result.error


def test_the_manifest_of_the_published_file_is_the_encoder():
    own = {k: tuple(v.shape) for k, v in MMM().state_dict().items()}
    published = {k: tuple(v) for k, v in MANIFESTS["official_checkpoint"].items()}
    assert set(own) - set(published) == {"supernodes", "network.pos_embed"}
    assert {k: own[k] for k in published} == published


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": np.array([*"ABCDEFGHIJKLMN"])}, "no electrode"),
        ({"channels": np.array(["CZ"])}, "1 channels are named for 14"),
    ],
)
def test_a_golden_that_makes_no_sense_says_so(tmp_path, change, message):
    np.savez(tmp_path / "odd.npz", **(read_values(FOLDER / "ch14_epoc_d16.npz") | change))
    (result,) = golden.run_folder("mmm", tmp_path)
    assert message in result.error


@pytest.mark.parametrize("first", ["pos_embed", "attn_mask"])
def test_without_an_input_the_outputs_tell_the_number_of_windows(first):
    shapes = {first: (20, 16), "channel_mask": (4, 2), "tokens_out": (4, 20, 16)}
    case = golden.GoldenCase(
        "x", {"encoder_dim": 16}, inputs={"channels": np.array(["CZ", "OZ"])}, shapes=shapes
    )
    assert mmm.reproduce(case)["tokens_out"].shape == (4, 20, 16)


def test_old_names_are_understood():
    old = golden_networks.rows_of(["T3", "t5", "Fp1"])
    assert old.tolist() == golden_networks.rows_of(["T7", "P7", "FP1"]).tolist()


def test_region_tokens_are_an_input_of_the_published_weights_whatever_the_file_is_called():
    shapes = {"full62_head_zero_supernodes": (2, 18, 64), "supernodes": (1, 17, 5)}
    assert "supernodes" in mmm.INPUTS("anything", shapes)
    assert "supernodes" not in mmm.INPUTS("official", {"tokens_out": (2, 80, 16)})
