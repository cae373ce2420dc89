"""Getting braindecode's checkpoints, and what their ``config.json`` says.

Downloads are explicit. Nothing here is needed to use a file that is already on
this machine: pass its path as ``checkpoint=``.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from eegfound.base import CheckpointError, CheckpointNotFoundError
from eegfound.models import Checkpoint, FoundationModel, get_model
from eegfound.models.store import cache_dir
from eegfound_braindecode.declaring import HUB, file_on_hub

#: What the signal decides; it is no architecture.
_SIGNAL = ("n_outputs", "n_chans", "chs_info", "n_times", "input_window_seconds", "sfreq")
#: What heads and outputs are made of, and what the bridge sets itself.
_NOT_OURS = (
    "return_encoder_output", "return_features", "return_feature", "attention_pooling",
    "use_mean_pooling", "chan_proj_type", "n_chans_target", "chan_conv_max_norm", "chan_pos_idx",
    "channel_embedding", "final_layer", "global_pool", "mlp_hidden_multiplier", "pretrain_mode",
    "encoder_only", "pooling",
)  # fmt: skip


def download(
    model: str, checkpoint: str | None = None, *, token: str | None = None, force: bool = False
) -> Path:
    """Fetch a checkpoint of braindecode from the Hugging Face Hub.

    Needs ``huggingface_hub`` (the extra ``hub``). Gated repositories (REVE)
    need an account that has accepted the authors' terms, and ``token`` or
    ``hf auth login``.

    Parameters
    ----------
    model : str
        Name of a model, for instance ``"bd-cbramod"``.
    checkpoint : str | None
        Name of a checkpoint; None takes the model's first.
    token : str | None
        Access token of the Hub; None takes the one that is logged in.
    force : bool
        Fetch it even if it is there already.

    Returns
    -------
    Path
        The file, in the suite's cache, where ``checkpoint="default"`` finds it.

    Raises
    ------
    CheckpointError
        If ``huggingface_hub`` is missing.
    CheckpointNotFoundError
        If the Hub does not give the file.
    """
    description = get_model(model)
    spec = _checkpoint(description, checkpoint)
    target = cache_dir() / "weights" / description.name / spec.filename
    if target.is_file() and not force:
        return target
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(
            "download() needs huggingface_hub: pip install 'eegfound-braindecode[hub]'. Or fetch "
            f"the file by hand ({spec.how_to_get}) and pass checkpoint='path/to/file'."
        ) from error
    repository, name = file_on_hub(spec)
    try:
        got = hf_hub_download(repository, name, token=token)
    except Exception as error:  # the Hub's client has many ways to fail
        raise CheckpointNotFoundError(
            f"{HUB}/{repository} did not give {name} ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}). {spec.how_to_get}"
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.copyfile(got, part)
    os.replace(part, target)
    return target


def _checkpoint(model: FoundationModel, name: str | None) -> Checkpoint:
    if not model.checkpoints:
        raise CheckpointNotFoundError(
            f"braindecode names no published weights for {model.name}; pass "
            "checkpoint='path/to/your/file'."
        )
    return model.checkpoint(name) if name else model.checkpoints[0]


def model_params_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the architecture that a checkpoint's ``config.json`` states.

    Shapes of tensors are checked when a file is loaded; what no shape shows
    (number of heads, stride of patches) stands in the ``config.json`` that
    braindecode saves beside the weights.

    Parameters
    ----------
    path : path-like
        The weight file, its folder, or the ``config.json`` itself.

    Returns
    -------
    dict
        For ``model_params=``: plain numbers, words and lists only.

    Raises
    ------
    CheckpointError
        If there is no readable ``config.json``.

    Examples
    --------
    >>> import json, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> config = {"n_chans": 19, "n_outputs": 2, "n_layer": 4, "drop_prob": 0.1}
    >>> _ = (folder / "config.json").write_text(json.dumps(config))
    >>> model_params_of(folder)
    {'n_layer': 4, 'drop_prob': 0.1}
    """
    place = Path(path).expanduser()
    if place.is_dir():
        place = place / "config.json"
    elif place.name != "config.json":
        place = place.with_name("config.json")
    try:
        content = json.loads(place.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{place} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{place} does not hold a configuration of braindecode.")
    return {
        key: value
        for key, value in content.items()
        if key not in _SIGNAL + _NOT_OURS
        and isinstance(value, int | float | list)
        and not key.startswith("_")
    }
