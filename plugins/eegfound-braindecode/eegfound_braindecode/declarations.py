"""All models of the bridge, and where braindecode defines them."""

from __future__ import annotations

from eegfound.models import FoundationModel
from eegfound_braindecode.contracts_patches import (
    CBRAMOD,
    CODEBRAIN,
    EEGDINO,
    LABRAM,
    REVE,
    STEEGFORMER,
)
from eegfound_braindecode.contracts_sequences import (
    BENDR,
    BIOT,
    BIOT_16,
    EEGPT,
    LUNA,
    MVPFORMER,
    SIGNALJEPA,
    ZUNA,
)

#: Each model with the file of ``braindecode/models`` that its class stands in.
MODELS: tuple[tuple[str, FoundationModel], ...] = (
    ("bendr", BENDR),
    ("biot", BIOT),
    ("biot", BIOT_16),
    ("cbramod", CBRAMOD),
    ("codebrain", CODEBRAIN),
    ("eegdino", EEGDINO),
    ("eegpt", EEGPT),
    ("labram", LABRAM),
    ("luna", LUNA),
    ("mvpformer", MVPFORMER),
    ("reve", REVE),
    ("signal_jepa", SIGNALJEPA),
    ("steegformer", STEEGFORMER),
    ("zuna", ZUNA),
)
