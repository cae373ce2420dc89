"""From the published files to our networks, and from experts to SpecMoE."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.base import CheckpointError, SpecError
from eegfound.models.files import (
    fingerprint,
    read_metadata,
    read_tensors,
    save_weights,
    sha256_of,
)
from eegfound.models.loading import load_state
from eegfound_specmoe.encoder import PARTS, WIDTH, Encoder
from eegfound_specmoe.network import SpecMoE
from eegfound_specmoe.objective import MaskedReconstruction
from eegfound_specmoe.plugin import SAFE_GLOBALS

#: The published files hold a NumPy number (``best_loss``), whose class they name.
NUMPY_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
NUMPY_FLOAT64 = type(np.dtype("float64"))


def scalar_of_numpy_1(dtype: Any, data: Any) -> Any:
    """Make the number of a file that NumPy 1 wrote, where ``scalar`` had another place."""
    return NUMPY_SCALAR(dtype, data)


# torch compares the names in a file with these two of the functions it allows.
scalar_of_numpy_1.__module__, scalar_of_numpy_1.__qualname__ = "numpy.core.multiarray", "scalar"
scalar_of_numpy_1.__name__ = "scalar"

_WRAPPED = ("model_state", "state_dict")
_PREFIX = "module."
_EXPERTS = "experts."
_ENCODER = tuple(f"{part}." for part in PARTS)
_DECODER = ("Up1.", "Up2.", "Up3.", "TransformerEnc3.", "aux_head_up1.", "aux_head_up2.")

State = dict[str, Tensor]
Source = str | os.PathLike[str]


def published_state(raw: Any) -> State:
    """Unwrap the state dict of a file that the reference's trainers saved.

    Parameters
    ----------
    raw : mapping
        The state dict, or a dict that holds it as ``model_state`` (pretraining)
        or ``state_dict`` (fine-tuning) beside the optimizer's state.

    Returns
    -------
    dict of str to Tensor
        Under names without ``module.``.

    Raises
    ------
    KeyError
        If there is no part of SpecHi-Net in it.
    """
    if not isinstance(raw, Mapping):
        raise KeyError("it holds no dict of tensors")
    state = next((raw[key] for key in _WRAPPED if key in raw), raw)
    if not isinstance(state, Mapping):
        raise KeyError("what it calls its state is no dict of tensors")
    state = {str(key).removeprefix(_PREFIX): value for key, value in state.items()}
    if not any(key.startswith((_EXPERTS, *_ENCODER)) for key in state):
        raise KeyError("no 'Down1.*' or 'experts.*'; it is neither SpecHi-Net nor SpecMoE")
    return state


def split_expert(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """Split one SpecHi-Net into what is the decoder's and everything else.

    Parameters
    ----------
    state : mapping of str to Tensor
        From :func:`published_state`.

    Returns
    -------
    encoder, decoder : dict of str to Tensor
        Unknown names stay with the encoder, where they are an error.
    """
    decoder = {key: value for key, value in state.items() if key.startswith(_DECODER)}
    return {key: value for key, value in state.items() if key not in decoder}, decoder


def convert_expert(raw: Mapping[str, Any], network: SpecMoE) -> tuple[State, list[str]]:
    """Read ``Pretrained_Expert_<n>.pth``, or a fused network of the reference.

    Parameters
    ----------
    raw : mapping
        Content of the file.
    network : SpecMoE
        With one expert for a file of one, or with as many as the file has.

    Returns
    -------
    state : dict
        Tensors of the experts (and gates).
    dropped : list of str
        Keys of the decoder, or of the reference's classifier.

    Raises
    ------
    KeyError
        If nothing in the file looks like SpecHi-Net.
    CheckpointError
        If the file holds another number of experts.
    """
    state = published_state(raw)
    wanted = len(network.experts)
    if not any(key.startswith(_EXPERTS) for key in state):
        if wanted != 1:
            raise CheckpointError(
                f"it holds one expert, SpecMoE has {wanted}. Put them together first: "
                "eegfound_specmoe.assemble_experts([first, second, third], "
                "out='specmoe.safetensors'); or use this one alone with size='expert'."
            )
        encoder, decoder = split_expert(state)
        return {f"{_EXPERTS}0.{key}": value for key, value in encoder.items()}, list(decoder)
    _expect(_n_experts(state), wanted)
    kept, dropped = network.adapt_state(state)
    return kept, list(dropped)


def _n_experts(state: Mapping[str, Any]) -> int:
    return len({key.split(".")[1] for key in state if key.startswith(_EXPERTS)})


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise CheckpointError(
            f"it holds {found} expert(s), the network has {wanted}: pass "
            + (
                "size='expert', or put several together with assemble_experts."
                if found == 1
                else f"size='moe' (with model_params={{'n_experts': {found}}} where they are not "
                "three)."
            )
        )


def assemble_experts(sources: Sequence[Source], out: Source) -> Path:
    """Put experts together into one file that ``make_transformer("specmoe")`` loads.

    Parameters
    ----------
    sources : sequence of path-like
        Files of one expert each, in order: as published
        (``Pretrained_Expert_<n>.pth``, with or without decoder), or saved by
        this suite after pretraining (``size="expert"``). Three make the
        published SpecMoE; other numbers from two on work too.
    out : path-like
        The file to write, ``.safetensors``.

    Returns
    -------
    Path
        ``out``, to be passed as ``checkpoint=``. Its gates are missing, since
        nothing pretrains them: ``pooling="fused"`` starts with fresh ones.

    Raises
    ------
    CheckpointError
        If a file cannot be read, is no expert, or does not fit the others.
    SpecError
        If ``sources`` are not several files.

    Notes
    -----
    The licence of the published experts forbids passing them on, so files made
    of them are for your own use.

    Examples
    --------
    >>> from eegfound_specmoe import assemble_experts
    >>> assemble_experts(["one.pth"], out="specmoe.safetensors")
    Traceback (most recent call last):
    eegfound.base.exceptions.SpecError: sources must name at least two files of one expert each...
    """
    if isinstance(sources, str | os.PathLike) or len(sources) < 2:
        raise SpecError(
            "sources must name at least two files of one expert each, as a list (one expert "
            "alone is loaded with size='expert', checkpoint='its/file')."
        )
    states: State = {}
    origins: list[dict[str, str]] = []
    shapes: dict[tuple[tuple[str, int], ...], str] = {}
    for i, source in enumerate(sources):
        path = Path(source).expanduser()
        state, shape = _read_expert(path)
        shapes.setdefault(tuple(shape.items()), str(path))
        if len(shapes) > 1:
            told = " and ".join(
                f"{', '.join(f'{count} {name}' for name, count in each)} in {file}"
                for each, file in shapes.items()
            )
            raise CheckpointError(f"The experts differ in their shape: {told}.")
        states |= {f"{_EXPERTS}{i}.{key}": value for key, value in state.items()}
        origins.append(
            {"file": path.name, "sha256": sha256_of(path), "fingerprint": fingerprint(state)}
        )
    metadata = {
        "model": "specmoe",
        "size": "moe",
        "config": {"n_experts": len(origins), **dict(next(iter(shapes)))},
        "experts": origins,
    }
    return save_weights(out, states, metadata)


def _read_expert(path: Path) -> tuple[State, dict[str, int]]:
    """Return one expert's encoder under plain names, checked, and what it was built with."""
    raw = read_tensors(path, SAFE_GLOBALS)
    metadata = read_metadata(path)
    if metadata and metadata["model"] != "specmoe":
        raise CheckpointError(f"{path} holds weights of {metadata['model']!r}, not of 'specmoe'.")
    config = metadata.get("config", {})
    heads, features = int(config.get("heads", 8)), int(config.get("features", WIDTH))
    try:
        state = published_state(raw)
    except KeyError as error:
        raise CheckpointError(f"{path} is no expert: {error.args[0]}.") from error
    count = _n_experts(state)
    if count > 1:
        raise CheckpointError(f"{path} holds {count} experts; a file of one is needed.")
    if count:  # saved by this suite
        kept, _ = SpecMoE(n_experts=1, heads=heads, features=features).adapt_state(state)
        state = {key.removeprefix(f"{_EXPERTS}0."): value for key, value in kept.items()}
    encoder, _ = split_expert(state)
    network = Encoder(heads=heads, width=features)
    _fill(network, encoder, f"{path} is no expert of this suite")
    return {key: value.clone() for key, value in network.state_dict().items()}, {
        "heads": heads,
        "features": features,
    }


