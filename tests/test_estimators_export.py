"""Exported programs: the same numbers without the suite, or no file."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import eegfound as ef
from eegfound.base import SpecError
from eegfound.estimators import FoundationClassifier, FoundationRegressor, _export, _program
from eegfound.models import registry
from eegfound.testing.toy import toy_model
from tests.helpers_toy import NAMES, eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")


def run_torch(path):
    facts = {_export.FACTS: ""}
    with path.open("rb") as file:
        module = torch.export.load(file, extra_files=facts).module()
    return (
        lambda X: module(torch.from_numpy(X.astype(np.float32))).numpy(),
        json.loads(facts[_export.FACTS]),
    )


def run_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map[_export.FACTS])
    return lambda X: session.run(None, {"X": X.astype(np.float32)})[0], facts


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_program_of_torch_takes_what_the_estimator_takes(tmp_path):
    # Another rate, other units, a channel the model does not know, a long window.
    names = ("Cz", "EOG1x", "C3", "O2")
    X = eeg(4, 4, 1500) * 1e6
    enc = encoder(info=info(250.0, names), unit="uV", on_unknown="drop").fit(X)
    path = enc.export(tmp_path / "toy.program", format="torch")
    program, facts = run_torch(path)
    for some in (X, X[:1], eeg(7, 4, 1500, seed=3) * 1e6):
        close(program(some), enc.transform(some.astype(np.float32)))
    assert facts["ch_names"] == list(names)
    assert facts["electrodes"] == ["Cz", "C3", "O2"]
    assert (facts["sfreq"], facts["unit"], facts["n_times"]) == (250.0, "uV", 1500)
    assert facts["fingerprint"] == enc.fingerprint_
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy.program"]


def test_a_program_in_onnx(tmp_path):
    pytest.importorskip("onnxscript")
    X = eeg(4)
    enc = encoder(pooling="mean_std").fit(X)
    program, facts = run_onnx(enc.export(tmp_path / "toy.onnx", format="onnx"))
    for some in (X, X[:1], eeg(7, seed=3)):
        close(program(some), enc.transform(some.astype(np.float32)))
    assert facts["pooling"] == "mean_std"
    assert facts["weights"] == "random"


@pytest.mark.parametrize("estimator", [FoundationClassifier, FoundationRegressor])
def test_heads_go_with_the_program(tmp_path, estimator):
    X, y = eeg(9), np.arange(9) % 3
    est = estimator("toy", checkpoint=None, info=info(), max_epochs=3).fit(X, y)
    program, facts = run_torch(est.export(tmp_path / "toy.pt2", format="torch"))
    if estimator is FoundationClassifier:
        assert facts["classes"] == ["0", "1", "2"]
        close(program(X), est.predict_proba(X))
    else:
        close(program(X)[:, 0], est.predict(X))


@pytest.mark.parametrize("pooling", ["cls", "max", "channels", "flatten"])
def test_every_read_out_can_be_traced(pooling):
    X = eeg(3, n_times=900).astype(np.float32)  # longer than one piece
    enc = encoder(pooling=pooling, layer=1).fit(X)
    program = _program.Program(
        enc.plan_, enc.encoder_.network, n_times=900, pooling=pooling, layer=1
    )
    with torch.no_grad():
        close(program(torch.from_numpy(X)).numpy(), enc.transform(X))


@pytest.mark.parametrize(("resampling", "sfreq"), [("nearest", 128.0), ("fft", 250.0)])
def test_contracts_of_other_models_can_be_traced(resampling, sfreq):
    spec = replace(toy_model().input, reference="average", resampling=resampling)
    with registry.registered(toy_model("other", input=spec)):
        n_times = int(2.3 * sfreq)
        X = (eeg(3, n_times=n_times) + 1e-3).astype(np.float32)  # an offset of electrodes
        enc = encoder(model="other", info=info(sfreq)).fit(X)
        program = _program.Program(
            enc.plan_, enc.encoder_.network, n_times=n_times, pooling="mean", layer=None
        )
        with torch.no_grad():
            close(program(torch.from_numpy(X)).numpy(), enc.transform(X))


def test_a_program_with_other_numbers_is_not_written(tmp_path, monkeypatch):
    enc = encoder().fit(eeg())
    read = _export._read_torch
    monkeypatch.setitem(
        _export._WAYS, "torch",
        (_export._write_torch, lambda path: lambda X: read(path)(X) * 1.001),
    )  # fmt: skip
    with pytest.raises(SpecError, match="differs from the estimator by"):
        enc.export(tmp_path / "toy.pt2", format="torch")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_says_why(tmp_path, monkeypatch):
    X = eeg()
    enc = encoder().fit(X)
    with pytest.raises(SpecError, match=r"not one of \('onnx', 'torch'\)"):
        enc.export(tmp_path / "x", format="tflite")
    real = builtins.__import__

    def without_onnx(name, *args, **kwargs):
        if name.split(".")[0] == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(SpecError, match=r"pip install 'eegfound\[onnx\]'"):
        enc.export(tmp_path / "x.onnx")
    monkeypatch.undo()
    enc.front_end_ = object()
    with pytest.raises(SpecError, match="front end"):
        enc.export(tmp_path / "x", format="torch")
    fast = encoder(info=ef.ChannelInfo(NAMES, 200.0)).fit(eeg(2, n_times=400))
    monkeypatch.setattr(_program, "MOST_RESAMPLING", 400 * 200 - 1)
    with pytest.raises(SpecError, match="put Resample before"):
        fast.export(tmp_path / "x", format="torch")
    assert not list(tmp_path.iterdir())


def test_places_that_are_no_file(tmp_path):
    enc = encoder().fit(eeg())
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path, tmp_path / "file" / "toy.onnx"):
        with pytest.raises(SpecError, match="path="):
            enc.export(place, format="torch")


#: Smallest size of each native model, and why it has no ONNX.
NATIVE = {
    "labram": ("tiny", None), "dare": ("nano", None), "eegpt": ("tiny1", None),
    "eegpt-ar": ("tiny", None), "neurolm": ("tiny", None),
    "fome-style": ("tiny", "format='torch'"), "specmoe": ("expert", "format='torch'"),
    "mmm": ("paper", "front end"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", NATIVE)
def test_native_models(model, tmp_path):
    if model not in ef.list_models():
        pytest.skip(f"{model} is not installed")
    size, reason = NATIVE[model]
    X, _, _, info = ef.datasets.load_sample(subjects=range(1))
    X = X[:4, :, :512]
    enc = ef.make_transformer(model, size=size, checkpoint=None, info=info, on_unknown="drop")
    enc.fit(X)
    if reason is None:
        program, _ = run_onnx(enc.export(tmp_path / "model.onnx"))
        close(program(X[:1]), enc.transform(X[:1].astype(np.float32)))
    else:
        with pytest.raises(SpecError, match=reason) as caught:
            enc.export(tmp_path / "model.onnx")
        assert "\x1b" not in str(caught.value)
        assert not list(tmp_path.iterdir())
    if reason != "front end":
        program, _ = run_torch(enc.export(tmp_path / "model.pt2", format="torch"))
        close(program(X), enc.transform(X.astype(np.float32)))
