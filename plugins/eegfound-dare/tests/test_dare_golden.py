"""DARE-EEG reproduces its golden vectors, and the runner notices when it does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import eegfound_dare.golden as dare
import eegfound_dare.golden_parts as parts
import eegfound_dare.objective as objective
import numpy as np
import pytest
import torch
from eegfound_dare import adapters, alignment, heads

from eegfound.base import SpecError
from eegfound.nn import max_norm
from eegfound.testing import golden
from eegfound.testing.golden_case import GoldenCase, golden_files, read_manifests, read_values

FOLDER = Path(__file__).parent / "golden"
CASES = [path.stem for path in golden_files(FOLDER)]
#: The published-size networks, seconds each.
HEAVY = {"clp_bcic2b", "enc_deep_58ch_1024", "pretrain_base_58ch"}
GIVEN = {"config", "mask_x", "mask_y", "mask_x2"}


def run_only(folder, *cases):
    for path in FOLDER.glob("manifest_*.json"):
        shutil.copy(path, folder)
    for case in cases:
        shutil.copy(FOLDER / f"{case}.npz", folder)
    return {result.case: result for result in golden.run_folder("dare", folder)}


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow if c in HEAVY else ()) for c in CASES],
)
def test_golden(case, tmp_path):
    source = ["pretrain_nano_58ch"] if case.startswith("grads") else []
    result = run_only(tmp_path, case, *source)[case]
    assert result.ok, golden.format_results([result])
    assert {a.name for a in result.arrays} == set(read_values(FOLDER / f"{case}.npz")) - GIVEN


@pytest.mark.slow
def test_folder_from_outside():
    folder = os.environ.get("EEGFOUND_GOLDEN")
    if not folder or not (Path(folder) / "dare").is_dir():
        pytest.skip("set EEGFOUND_GOLDEN to a folder that holds golden vectors in dare/")
    results = golden.run_folder("dare", Path(folder) / "dare")
    assert golden.exit_code(results) == 0, golden.format_results(results)


def _loose_rows(monkeypatch):
    monkeypatch.setattr(max_norm, "bounded_rows", lambda weight, bound: weight)


def _no_norm_of_features(monkeypatch):
    from eegfound.nn.slices import pretraining

    monkeypatch.setattr(pretraining, "feature_targets", lambda features: features)


def _other_temperature(monkeypatch):
    monkeypatch.setattr(
        objective.MaskContrast, "forward",
        lambda self, a, b: objective.info_nce(
            *(self.projection_head(self.pool(z)) for z in (a, b)), 0.11
        ),
    )  # fmt: skip


def _first_view_twice(monkeypatch):
    losses = objective.DAREObjective.losses

    def wrong(self, signal, ids, masks, second):
        return losses(self, signal, ids, masks, masks.visible)

    monkeypatch.setattr(objective.DAREObjective, "losses", wrong)


def _activation_of_one_view(monkeypatch):
    monkeypatch.setitem(objective.ABLATIONS, 5, {})
    monkeypatch.setattr(objective.DAREObjective.__init__, "__kwdefaults__",
                        objective.DAREObjective.__init__.__kwdefaults__
                        | {"activation_weight": 2e-4})  # fmt: skip


def _same_padding(monkeypatch):
    monkeypatch.setitem(adapters.ADAPTERS["tueg"], "temporal_padding", "same")


def _no_average(monkeypatch):
    monkeypatch.setattr(
        adapters, "interpolate", lambda x, n: torch.nn.functional.interpolate(x, size=n)
    )


def _mean_over_all(monkeypatch):
    monkeypatch.setattr(heads._AttentionPool, "forward", lambda self, tokens: tokens.mean(dim=1))


def _covariance_over_time(monkeypatch):
    mean = alignment.mean_covariance
    monkeypatch.setattr(
        alignment, "mean_covariance",
        lambda X, scaling: mean(X, "time" if scaling == "none" else scaling),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        ("adapters_heads", _loose_rows),
        ("adapters_heads", _same_padding),
        ("adapters_heads", _no_average),
        ("adapters_heads", _mean_over_all),
        ("clp_tuev", _loose_rows),
        ("euclidean_alignment", _covariance_over_time),
        ("pretrain_nano_58ch", _no_norm_of_features),
        ("pretrain_nano_58ch", _other_temperature),
        ("pretrain_nano_58ch", _first_view_twice),
        ("pretrain_nano_58ch", _activation_of_one_view),
    ],
)
def test_a_wrong_network_is_noticed(case, spoil, tmp_path, monkeypatch):
    spoil(monkeypatch)
    assert not run_only(tmp_path, case)[case].ok


def _case(**changes):
    values = {
        "name": "mine", "salt": "other",
        "meta": {"tag": "nano", "chans": ["Fz", "cz", "Oz."], "T": 200, "B": 2},
        "shapes": {"z": (2, 3, 1, 64)},
    }  # fmt: skip
    return GoldenCase(**(values | changes))


def test_other_descriptions_are_understood():
    out = dare.reproduce(_case())
    assert out["z"].shape == (2, 3, 1, 64)
    assert out["chan_ids"].tolist() == [[11, 29, 60]]
    with pytest.raises(SpecError, match="no electrode 'FT9'"):
        dare.reproduce(_case(meta={"tag": "nano", "chans": ["FT9"], "T": 64, "B": 1}))
    with pytest.raises(SpecError, match="size 'huge'"):
        dare.reproduce(_case(meta={"tag": "huge", "chans": 3, "T": 64, "B": 1}))
    with pytest.raises(SpecError, match="does not compute"):
        dare.reproduce(_case(shapes={"codes": (1,)}))
    with pytest.raises(SpecError, match="target R='3'"):
        parts.alignments(_case(meta={"input": [3, 2, 20], "R": "3"}))


def test_manifests_are_compared():
    manifests = read_manifests(FOLDER)
    wrong = {"checkpoint_nano": manifests["checkpoint_small"]}
    with pytest.raises(SpecError, match="differs from 'checkpoint_nano'"):
        dare.reproduce(_case(manifests=wrong))
    assert np.isfinite(dare.reproduce(_case(manifests=manifests))["z"]).all()


@pytest.mark.parametrize("size", ["nano", "light", "small", "base", "deep"])
def test_pretraining_networks_have_the_published_tensors(size):
    from eegfound.nn.slices import DARE_SIZES

    with torch.device("meta"):
        networks = objective.DARENetworks(**DARE_SIZES[size])
    shapes = {key: tuple(value.shape) for key, value in networks.state_dict().items()}
    assert shapes == read_manifests(FOLDER)[f"checkpoint_{size}"]
