"""braindecode's pretrained foundation models through eegfound's estimators.

Importing this package imports neither torch nor braindecode: braindecode is
imported when the first of its networks is built.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["download", "installation", "model_params_of"]


def __getattr__(name: str) -> Any:
    if name == "installation":
        from eegfound_braindecode.installation import installation

        return installation
    if name in __all__:
        from eegfound_braindecode import hub

        return getattr(hub, name)
    raise AttributeError(f"module 'eegfound_braindecode' has no attribute {name!r}")
