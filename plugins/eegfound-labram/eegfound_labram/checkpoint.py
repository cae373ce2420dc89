"""From the published files to the names of our networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eegfound.models.network import EncoderNetwork

_STUDENT = "student."
#: Parts of the masked-modelling network that are not the encoder.
_NOT_ENCODER = ("lm_head.", "projection_head.", "mask_token", "logit_scale")


def convert_encoder(
    raw: Mapping[str, Any], network: EncoderNetwork
) -> tuple[dict[str, Tensor], list[str]]:
    """Read ``labram-base.pth`` (or a file the reference code saved).

    Parameters
    ----------
    raw : mapping
        The state dict, or a dict that holds it as ``model`` or ``module``
        beside optimizer state and arguments.
    network : LaBraM
        Tells which norms and heads exist. The pretrained final ``norm`` goes
        to networks with class-token read-out; a network with mean pooling
        starts with a fresh ``fc_norm``, as in the reference, unless it was
        built with ``transfer_norm=True``.

    Returns
    -------
    state : dict
        Tensors of the encoder.
    dropped : list of str
        Keys left out: token predictor, projection head, ``logit_scale`` and
        the norm or head that this read-out does not have.

    Raises
    ------
    KeyError
        If nothing in the file looks like the encoder.
    """
    state = next((raw[key] for key in ("model", "module") if key in raw), raw)
    if any(key.startswith(_STUDENT) for key in state):
        # A masked-modelling file: the encoder is the student, the rest is not.
        own = {k.removeprefix(_STUDENT): v for k, v in state.items() if k.startswith(_STUDENT)}
        dropped = [key for key in state if not key.startswith(_STUDENT)]
    else:  # a fine-tuned file: the encoder stands on its own
        own, dropped = dict(state), []
    if "cls_token" not in own:
        raise KeyError("no 'student.cls_token' or 'cls_token'; it is not a LaBraM encoder")
    extra = [key for key in own if key.startswith(_NOT_ENCODER)]
    kept, spare = network.adapt_state({k: v for k, v in own.items() if k not in extra})
    return kept, dropped + extra + list(spare)
