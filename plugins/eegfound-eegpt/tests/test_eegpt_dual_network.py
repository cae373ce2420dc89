"""EEGPT (2024) in the suite: declaration, read-outs, input, task modules."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from eegfound_eegpt import EEGPTClassifier, EEGPTRegressor, EEGPTTransformer
from eegfound_eegpt.dual.adapters import AdapterClassifier, ReadoutClassifier
from eegfound_eegpt.dual.heads import (
    LinearProbe,
    SleepProbe,
    degenerate_position_code,
    interpolate,
)
from eegfound_eegpt.dual.readout import PredictorReadout, ReconstructorReadout, build_readout
from eegfound_eegpt.dual.recipes import ADAPTERS, PROBES

import eegfound as ef
from eegfound.models import get_model
from eegfound.models.network import SignalBatch
from eegfound.nn.slices import EEGPT_SIZES, SliceEncoder

MODEL = get_model("eegpt")
INFO = ef.ChannelInfo(["Fp1", "C3", "Cz", "C4", "O2"], 256.0)
TINY = EEGPT_SIZES["tiny2"]


def eeg(n=3, n_channels=5, n_times=320):
    return 2e-5 * np.random.default_rng(2).standard_normal((n, n_channels, n_times))


def transformer(**params):
    return EEGPTTransformer(**({"info": INFO, "size": "tiny2", "checkpoint": None} | params))


def network(**config):
    torch.manual_seed(1)
    return MODEL.build("tiny2", **config).eval()


def test_the_declaration_is_listed_without_torch():
    code = "import sys, eegfound_eegpt.dual.declaration; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_both_names_are_unmistakable():
    assert get_model("eegpt-dual") is MODEL
    assert MODEL.default_size == "large"
    assert "2410.19779" in MODEL.notes[0]


def test_the_named_estimators():
    assert transformer().fit_transform(eeg()).shape == (3, 256)
    y = np.array([0.0, 1.0, 2.0])
    shared = {"info": INFO, "size": "tiny2", "checkpoint": None, "max_epochs": 1}
    assert EEGPTRegressor(**shared).fit(eeg(), y).predict(eeg()).shape == (3,)
    assert EEGPTClassifier(**shared).fit(eeg(), y.astype(int)).predict(eeg()).shape == (3,)


def test_an_embedding_is_the_mean_over_slices_in_millivolt_after_the_average_reference():
    enc = transformer().fit(eeg())
    x = torch.from_numpy(1e3 * (eeg() - eeg().mean(axis=1, keepdims=True))).float()
    with torch.inference_mode():
        ids = torch.tensor([0, 27, 29, 31, 61])
        z = enc.encoder_.network.encode(x, ids)
    np.testing.assert_allclose(enc.transform(eeg()), z.flatten(2).mean(1), atol=1e-5)


def test_nearest_resampling_is_that_of_the_scripts():
    at_200 = eeg(n_times=400)
    info = INFO.replace(sfreq=200.0)
    x = torch.from_numpy(1e3 * at_200).float()
    brought = interpolate(x, 512).numpy()
    direct = transformer().fit_transform(brought / 1e3)
    np.testing.assert_allclose(transformer(info=info).fit_transform(at_200), direct, atol=1e-4)


def test_the_window_may_have_any_length_in_one_pass():
    long = transformer().fit_transform(eeg(n_times=3000))
    parts = transformer(pooling="flatten").fit_transform(eeg(n_times=3000))
    assert parts.shape == (3, 46 * 256)
    np.testing.assert_allclose(long, parts.reshape(3, 46, 256).mean(axis=1), atol=1e-5)


def test_read_outs_over_slices():
    flat = transformer(pooling="flatten").fit_transform(eeg()).reshape(3, 5, 256)
    for pooling, expected in {
        "mean": flat.mean(axis=1),
        "max": flat.max(axis=1),
        "mean_std": np.hstack([flat.mean(axis=1), flat.std(axis=1)]),
        "cls": flat.reshape(3, 20, 64).mean(axis=1),
    }.items():
        out = transformer(pooling=pooling).fit_transform(eeg())
        np.testing.assert_allclose(out, expected, atol=1e-5, err_msg=pooling)


@pytest.mark.parametrize("kind", ["predictor", "reconstructor"])
@pytest.mark.parametrize("out_proj", [False, True])
def test_the_read_outs_with_a_class_token(kind, out_proj):
    x, rows = torch.from_numpy(1e3 * eeg()).float(), torch.tensor([0, 27, 29, 31, 61])
    for reduction in ("mean", "cls"):
        made = network(pooling=f"{kind}_{reduction}", out_proj=out_proj)
        with torch.no_grad():
            tokens = made(SignalBatch(x, rows))
            pooled = made.finish_pooling(made.pool(tokens, made.pooling))
            read = getattr(made, kind).read(made.encode(x, rows))
        width = 64
        assert read.shape == (3, 1 + 20, width)
        chosen = read[:, 0] if reduction == "cls" else read[:, 1:].mean(dim=1)
        torch.testing.assert_close(pooled, made.fc_norm(chosen))
        assert tokens.is_summary.tolist() == [True] + [False] * 20
        assert made.readout_parameters() == {
            f"{kind}.cls_token", "fc_norm.weight", "fc_norm.bias"
        }  # fmt: skip
        assert made.layer_index(f"{kind}.cls_token") == made.n_layers + 1


def test_read_out_networks_know_when_a_slice_was():
    for kind in ("predictor_mean", "reconstructor_cls"):
        made = network(pooling=kind)
        z = torch.randn(2, 5, 4, 64)
        read = getattr(made, made.readout).read
        with torch.no_grad():
            later = read(z.flip(1))[:, 0] - read(z)[:, 0]
        assert later.abs().max() > 1e-8


def test_a_read_out_is_another_embedding_and_its_layers_are_the_encoders():
    plain = transformer().fit_transform(eeg())
    read = transformer(pooling="predictor_mean").fit_transform(eeg())
    assert read.shape == (3, 64)
    inner = transformer(pooling="predictor_mean", layer=1).fit_transform(eeg())
    assert inner.shape == plain.shape
    assert transformer(pooling="reconstructor_cls", layer=0).fit_transform(eeg()).shape == (3, 64)


def test_options_of_the_network():
    plain = transformer().fit_transform(eeg())
    tenfold = transformer(model_params={"input_scale": 10.0}).fit_transform(eeg())
    np.testing.assert_allclose(tenfold, transformer().fit_transform(10 * eeg()), atol=1e-4)
    assert np.abs(tenfold - plain).max() > 1e-3
    halves = transformer(model_params={"stride": 32}, pooling="flatten").fit_transform(eeg())
    assert halves.shape == (3, 9 * 256)


@pytest.mark.parametrize("name", PROBES)
def test_linear_probes_train_without_touching_the_encoder(name):
    recipe = PROBES[name]
    torch.manual_seed(0)
    kind = SleepProbe if name == "sleepedf" else LinearProbe
    probe = kind(SliceEncoder(stride=recipe.stride, **TINY), recipe).train()
    assert not probe.target_encoder.training
    before = {k: v.clone() for k, v in probe.target_encoder.state_dict().items()}
    x = torch.randn(2, recipe.n_channels, recipe.n_times)
    optimizer = torch.optim.SGD((p for p in probe.parameters() if p.requires_grad), lr=0.1)
    logits = probe(x)
    assert logits.shape == (2, recipe.n_outputs)
    logits.square().sum().backward()
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in probe.target_encoder.state_dict().items())
    assert recipe.n_slices == probe.encode(probe.adapt(x)).shape[1]
    probe(x)  # bounds the stored rows again
    assert probe.linear_probe2.weight.norm(dim=1).max() <= 0.25 + 1e-6


def test_recipes_have_the_published_number_of_slices():
    assert {name: recipe.n_slices for name, recipe in PROBES.items()} == {
        "bcic2a": 16, "bcic2b": 16, "kaggleern": 15, "physiop300": 15, "sleepedf": 120,
    }  # fmt: skip
    assert {name: recipe.n_slices for name, recipe in ADAPTERS.items()} == {"tuab": 31, "tuev": 15}


def test_the_sleep_heads_position_code_is_degenerate():
    code = degenerate_position_code(3, 6)
    np.testing.assert_allclose(code[:, 0], np.sin(np.arange(3)), atol=1e-6)
    np.testing.assert_allclose(code[:, 1], np.cos(np.arange(3)), atol=1e-6)
    assert code[:, 2:].tolist() == [[0, 1, 0, 1]] * 3


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_train_everything(name):
    torch.manual_seed(0)
    recipe = replace(ADAPTERS[name], n_times=600)
    made = AdapterClassifier(SliceEncoder(**TINY), recipe).train()
    logits = made(torch.randn(3, 23, 600))
    assert logits.shape == (3, recipe.n_outputs)
    logits.square().sum().backward()
    without = {name for name, p in made.named_parameters() if p.grad is None}
    assert without == {"fc_norm.weight", "fc_norm.bias"}
    assert made.chan_conv[0].weight.flatten(1).norm(dim=1).max() <= 1 + 1e-6
    assert sum(isinstance(m, torch.nn.GELU) for m in made.chan_conv) == 1 + recipe.activation


def test_the_read_out_classifier():
    torch.manual_seed(0)
    shape = {"width": 64, "n_summary": 4, "heads": 4}
    x = torch.randn(2, 23, 400)
    for readout in (PredictorReadout(depth=2, **shape), ReconstructorReadout(depth=4, **shape)):
        made = ReadoutClassifier(SliceEncoder(**TINY), readout, 3, n_channels=23).eval()
        assert made(x).shape == (2, 3)
        resampled = ReadoutClassifier(
            SliceEncoder(**TINY), readout, 3, n_channels=23, resample_to=512, average=True
        ).eval()
        resampled.load_state_dict(made.state_dict())
        with torch.no_grad():
            same = made(interpolate(x, 512))
            torch.testing.assert_close(resampled(x), same)
    assert type(build_readout("predictor", depths=(1, 2, 3), patch=64, **shape)) is PredictorReadout
    built = build_readout("reconstructor", depths=(1, 2, 3), patch=64, out_proj=True, **shape)
    assert len(built.reconstructor_blocks) == 3
    assert built.out_width == 64


def test_interpolation_takes_the_sample_before():
    x = torch.arange(10.0).reshape(1, 1, 10)
    expected = [float(j * 10 // 16) for j in range(16)]
    assert interpolate(x, 16, average=False)[0, 0].tolist() == expected
    assert not interpolate(x, 16).any()
