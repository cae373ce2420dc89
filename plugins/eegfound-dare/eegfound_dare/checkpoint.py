"""From the authors' files to the names of our networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eegfound.models.network import EncoderNetwork
from eegfound_dare.network import DARE

_MOMENTUM, _ENCODER = "target_encoder.", "encoder."
#: Parts of pretraining and fine-tuning that are not the encoder.
_NOT_ENCODER = (
    "predictor.", "reconstructor.", "loss_mc.", "conv_head.", "classifier.", "chan_conv.",
    "linear_probe1.", "linear_probe2.",
)  # fmt: skip


def plain_state(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict inside a file, without wrappers.

    Parameters
    ----------
    raw : mapping
        A Lightning checkpoint (``state_dict``), a fine-tuned model of the TUH
        scripts (``model``, keys perhaps with ``module.``), or a state dict.

    Returns
    -------
    dict of str to Tensor
        Under the authors' names.
    """
    state = next((raw[key] for key in ("state_dict", "model") if key in raw), raw)
    return {key.removeprefix("module."): value for key, value in state.items()}


def convert_checkpoint(
    raw: Mapping[str, Any], network: EncoderNetwork
) -> tuple[dict[str, Tensor], list[str]]:
    """Read a file of the authors, or one of EEGPT's in the same layout.

    Parameters
    ----------
    raw : mapping
        See :func:`plain_state`. With ``target_encoder.`` keys that momentum
        encoder is taken, as the authors do downstream; otherwise ``encoder.``
        (fine-tuned files) or bare keys.
    network : DARE
        Marked as published.

    Returns
    -------
    state : dict
        The encoder's tensors.
    dropped : list of str
        Keys left out: online encoder, predictor, reconstructor, projection
        head, adapters and classifiers.

    Raises
    ------
    KeyError
        If nothing in the file looks like the encoder.
    """
    state = plain_state(raw)
    prefix = next((p for p in (_MOMENTUM, _ENCODER) if any(key.startswith(p) for key in state)), "")
    spare = (*_NOT_ENCODER, _ENCODER) if prefix == _MOMENTUM else _NOT_ENCODER
    dropped = [key for key in state if key.startswith(spare)]
    own = {k.removeprefix(prefix): v for k, v in state.items() if k not in dropped}
    if "summary_token" not in own:
        raise KeyError(
            "no 'target_encoder.summary_token', 'encoder.summary_token' or 'summary_token'; it is "
            "not DARE-EEG"
        )
    if isinstance(network, DARE):
        network.published = True
    return own, dropped
