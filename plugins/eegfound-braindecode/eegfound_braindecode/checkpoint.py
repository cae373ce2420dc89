"""From files in braindecode's format to the names of our networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eegfound.models.network import EncoderNetwork


def convert(raw: Mapping[str, Any], network: EncoderNetwork) -> tuple[dict[str, Tensor], list[str]]:
    """Read the state dict of one of braindecode's networks.

    Parameters
    ----------
    raw : mapping
        What ``network.state_dict()`` of braindecode gives or ``model.safetensors``
        of its repositories on the Hub holds; also inside a dict under
        ``state_dict`` or ``model``, and with the prefix ``module.`` of
        ``DataParallel``.
    network : BraindecodeEncoder
        Tells what the encoder has.

    Returns
    -------
    state : dict
        Tensors of the encoder under our names.
    dropped : list of str
        Keys left out: heads, and what the read-out does not use.

    Raises
    ------
    KeyError
        If nothing in the file has a name of the encoder.
    """
    model: Any = network.model
    recipe: Any = network.recipe
    found = next((raw[k] for k in ("state_dict", "model") if isinstance(raw.get(k), Mapping)), raw)
    state = {str(k).removeprefix("module."): v for k, v in found.items() if torch.is_tensor(v)}
    state = recipe.rename(model, state)
    kept = {k: v for k, v in state.items() if not k.startswith(recipe.left_out)}
    kept = recipe.convert(model, kept)
    if not set(kept) & set(model.state_dict()):
        raise KeyError(
            f"none of its {len(state)} tensors has a name of braindecode's {recipe.cls} "
            f"({', '.join(list(state)[:3])}, …)"
        )
    dropped = [key for key in state if key not in kept]
    return {f"model.{key}": value for key, value in kept.items()}, dropped
