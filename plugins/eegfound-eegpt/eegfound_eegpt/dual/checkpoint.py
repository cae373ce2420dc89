"""From the published file to the names of our network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eegfound.models.network import EncoderNetwork
from eegfound_eegpt.dual.network import EEGPT

_MOMENTUM = "target_encoder."
#: Parts of the pretraining networks that a read-out may use.
_READOUTS = ("predictor.", "reconstructor.")


def convert_checkpoint(
    raw: Mapping[str, Any], network: EncoderNetwork
) -> tuple[dict[str, Tensor], list[str]]:
    """Read ``eegpt_mcae_58chs_4s_large4E.ckpt`` or a file of the same layout.

    Parameters
    ----------
    raw : mapping
        A Lightning checkpoint (the state dict under ``state_dict``), or the
        state dict itself; with the prefixes of pretraining or, for a bare
        encoder, without.
    network : EEGPT
        Tells which read-out network exists.

    Returns
    -------
    state : dict
        The momentum encoder, as the authors use it downstream, and the
        read-out's network.
    dropped : list of str
        Keys left out: the online encoder and the networks of pretraining that
        this read-out does not have.

    Raises
    ------
    KeyError
        If nothing in the file looks like the encoder.
    """
    state = raw.get("state_dict", raw)
    if any(key.startswith(_MOMENTUM) for key in state):
        dropped = [key for key in state if key.startswith("encoder.")]
        own = {
            key.removeprefix(_MOMENTUM): value for key, value in state.items() if key not in dropped
        }
    else:
        own, dropped = dict(state), []
    if "summary_token" not in own:
        raise KeyError("no 'target_encoder.summary_token' or 'summary_token'; it is not EEGPT")
    kept, spare = network.adapt_state(own)
    if isinstance(network, EEGPT):
        network.published = True
    return kept, dropped + list(spare)
