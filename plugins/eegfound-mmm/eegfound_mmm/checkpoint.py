"""From published and fine-tuned files to the names of our encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eegfound.models.network import EncoderNetwork

#: What nn.DataParallel puts before every name.
_PARALLEL = "module."
#: Parts of the authors' models that are not the encoder.
_NOT_ENCODER = (
    "fc_norm1.", "fc_out1.", "fc_norm2.", "fc_out2.", "decoder_network.", "decoder_pred.",
)  # fmt: skip
_POSITIONS = "network.pos_embed"
_MASK = "network.attn_mask"


def convert_encoder(
    raw: Mapping[str, Any], network: EncoderNetwork
) -> tuple[dict[str, Tensor], list[str]]:
    """Read ``tuh_pretrained_encoder_base.pt``, or a file the authors' code saved.

    Parameters
    ----------
    raw : mapping
        Tensors by name; ``module.`` in front of all names is understood.
    network : MMM
        Tells the shape of the position table.

    Returns
    -------
    state : dict
        Tensors of the encoder. The published file holds neither region tokens
        nor positions.
    dropped : list of str
        Keys left out: head, decoder, attention mask, and a position table of
        another montage than all 62 electrodes.

    Raises
    ------
    KeyError
        If nothing in the file looks like the encoder.
    """
    state = {key.removeprefix(_PARALLEL): value for key, value in raw.items()}
    if "network.cls_token" not in state:
        raise KeyError("no 'network.cls_token'; it is not an MMM encoder")
    dropped = [key for key in state if key.startswith(_NOT_ENCODER) or key == _MASK]
    own = network.state_dict()[_POSITIONS]
    if _POSITIONS in state and state[_POSITIONS].shape != own.shape:
        dropped.append(_POSITIONS)
    return {key: value for key, value in state.items() if key not in dropped}, dropped
