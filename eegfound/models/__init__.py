"""The plugin contract: declarations, hooks, plugin manager, checkpoint store.

Importing this package does not import torch; :mod:`eegfound.models.network`
(the shape of networks) and :mod:`eegfound.models.store` (reading weights) do.
"""

from eegfound.models.hookspecs import hookimpl
from eegfound.models.manager import (
    PluginRecord,
    get_model,
    list_models,
    register_plugin,
    registry,
    unregister_plugin,
)
from eegfound.models.spec import (
    API_VERSION,
    Checkpoint,
    FoundationModel,
    InputSpec,
    load_object,
)
from eegfound.models.stages import PretrainingStage

__all__ = [
    "API_VERSION",
    "Checkpoint",
    "FoundationModel",
    "InputSpec",
    "PluginRecord",
    "PretrainingStage",
    "get_model",
    "hookimpl",
    "list_models",
    "load_object",
    "register_plugin",
    "registry",
    "unregister_plugin",
]
