"""LaBraM reproduces its golden vectors, and the runner notices when it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import eegfound_labram.golden as labram
import numpy as np
import pytest
import torch
from eegfound_labram import network, objective, quantizer, tokenizer

from eegfound.nn import codebook
from eegfound.testing import golden
from eegfound.testing.golden_case import golden_files, read_manifests, read_values

FOLDER = Path(__file__).parent / "golden"
CASES = [path.stem for path in golden_files(FOLDER)]


@pytest.fixture(scope="module")
def results():
    return {result.case: result for result in golden.run_folder("labram", FOLDER)}


#: Stored values that are inputs or description, not outputs.
GIVEN = {
    "meta", "noise", "args", "note", "km_samples", "km_init_idx", "z0", "z1", "cot0", "cot1",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_golden(results, case):
    result = results[case]
    assert result.ok, golden.format_results([result])
    (path,) = (path for path in golden_files(FOLDER) if path.stem == case)
    assert {array.name for array in result.arrays} == set(read_values(path)) - GIVEN


def test_exactly_the_goldens_of_the_folder_were_run(results):
    assert set(results) == set(CASES)
    assert len(CASES) == 16
    assert sum(len(result.arrays) for result in results.values()) == 184


def _run_only(tmp_path, *cases):
    for path in FOLDER.glob("manifest_*.json"):
        shutil.copy(path, tmp_path)
    for case in cases:
        shutil.copy(FOLDER / f"{case}.npz", tmp_path)
    return golden.run_folder("labram", tmp_path)


def _after_filling(monkeypatch, change):
    """Let ``change`` spoil every network once it has its weights."""
    filled = labram._filled

    def spoiled(module, *args):
        filled(module, *args)
        change(module)

    monkeypatch.setattr(labram, "_filled", spoiled)


def _norms(kind, eps, only=""):
    def change(module):
        for name, part in module.named_modules():
            if isinstance(part, kind) and only in name:
                part.eps = eps

    return lambda monkeypatch: _after_filling(monkeypatch, change)


def _tanh_gelu(monkeypatch):
    exact = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x: exact(x, approximate="tanh"))


def _class_token_row(monkeypatch):
    encode = network.LaBraM.encode

    def wrong(self, patches, rows, *, cls_row=0, layer=None):
        return encode(self, patches, rows, cls_row=int(rows[0]) + 1, layer=layer)

    monkeypatch.setattr(network.LaBraM, "encode", wrong)


def _no_quirk(monkeypatch):
    _after_filling(monkeypatch, lambda module: setattr(module, "cls_quirk", False))


def _biased_spread(monkeypatch):
    unbiased = torch.Tensor.std

    def biased(self, dim, keepdim):
        return unbiased(self, dim=dim, correction=0, keepdim=keepdim)

    monkeypatch.setattr(torch.Tensor, "std", biased)


def _norm_before_pooling(monkeypatch):
    monkeypatch.setattr(network.LaBraM, "finish_pooling", lambda self, pooled: pooled)


def _no_layer_scale(module):
    for name, parameter in module.named_parameters():
        if "gamma" in name:
            parameter.data.fill_(1)


def _unnormed_codebook(monkeypatch):
    monkeypatch.setattr(labram, "unit", lambda vectors: vectors)


def _inverted_mask(monkeypatch):
    monkeypatch.setattr(labram, "mask_from_noise", lambda noise: ~objective.mask_from_noise(noise))


def _other_decay(monkeypatch):
    class Slower(quantizer.CodebookQuantizer):
        def __init__(self, *args, decay):
            super().__init__(*args, decay=0.995)

    monkeypatch.setattr(labram, "CodebookQuantizer", Slower)


def _no_commitment_mean(monkeypatch):
    mean = torch.nn.functional.mse_loss
    monkeypatch.setattr(codebook.F, "mse_loss", lambda a, b: mean(a, b) * a.shape[-1])


def _phase_in_turns(monkeypatch):
    monkeypatch.setattr(torch, "atan2", lambda y, x: torch.atan(y / x))


def _decoder_without_time(module):
    if isinstance(module, tokenizer.VQNSP):
        module.decoder.time_embed.data.zero_()


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        ("ft_base_mean", _norms(torch.nn.LayerNorm, 1e-5)),
        ("ft_tiny_qkeps", _norms(torch.nn.LayerNorm, 1e-5, only="_norm")),
        ("ft_tiny_qkn", _norms(torch.nn.GroupNorm, 1e-6)),
        ("ft_tiny_plain", _tanh_gelu),
        ("ft_tiny_plain", _class_token_row),
        ("ft_tiny_plain", _norm_before_pooling),
        ("ft_tiny_qkn", lambda m: _after_filling(m, _no_layer_scale)),
        ("mem_tiny", _no_quirk),
        ("mem_tiny", _inverted_mask),
        ("vq_tiny", _biased_spread),
        ("vq_tiny", _unnormed_codebook),
        ("vq_tiny", _no_commitment_mean),
        ("vq_tiny", _phase_in_turns),
        ("vq_tiny", lambda m: _after_filling(m, _decoder_without_time)),
        ("quantizer", _other_decay),
    ],
)
def test_one_wrong_fact_is_a_miss(tmp_path, monkeypatch, case, spoil):
    assert golden.exit_code(_run_only(tmp_path, case)) == 0
    spoil(monkeypatch)
    (result,) = _run_only(tmp_path, case)
    assert not result.error, result.error
    assert golden.exit_code([result]) == 1


def test_names_and_manifests_are_not_needed(tmp_path):
    # Goldens made elsewhere may be named otherwise and come without manifests.
    for i, path in enumerate(sorted(FOLDER.glob("*.npz"))):
        shutil.copy(path, tmp_path / f"sample_{i}.npz")
    shutil.copy(FOLDER / "lr_schedule.json", tmp_path / "rates.json")
    shutil.copy(FOLDER / "param_groups_ft_base.json", tmp_path / "groups.json")
    results = golden.run_folder("labram", tmp_path)
    assert golden.exit_code(results) == 0, golden.format_results(results)


OTHER = {
    "ft_tiny_plain": {"channels": ["O2", "FTT9h", "fp1"], "shape": [2, 3, 16, 200]},
    "ft_tiny_qkn": {"channels": ["CZ"], "shape": [3, 1, 1, 200], "num_classes": 5},
    "ft_tiny_qkeps": {"channels": ["T3", "T7"], "shape": [1, 2, 3, 200]},
    "vq_tiny": {"channels": ["A1", "P8-O2"], "shape": [3, 2, 2, 200], "input_scale": 1.0},
    "mem_tiny": {"channels": ["PZ", "FZ", "OZ", "C3"], "shape": [2, 4, 5, 200]},
}


def _other_case(name, salt):
    """Describe a golden like ``name`` with other salt, channels, length and mask."""
    values = read_values(FOLDER / f"{name}.npz")
    meta = json.loads(values["meta"].item()) | OTHER[name] | {"salt": salt}
    if name == "ft_tiny_qkn":
        meta["config"] = meta["config"].replace("cls pooling", "mean pooling")
    n, n_channels, n_patches, _ = meta["shape"]
    inputs = {}
    if "noise" in values:
        rng = np.random.default_rng(1)
        inputs["noise"] = rng.random((n, n_channels * n_patches), dtype=np.float32)
    names = set(values) - set(inputs) - {"meta"}
    manifests = {k: v for k, v in read_manifests(FOLDER).items() if k != name}
    # Shapes of another rank cut nothing off: whole outputs are stored.
    shapes = {array: (0,) * 9 for array in names}
    case = golden.GoldenCase(f"{name}_b", meta, salt, inputs, shapes, manifests)
    arrays = {key: value for key, value in labram.reproduce(case).items() if key in names}
    assert set(arrays) == names
    return {"meta": np.array(json.dumps(meta)), **inputs, **arrays}


def test_other_salts_channels_lengths_and_masks(tmp_path):
    for name in OTHER:
        np.savez(tmp_path / f"{name}_b.npz", **_other_case(name, "private"))
    results = golden.run_folder("labram", tmp_path)
    assert golden.exit_code(results) == 0, golden.format_results(results)
    for name in OTHER:
        path = tmp_path / f"{name}_b.npz"
        values = read_values(path)
        edited = "pooled" if "pooled" in values else "codes"
        values[edited] = values[edited].copy()
        values[edited].flat[0] += 1
        np.savez(path, **values)
    for result in golden.run_folder("labram", tmp_path):
        assert [a.name for a in result.arrays if not a.ok] == [
            "pooled" if result.case.startswith("ft") else "codes"
        ]


def test_salt_and_channels_change_what_is_computed():
    same = _other_case("ft_tiny_plain", "private")
    assert np.array_equal(same["pooled"], _other_case("ft_tiny_plain", "private")["pooled"])
    assert np.abs(same["pooled"] - _other_case("ft_tiny_plain", "else")["pooled"]).max() > 0.1


def test_a_stored_mask_serves_where_no_noise_is(tmp_path):
    values = read_values(FOLDER / "mem_tiny.npz")
    del values["noise"]
    np.savez(tmp_path / "mem_tiny.npz", **values)
    (result,) = golden.run_folder("labram", tmp_path)
    assert result.ok, golden.format_results([result])
    assert "mask" not in {array.name for array in result.arrays}


def test_a_manifest_of_another_network_is_a_miss(tmp_path):
    _run_only(tmp_path, "ft_tiny_plain")
    path = tmp_path / "manifest_ft_tiny_plain.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"extra.weight": [3]}))
    (result,) = golden.run_folder("labram", tmp_path)
    assert "differs from its manifest" in result.error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ["C4", "CZ", "C3", "O9", "XX"]}, "no electrode"),
        ({"channels": ["C4"]}, "1 channels are named for 5"),
        ({"channels": None}, "128 channels are needed"),
    ],
)
def test_a_golden_that_makes_no_sense_says_so(tmp_path, change, message):
    values = read_values(FOLDER / "ft_tiny_plain.npz")
    values["meta"] = np.array(json.dumps(json.loads(values["meta"].item()) | change))
    np.savez(tmp_path / "odd.npz", **values)
    (result,) = golden.run_folder("labram", tmp_path)
    assert message in result.error


def test_other_read_outs_take_tokens_normed_one_by_one():
    values = read_values(FOLDER / "ft_tiny_qkeps.npz")
    meta = json.loads(values["meta"].item())
    case = golden.GoldenCase("ft_tiny_qkeps", meta, manifests=read_manifests(FOLDER))
    options = labram.encoder_options(case) | {"pooling": "channels"}
    encoder = network.LaBraM(**options)
    golden.fill_network(encoder, "public")
    encoder.eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("attn.qkv.weight"):
                parameter.mul_(meta["qkv_weight_scale"])
        batch, _ = labram._batch(case)
        tokens = encoder(batch).values.numpy()
        raw = encoder(batch, layer=encoder.n_layers).values
        assert np.allclose(encoder.fc_norm(raw).numpy(), tokens, atol=1e-6)
    # The stored tokens of a mean-pooling golden are normed in the same way.
    assert np.abs(tokens - values["tokens"]).max() < 1e-5
