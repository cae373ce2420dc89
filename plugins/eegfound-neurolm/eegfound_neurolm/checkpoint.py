"""From the published files to the names of our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from eegfound.models.network import EncoderNetwork

#: What ``torch.compile`` puts into names.
_COMPILED = "_orig_mod."
#: The language model, under whatever name its module has.
_LANGUAGE = re.compile(r"^(?:\w+\.)?(?=(?:transformer|lm_head)\.)")
#: Buffers with a causal mask, in files of GPT-2 code for old releases of torch.
_MASK_BUFFER = re.compile(r"\.attn\.(?:masked_)?bias$")


def _state_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    state = next((raw[key] for key in ("model", "state_dict") if key in raw), raw)
    return {key.replace(_COMPILED, ""): value for key, value in state.items()}


def convert(raw: Mapping[str, Any], network: EncoderNetwork) -> tuple[dict[str, Tensor], list[str]]:
    """Read ``NeuroLM-B.pt``, ``-L``, ``-XL`` or ``VQ.pt``.

    Parameters
    ----------
    raw : mapping
        The state dict, or a dict that holds it as ``model`` or ``state_dict``.
    network : NeuroLM
        Tells whether the language model is wanted.

    Returns
    -------
    state : dict
        Tensors under our names.
    dropped : list of str
        Keys left out: everything but the encoder of ``VQ.pt``, the language
        model for ``features="encoder"``, buffers with causal masks.

    Raises
    ------
    KeyError
        If nothing in the file looks like NeuroLM's tokenizer.
    """
    state = _state_of(raw)
    masks = [key for key in state if _MASK_BUFFER.search(key)]
    state = {key: value for key, value in state.items() if key not in masks}
    if any(key.startswith("VQ.encoder.") for key in state):
        own = {
            f"tokenizer.{key.removeprefix('VQ.encoder.')}": value
            for key, value in state.items()
            if key.startswith("VQ.encoder.")
        }
        return own, masks + [key for key in state if not key.startswith("VQ.encoder.")]
    if not any(key.startswith("tokenizer.") for key in state):
        raise KeyError("no 'tokenizer.*' or 'VQ.encoder.*'; it is not a NeuroLM file")
    named = {
        key if key.startswith("tokenizer.") else _LANGUAGE.sub("GPT2.", key): value
        for key, value in state.items()
    }
    kept, dropped = network.adapt_state(named)
    return kept, masks + list(dropped)


def convert_tokenizer(
    raw: Mapping[str, Any], network: nn.Module
) -> tuple[dict[str, Tensor], list[str]]:
    """Read all of ``VQ.pt``: encoder, codebook and decoders.

    Parameters
    ----------
    raw : mapping
        As in :func:`convert`.
    network : NeuralTokenizer
        Receives the tensors; every one of them must be there.

    Returns
    -------
    state : dict
        Tensors without the ``VQ.`` in front.
    dropped : list of str
        Keys of the text alignment, left out.

    Raises
    ------
    KeyError
        If nothing in the file looks like the tokenizer.
    """
    state = _state_of(raw)
    own = {k.removeprefix("VQ."): v for k, v in state.items() if k.startswith("VQ.")}
    own = {key: value for key, value in own.items() if not _MASK_BUFFER.search(key)}
    if not own:
        raise KeyError("no 'VQ.*'; it is not a NeuroLM tokenizer")
    return own, [key for key in state if key.removeprefix("VQ.") not in own]
