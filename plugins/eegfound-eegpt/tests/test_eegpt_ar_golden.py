"""eegpt-ar reproduces its golden vectors, and the runner notices when it does not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from eegfound_eegpt.ar import blocks, graph, network
from eegfound_eegpt.ar import golden as own
from eegfound_eegpt.ar.declaration import MODEL

from eegfound.base import SpecError
from eegfound.testing import golden
from eegfound.testing.golden_case import golden_files, read_manifests, read_values

FOLDER = Path(__file__).parent / "golden_ar"
CASES = [path.stem for path in golden_files(FOLDER)]


@pytest.fixture(scope="module")
def results():
    return {result.case: result for result in golden.run_folder("eegpt-ar", FOLDER)}


@pytest.mark.parametrize("case", CASES)
def test_golden(results, case):
    result = results[case]
    assert result.ok, golden.format_results([result])
    stored = set(read_values(FOLDER / f"{case}.npz"))
    assert {array.name for array in result.arrays} == stored - {"meta", "channels"}


def test_exactly_the_goldens_of_the_folder_were_run(results):
    assert CASES == ["base_19ch_legacy_780", "base_1ch_2s", "tiny_prenorm_mixed"]
    assert sum(len(result.arrays) for result in results.values()) == 54


@pytest.mark.slow
def test_the_whole_folder_of_goldens():
    folder = os.environ.get("EEGFOUND_GOLDEN", "")
    if not (Path(folder) / "eegpt-ar").is_dir():
        pytest.skip("EEGFOUND_GOLDEN names no folder with the golden vectors of eegpt-ar")
    results = golden.run_folder("eegpt-ar", Path(folder) / "eegpt-ar")
    assert all(result.ok for result in results), golden.format_results(results)


@pytest.mark.parametrize("size", sorted(set(MODEL.sizes) - {"small"}))  # that one is ours
def test_manifest(size):
    manifest = read_manifests(FOLDER)[size]
    own.check_manifest(own.network_options({"config": size}), manifest)
    with pytest.raises(SpecError, match="differs from its manifest"):
        own.check_manifest(
            own.network_options({"config": size}), {**manifest, "special_token": (1,)}
        )


def _spoil(module, name, wrong):
    return lambda monkeypatch: monkeypatch.setattr(module, name, wrong)


def _interleaved(monkeypatch):
    right = blocks.rotate
    monkeypatch.setattr(blocks, "rotate", lambda x, a, interleaved: right(x, a, interleaved=True))


def _sees_the_future(monkeypatch):
    right = torch.nn.functional.scaled_dot_product_attention

    def wrong(q, k, v, is_causal):
        return right(q, k, v)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)


def _other_placement(monkeypatch):
    right = blocks.Layer.__init__

    def wrong(self, dim, heads, hidden, placement):
        right(self, dim, heads, hidden, "pre" if placement != "pre" else "sublayer_out")

    monkeypatch.setattr(blocks.Layer, "__init__", wrong)


def _positions_from_one(monkeypatch):
    right = network.ETE._angles
    monkeypatch.setattr(network.ETE, "_angles", lambda self, x, first=0: right(self, x, first + 1))


def _special_keeps_the_place_of_the_last_token(monkeypatch):
    right = network.ETE._angles
    monkeypatch.setattr(
        network.ETE, "_angles", lambda self, x, first=0: right(self, x, max(0, first - 1))
    )


def _graph_without_nodes(monkeypatch):
    monkeypatch.setattr(graph.TEG, "place", lambda self, z, rows: z)


def _receivers_and_senders_exchanged(monkeypatch):
    right = graph.GraphAttention.weights

    def wrong(self, nodes, active=None):
        self.score_src, self.score_dst = self.score_dst, self.score_src
        return right(self, nodes, active)

    monkeypatch.setattr(graph.GraphAttention, "weights", wrong)


def _mean_over_padding(monkeypatch):
    monkeypatch.setattr(own, "pool_nodes", lambda nodes, active: nodes.mean(dim=1))


MUTANTS = {
    "eps": (_spoil(blocks, "EPS", 1e-3), {"z", "nodes"}),
    "rotary pairs": (_interleaved, {"z", "ete_tokens", "logits_mi"}),
    "causality": (_sees_the_future, {"pretrain_pred__strided", "loss_active", "mean_pool"}),
    "placement": (_other_placement, {"z", "mean_pool", "loss_per_electrode"}),
    "special position": (_special_keeps_the_place_of_the_last_token, {"z", "graph"}),
    "gate": (
        _spoil(torch.nn.functional, "silu", torch.nn.functional.gelu),
        {"z", "nodes", "logits_sleep"},
    ),
    "score": (
        _spoil(torch.nn.functional, "relu", lambda x: torch.nn.functional.leaky_relu(x, 0.2)),
        {"teg0_attn"},
    ),
    "nodes": (_graph_without_nodes, {"nodes", "graph", "teg0_attn"}),
    "direction": (_receivers_and_senders_exchanged, {"teg0_attn"}),
    "padding": (_mean_over_padding, {"graph", "logits_score"}),
    "hop": (_spoil(own, "HOP", 64), {"ete_tokens", "loss_active"}),
}


@pytest.mark.parametrize("mutant", list(MUTANTS))
def test_a_mistake_is_noticed(mutant, monkeypatch, tmp_path):
    spoil, expected = MUTANTS[mutant]
    shutil.copy(FOLDER / "tiny_prenorm_mixed.npz", tmp_path)
    spoil(monkeypatch)
    (result,) = golden.run_folder("eegpt-ar", tmp_path)
    missed = {array.name for array in result.arrays if not array.ok}
    assert expected <= missed, golden.format_results([result])


def test_angles_are_relative(monkeypatch, tmp_path):
    """Moving all positions by one changes nothing: rotary positions are relative."""
    shutil.copy(FOLDER / "tiny_prenorm_mixed.npz", tmp_path)
    _positions_from_one(monkeypatch)
    (result,) = golden.run_folder("eegpt-ar", tmp_path)
    assert result.ok


def _case(**meta):
    shape = meta.pop("shape", (2, 3, 1024))
    channels = meta.pop("channels", [["C3", "Cz", "C4"], ["EEG Fpz-Cz", "t5"]])
    described = {"config": "tiny", "input_shape": shape, "channels": json.dumps(channels)}
    return golden.GoldenCase("other", described | meta, salt=meta.get("salt", "other"))


def test_other_descriptions_are_reproduced():
    out = own.reproduce(_case())
    assert out["active"].tolist() == [[True] * 3, [True, True, False]]
    assert out["ids"][1].tolist() == [1, 59, 0]
    assert out["ete_tokens"].shape == (2, 3, 27, 32)
    assert not out["z"][1, 2].any()
    assert not out["teg0_attn"][1, :, 2].any()
    assert out["loss_active"] == pytest.approx(out["loss_per_electrode"][out["active"]].mean())
    other = own.reproduce(_case(salt="third"))
    assert np.abs(out["graph"] - other["graph"]).max() > 0.1
    short = own.reproduce(_case(shape=(1, 1, 200), channels=[["Cz"]]))
    assert short["ete_tokens"].shape == (1, 1, 3, 32)
    long = own.reproduce(_case(shape=(1, 1, 2000), channels=[["Cz"]]))
    assert long["ete_tokens"].shape == (1, 1, 57, 32)
    deeper = own.reproduce(_case(n_ete=3, n_teg=1, heads=2, ffn=20, tasks={"one": 2}))
    assert deeper["logits_one"].shape == (2, 2)


def test_unknown_and_double_channels_are_refused():
    with pytest.raises(SpecError, match=r"\['E17'\].*MontageMapper"):
        own.reproduce(_case(channels=[["C3", "E17"], ["Cz"]]))
    with pytest.raises(SpecError, match=r"'P7'.*keep one"):
        own.reproduce(_case(channels=[["T5", "P7"], ["Cz"]]))
    with pytest.raises(SpecError, match="1 lists of channels for 2"):
        own.reproduce(_case(channels=[["Cz"]]))
