"""The native models of the installed plugins, whatever other tests have registered."""

from __future__ import annotations

from eegfound.models import list_models, registry

list_models()  # loads the plugins
NATIVE = sorted(
    name
    for record in registry.records()
    if record.distribution
    for name in record.models
    if not name.startswith("bd-")
)
