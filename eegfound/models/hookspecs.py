"""The hooks a plugin may implement, one signature each.

A plugin is a module (or object) named by an entry point of the group
``eegfound`` whose functions carry :data:`eegfound.models.hookimpl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from eegfound.models.spec import FoundationModel

PROJECT = "eegfound"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def eegfound_models() -> Iterable[FoundationModel]:  # type: ignore[empty-body]
    """Return the foundation models that the plugin offers."""


@hookspec
def eegfound_layouts() -> Mapping[str, Iterable[str]]:  # type: ignore[empty-body]
    """Return named electrode layouts: name to electrode names in order."""


@hookspec
def eegfound_datasets() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return datasets: name to import path of ``load(...) -> (X, y, groups, info)``."""


@hookspec
def eegfound_baselines() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return baselines: name to import path of ``make(info, **options) -> estimator``."""


@hookspec
def eegfound_heads() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return heads: name to import path of ``make(n_features, n_outputs, **options) -> Module``."""


HOOKS: tuple[str, ...] = (
    "eegfound_models",
    "eegfound_layouts",
    "eegfound_datasets",
    "eegfound_baselines",
    "eegfound_heads",
)


def as_items(value: Any) -> dict[str, Any]:
    """Read what a mapping hook returned; None means nothing."""
    return dict(value) if value else {}