def _fill(network: torch.nn.Module, state: Mapping[str, Any], told: str) -> None:
    """Load a state dict strictly."""
    if not all(torch.is_tensor(value) for value in state.values()):
        raise CheckpointError(f"{told}: it does not hold a state dict (name to tensor).")
    report = load_state(network, state)
    if not report.ok:
        raise CheckpointError(f"{told} ({report.summary()}). {report.faults()}.")
    for key in report.matched:
        if state[key].is_floating_point() and not torch.isfinite(state[key]).all():
            raise CheckpointError(f"{told}: tensor {key!r} holds NaN or infinity.")


def load_pretrained(objective: MaskedReconstruction, sources: Sequence[Source]) -> None:
    """Fill an objective, decoders included, from published files, to go on pretraining.

    Parameters
    ----------
    objective : MaskedReconstruction
        With one expert per file; changed in place.
    sources : sequence of path-like
        Files with a whole SpecHi-Net each (``Pretrained_Expert_<n>.pth``).

    Raises
    ------
    CheckpointError
        If a file cannot be read or a tensor of either part is missing.
    """
    if isinstance(sources, str | os.PathLike) or len(sources) != len(objective.decoders):
        raise SpecError(f"The objective needs a list of {len(objective.decoders)} file(s).")
    pairs = zip(sources, objective.network.experts, objective.decoders)
    for source, encoder_network, decoder_network in pairs:
        try:
            state = published_state(read_tensors(source, SAFE_GLOBALS))
        except KeyError as error:
            raise CheckpointError(f"{source} is no SpecHi-Net: {error.args[0]}.") from error
        encoder, decoder = split_expert(state)
        _fill(encoder_network, encoder, f"{source} does not fit the encoder")
        _fill(decoder_network, decoder, f"{source} does not fit the decoder")
