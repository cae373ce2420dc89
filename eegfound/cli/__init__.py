"""The command ``eegfound``: thin commands over the layers below."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from eegfound.base import CheckpointError, PluginError, SpecError

_said: set[str] = set()


def _say_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    """Print a warning as one line of its own, without a source line, and once."""
    if str(message) in _said:
        return
    _said.add(str(message))
    from eegfound.cli._output import errors, say

    say(f"{category.__name__}: {message}", to=errors)


def main() -> None:
    """Run the command line; known mistakes end in one line, not in a traceback."""
    from eegfound.cli._output import errors, say
    from eegfound.cli.app import app

    warnings.showwarning = _say_warning
    try:
        app()
    except (SpecError, CheckpointError, PluginError) as error:
        say(f"Error: {error}", to=errors)
        sys.exit(2)
    except KeyboardInterrupt:
        say("\nStopped. What is finished is kept; the same command goes on from there.", to=errors)
        sys.exit(130)
