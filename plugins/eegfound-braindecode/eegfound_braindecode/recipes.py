"""The recipes by the name that sizes use."""

from __future__ import annotations

from eegfound_braindecode.recipe import Recipe
from eegfound_braindecode.recipes_patches import (
    EEGDINO,
    REVE,
    ZUNA,
    CBraMod,
    CodeBrain,
    Labram,
    MVPFormer,
    STEEGFormer,
)
from eegfound_braindecode.recipes_sequences import BENDR, BIOT, EEGPT, LUNA, SignalJEPA

RECIPES: dict[str, type[Recipe]] = {
    "bendr": BENDR,
    "biot": BIOT,
    "cbramod": CBraMod,
    "codebrain": CodeBrain,
    "eegdino": EEGDINO,
    "eegpt": EEGPT,
    "labram": Labram,
    "luna": LUNA,
    "mvpformer": MVPFormer,
    "reve": REVE,
    "signaljepa": SignalJEPA,
    "steegformer": STEEGFormer,
    "zuna": ZUNA,
}
