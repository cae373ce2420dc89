"""What is declared, without braindecode."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from eegfound_braindecode import download, model_params_of
from eegfound_braindecode.declarations import MODELS
from eegfound_braindecode.declaring import file_on_hub

from eegfound.base import CheckpointError, CheckpointNotFoundError
from eegfound.models import registry
from eegfound.models.store import find_checkpoint
from eegfound.montage import match_vocabulary, parse_names

ALL = [model for _, model in MODELS]
ids = [model.name for model in ALL]


def test_importing_the_plugin_imports_neither_torch_nor_braindecode():
    code = (
        "import sys, eegfound_braindecode, eegfound_braindecode.plugin as p, "
        "eegfound_braindecode.hub\n"
        "assert not {'torch', 'braindecode', 'torchaudio', 'mne'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("model", ALL, ids=ids)
def test_a_declaration_says_what_a_user_must_know(model):
    assert re.fullmatch(r"bd-[a-z0-9-]+", model.name)
    assert model.aliases == (f"braindecode-{model.name.removeprefix('bd-')}",)
    assert "braindecode's" in model.summary
    assert model.citation
    assert "tiny" in model.sizes
    sources = [note for note in model.notes if re.search(r"\[(bd|card|paper|authors)", note)]
    assert sources, "no note says where the contract was read"
    if model.input.vocabulary is not None and model.input.default_channel is not None:
        assert model.input.default_channel in model.input.vocabulary
    if model.input.max_samples is not None:  # pieces of long windows are whole patches
        assert model.input.n_patches(model.input.max_samples) >= 1
        assert model.input.max_samples >= model.input.shortest


@pytest.mark.parametrize("model", ALL, ids=ids)
def test_vocabularies_are_understood(model):
    names = model.input.vocabulary
    if names is None:
        return
    assert match_vocabulary(names, names).rows == tuple(range(len(names)))
    assert all(channel.is_eeg for channel in parse_names(names).channels)


@pytest.mark.parametrize("model", ALL, ids=ids)
def test_checkpoints_say_where_they_are_and_on_what_terms(model, monkeypatch, tmp_path):
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.delenv("EEGFOUND_WEIGHTS", raising=False)
    with pytest.raises(CheckpointNotFoundError) as caught:
        find_checkpoint(model)
    assert "checkpoint=" in str(caught.value)
    for spec in model.checkpoints:
        repository, file = file_on_hub(spec)
        assert f"hf download {repository} {file}" in str(spec.how_to_get)
        assert spec.licence
        if spec.urls:
            assert spec.urls == (f"https://huggingface.co/{repository}/resolve/main/{file}",)
        else:
            assert "gated" in spec.how_to_get
    if not model.checkpoints:
        assert any("no weights" in note for note in model.notes)


def test_file_names_of_checkpoints_do_not_collide():
    names = [spec.filename for model in ALL for spec in model.checkpoints]
    assert len(set(names)) == len(names)


def test_no_name_clashes_with_a_native_model():
    native = {
        name
        for record in registry.records()
        if record.name != "braindecode"
        for name in record.models
    }
    assert not native & {name for model in ALL for name in (model.name, *model.aliases)}


def test_no_weights_are_shipped():
    root = Path(__file__).parents[1]
    kinds = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".npz"}
    assert not [path for path in root.rglob("*") if path.suffix in kinds]


@pytest.fixture
def listed():
    """The models registered, whether or not braindecode is installed."""
    if "bd-cbramod" in registry.models():
        yield
        return

    class Plugin:
        __name__ = "declared"

        from eegfound.models import hookimpl

        @hookimpl
        def eegfound_models(self):
            return ALL

    with registry.registered(Plugin(), "declared"):
        yield


def test_download_puts_the_file_where_default_finds_it(listed, monkeypatch, tmp_path):
    import types

    asked = []

    def hf_hub_download(repository, name, token=None):
        asked.append((repository, name, token))
        (tmp_path / "got").write_bytes(b"weights")
        return str(tmp_path / "got")

    hub = types.ModuleType("huggingface_hub")
    hub.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EEGFOUND_OFFLINE", "1")
    path = download("bd-luna", "LUNA_large", token="secret")
    assert asked == [("PulpBio/LUNA", "LUNA_large.safetensors", "secret")]
    found = find_checkpoint(registry.get("bd-luna"), "LUNA_large")
    assert found.path == path
    assert found.size == "large"
    download("bd-luna", "LUNA_large")
    assert len(asked) == 1, "a file that is there was fetched again"

    def refused(*args, **kwargs):
        raise PermissionError("401 Client Error: access to this gated repository is restricted")

    hub.hf_hub_download = refused
    with pytest.raises(CheckpointNotFoundError, match=r"brain-bzh/reve-base.*401.*accept the auth"):
        download("bd-reve")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"eegfound-braindecode\[hub\]"):
        download("bd-biot")
    with pytest.raises(CheckpointNotFoundError, match="no published weights"):
        download("bd-zuna")


def test_the_architecture_is_read_from_config_json(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"n_chans": 58, "n_times": 1024, "sfreq": 256, "n_outputs": 4, "chs_info": [{}], '
        '"patch_stride": 64, "num_heads": 8, "chan_proj_type": "none", "norm_layer": null, '
        '"activation": "torch.nn.GELU", "return_encoder_output": true}'
    )
    expected = {"patch_stride": 64, "num_heads": 8}
    assert model_params_of(tmp_path) == expected
    assert model_params_of(tmp_path / "model.safetensors") == expected
    assert model_params_of(tmp_path / "config.json") == expected
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        model_params_of(tmp_path / "nowhere" / "model.safetensors")
