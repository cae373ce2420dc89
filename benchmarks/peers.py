"""The same networks in braindecode, for comparisons of numbers and of speed."""

from __future__ import annotations

import importlib.machinery
import sys
import types
import warnings
from functools import partial

import torch

#: Models of the suite that braindecode has too, and its name for them.
PEERS = {"labram": "Labram", "eegpt": "EEGPT"}


def braindecode_network(model: str, ch_names: list[str], seconds: float):
    """Return braindecode's encoder of a model, with random weights, and its rate in Hz.

    It takes ``(n_epochs, n_channels, seconds * rate)``.
    """
    classes = import_braindecode_models()
    sfreq = {"labram": 200.0, "eegpt": 256.0}[model]
    chs_info = [{"ch_name": name.upper(), "kind": "eeg"} for name in ch_names]
    common = {"n_times": int(seconds * sfreq), "n_outputs": 2, "sfreq": sfreq, "chs_info": chs_info}
    own = {
        "labram": {"use_mean_pooling": True, "init_values": 0.1},
        # Patches that do not overlap and no adapter: the work of the encoder alone.
        "eegpt": {"patch_stride": 64, "chan_proj_type": "none", "return_encoder_output": True},
    }[model]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = getattr(classes, PEERS[model])(**common, **own)
    network.eval()
    if model == "labram":
        network.final_layer = torch.nn.Identity()
        return partial(network, ch_names=[name.upper() for name in ch_names]), sfreq
    return network, sfreq


def import_braindecode_labram():
    """Return braindecode's ``Labram`` class; raises ImportError where it cannot be had."""
    return import_braindecode_models().Labram


def import_braindecode_models():
    """Return the module ``braindecode.models``.

    braindecode imports torchaudio, whose binary does not load beside a CPU
    build of torch; these networks do not use it, so an empty module stands in.

    Raises
    ------
    ImportError
        If braindecode is not installed or cannot be imported.
    """
    stand_in_for_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import braindecode.models
    return braindecode.models


def stand_in_for_torchaudio() -> None:
    """Put an empty module in torchaudio's place where it cannot be imported."""
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):
        for name in [m for m in sys.modules if m.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.__getattr__ = _absent
            sys.modules[name] = module
            if "." in name:
                setattr(sys.modules["torchaudio"], name.split(".")[1], module)


def _absent(name: str) -> type:
    """Stand in for a name imported from torchaudio and never used."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def to_braindecode(state: dict, n_patches: int) -> dict:
    """Rename our (the official) tensors as braindecode's ``Labram`` calls them.

    Parameters
    ----------
    state : dict
        State dict of our LaBraM encoder with mean pooling.
    n_patches : int
        Patches per window: braindecode's time table has ``n_patches + 1`` rows.
    """
    renamed = {}
    for key, value in state.items():
        key = key.replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.2.")
        if key.startswith("patch_embed."):
            key = key.replace("patch_embed.", "patch_embed.temporal_conv.", 1)
        if key == "pos_embed":
            key = "position_embedding"
        if key == "time_embed":
            key, value = "temporal_embedding", value[:, : n_patches + 1]
        renamed[key.replace("head.", "final_layer.")] = value.clone()
    return renamed


def braindecode_labram(network, ch_names, n_times: int):
    """Return braindecode's ``Labram`` with the weights of our network, as an encoder.

    Called with a signal and ``ch_names=`` it returns the pooled embedding.

    Parameters
    ----------
    network : LaBraM
        Our base-size encoder with mean pooling.
    ch_names : list of str
        Electrodes of the windows it will get.
    n_times : int
        Samples per window at 200 Hz.
    """
    chs_info = [{"ch_name": name, "kind": "eeg"} for name in ch_names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = import_braindecode_labram()(
            n_times=n_times, n_outputs=2, chs_info=chs_info, sfreq=200.0,
            use_mean_pooling=True, init_values=0.1,
        )  # fmt: skip
    missing, unexpected = model.load_state_dict(
        to_braindecode(network.state_dict(), n_times // 200), strict=False
    )
    head = {"final_layer.weight", "final_layer.bias"}
    if unexpected or set(missing) - head:
        raise RuntimeError(f"missing {missing}, unexpected {unexpected}")
    model.final_layer = torch.nn.Identity()
    return model.eval()


def braindecode_twin(model: str, network, ch_names: list[str], seconds: float):
    """Return braindecode's network with our weights, and a read-out like our mean.

    Parameters
    ----------
    model : {"labram", "eegpt"}
        The model.
    network : EncoderNetwork
        Ours, of the size that braindecode has.
    ch_names : list of str
        Electrodes.
    seconds : float
        Length of a window.

    Returns
    -------
    twin : Module
        braindecode's.
    embed : callable
        ``embed(twin, signal)`` gives ``(n_epochs, n_features)``.
    """
    if model == "labram":
        twin = braindecode_labram(network, ch_names, int(200 * seconds))
        return twin, lambda net, x: net(x, ch_names=ch_names)
    twin, _ = braindecode_network(model, ch_names, seconds)
    state = {f"target_encoder.{key}": value.clone() for key, value in network.state_dict().items()}
    missing, unexpected = twin.load_state_dict(state, strict=False)
    if unexpected or any(key.startswith("target_encoder.") for key in missing):
        raise RuntimeError(f"missing {missing}, unexpected {unexpected}")
    return twin, lambda net, x: net(x).mean(dim=1).flatten(1)
