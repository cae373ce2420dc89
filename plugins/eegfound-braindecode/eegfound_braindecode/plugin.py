"""What this distribution offers: the models that the installed braindecode has.

Reading the hook imports neither torch nor braindecode. Without a usable
braindecode nothing is listed, because whatever is listed must run; the plugin's
record (``eegfound plugins``, and the error for an unknown model name) then says
what to install.
"""

from __future__ import annotations

import dataclasses

from eegfound.base import PluginError
from eegfound.models import FoundationModel, hookimpl
from eegfound_braindecode.declarations import MODELS
from eegfound_braindecode.installation import installation


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return the models whose file the installed braindecode has.

    Raises
    ------
    PluginError
        If braindecode is missing or too old; the message says what to type.
    """
    found = installation()
    if found.problem:
        names = ", ".join(model.name for _, model in MODELS)
        raise PluginError(f"{found.problem} (needed for {names})")
    notes = (f"{found.torchaudio}. The model does not need it.",) if found.torchaudio else ()
    return [
        dataclasses.replace(model, notes=(*model.notes, *notes))
        for module, model in MODELS
        if module in found.modules
    ]
