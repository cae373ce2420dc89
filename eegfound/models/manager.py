"""Finding plugins, each in its own safety: one bad plugin harms nobody."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from eegfound.base import ModelNotFoundError, PluginError
from eegfound.models import hookspecs
from eegfound.models.spec import API_VERSION, FoundationModel

GROUP = "eegfound"


@dataclass
class PluginRecord:
    """What became of one plugin.

    Attributes
    ----------
    name : str
        Entry-point name, or the name given to :meth:`PluginRegistry.register`.
    distribution, version : str
        The distribution it came from (empty when registered in process).
    status : {"ok", "broken", "disabled"}
        Only ``"ok"`` plugins offer anything.
    reason : str
        Why it is not ``"ok"``, in one line.
    models : list of str
        Names of the models it offers.
    """

    name: str
    distribution: str = ""
    version: str = ""
    status: str = "ok"
    reason: str = ""
    models: list[str] = field(default_factory=list)
    contributions: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)


def _precedence(entry: EntryPoint) -> tuple[bool, str]:
    """Order entry points: a name belongs first to the distribution named after it."""
    return (entry.dist is None or entry.dist.name != f"eegfound-{entry.name}", entry.name)


def _check_contributions(offered: Mapping[str, Any]) -> None:
    """Check what mapping hooks returned, before anybody relies on it."""
    for hook, value in offered.items():
        if hook == "eegfound_models" or not value:
            continue
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise PluginError(f"{hook} must return a mapping with names as keys")
        for name, content in value.items():
            if hook == "eegfound_layouts":
                fits = not isinstance(content, str) and isinstance(content, Iterable)
            else:
                fits = isinstance(content, str) and ":" in content
            if not fits:
                kind = "a sequence of electrodes" if hook == "eegfound_layouts" else "'module:name'"
                raise PluginError(f"{hook}: {name!r} must be {kind}, got {content!r}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class PluginRegistry:
    """The plugins of one process.

    Entry points are read on first use. Each plugin is imported, registered
    and asked for its contributions inside its own ``try``; whatever goes
    wrong becomes the ``reason`` of its :class:`PluginRecord`.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._records: dict[str, PluginRecord] = {}
        self._models: dict[str, FoundationModel] = {}
        self._names: dict[str, str] = {}
        self._discovered = False

    def discover(self) -> None:
        """Load the plugins of the entry-point group, once."""
        if self._discovered:
            return
        self._discovered = True
        disabled = {
            name.strip()
            for name in os.environ.get("EEGFOUND_DISABLE_PLUGINS", "").split(",")
            if name.strip()
        }
        for entry in sorted(entry_points(group=GROUP), key=_precedence):
            record = self._record_of(entry)
            if entry.name in disabled:
                record.status, record.reason = "disabled", "named in EEGFOUND_DISABLE_PLUGINS"
                continue
            try:
                with redirect_stdout(sys.stderr):  # what a plugin prints is not our output
                    plugin = entry.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may even raise SystemExit
                record.status, record.reason = "broken", f"import failed: {_one_line(error)}"
                continue
            self._adopt(plugin, record)

    def _record_of(self, entry: EntryPoint) -> PluginRecord:
        dist = entry.dist
        record = PluginRecord(entry.name, dist.name if dist else "", dist.version if dist else "")
        if record.name in self._records:  # two distributions use one entry-point name
            record.name = f"{entry.name} ({record.distribution})"
        self._records[record.name] = record
        return record

    def register(self, plugin: Any, name: str | None = None) -> PluginRecord:
        """Register a plugin object in this process (notebooks, tests).

        Parameters
        ----------
        plugin : module | object | FoundationModel
            Something with hook implementations, or just a model.
        name : str | None
            Name in the records; derived from the object where None.

        Returns
        -------
        PluginRecord
            Its status is ``"ok"``.

        Raises
        ------
        PluginError
            If the plugin breaks the contract; nothing stays registered.
        """
        self.discover()
        if isinstance(plugin, FoundationModel):
            name = name or plugin.name
            plugin = _SingleModel(plugin)
        record = PluginRecord(name or str(getattr(plugin, "__name__", type(plugin).__name__)))
        if record.name in self._records and self._records[record.name].status == "ok":
            raise PluginError(f"A plugin called {record.name!r} is registered already.")
        self._adopt(plugin, record)
        if record.status != "ok":
            raise PluginError(f"Plugin {record.name!r}: {record.reason}")
        self._records[record.name] = record
        return record

    def unregister(self, name: str) -> None:
        """Take back a plugin and all it offered."""
        record = self._records.pop(name)
        for model in record.models:
            self._forget(model)
        plugin = self._manager.get_plugin(name)
        if plugin is not None:
            self._manager.unregister(plugin)

    @contextmanager
    def registered(self, plugin: Any, name: str | None = None) -> Iterator[PluginRecord]:
        """Register a plugin for the length of a ``with`` block."""
        record = self.register(plugin, name)
        try:
            yield record
        finally:
            self.unregister(record.name)

    def _adopt(self, plugin: Any, record: PluginRecord) -> None:
        added: list[str] = []
        try:
            self._manager.register(plugin, record.name)
            unknown = sorted(
                {
                    implementation
                    for implementation in dir(plugin)
                    if implementation.startswith("eegfound_")
                    and implementation not in hookspecs.HOOKS
                    and hasattr(getattr(plugin, implementation), "eegfound_impl")
                }
            )
            if unknown:
                raise PluginError(f"unknown hook(s) {unknown}; hooks are {list(hookspecs.HOOKS)}")
            offered = {hook: self._ask(plugin, hook) for hook in hookspecs.HOOKS}
            _check_contributions(offered)
            for model in offered["eegfound_models"] or ():
                self._add_model(model)
                added.append(model.name)
            record.models = added
            record.contributions = {
                hook: hookspecs.as_items(offered[hook])
                for hook in hookspecs.HOOKS
                if hook != "eegfound_models"
            }
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # isolation: any fault stays with its plugin
            for name in added:
                self._forget(name)
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            record.models, record.contributions = [], {}
            record.status = "broken"
            record.reason = str(error) if isinstance(error, PluginError) else _one_line(error)

    def _ask(self, plugin: Any, hook: str) -> Any:
        """Call one plugin's implementation of one hook."""
        caller = getattr(self._manager.hook, hook)
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin:
                return implementation.function()
        return None

    def _add_model(self, model: FoundationModel) -> None:
        if not isinstance(model, FoundationModel):
            raise PluginError(
                f"eegfound_models must return FoundationModel objects, got {type(model).__name__}"
            )
        if model.api_version != API_VERSION:
            raise PluginError(
                f"model {model.name!r} was written for API version {model.api_version}, this "
                f"eegfound has version {API_VERSION}: install a matching release of the plugin"
            )
        for name in (model.name, *model.aliases):
            if name.lower() in self._names:
                raise PluginError(
                    f"model name {name!r} is already taken by model {self._names[name.lower()]!r}"
                )
        self._models[model.name] = model
        for name in (model.name, *model.aliases):
            self._names[name.lower()] = model.name

    def _forget(self, model: str) -> None:
        self._models.pop(model, None)
        self._names = {name: owner for name, owner in self._names.items() if owner != model}

    def records(self) -> list[PluginRecord]:
        """Return what became of every plugin, in order of loading."""
        self.discover()
        return list(self._records.values())

    def models(self) -> Mapping[str, FoundationModel]:
        """Return the models by name."""
        self.discover()
        return dict(sorted(self._models.items()))

    def get(self, name: str) -> FoundationModel:
        """Return a model by name or alias.

        Raises
        ------
        ModelNotFoundError
            If no working plugin offers it; the message says what there is
            and which plugins are broken.
        """
        self.discover()
        key = str(name).lower()
        if key in self._names:
            return self._models[self._names[key]]
        close = get_close_matches(key, self._names, n=1)
        broken = [f"{r.name} ({r.reason})" for r in self._records.values() if r.status != "ok"]
        # A plugin that did not load and tells of this model knows better.
        named = any(re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", why) for why in broken)
        hint = f" Try: pip install eegfound-{key}."
        raise ModelNotFoundError(
            f"No installed plugin offers the model {name!r}. Installed models: "
            f"{sorted(self._models) or 'none'}."
            + (f" Did you mean {close[0]!r}?" if close else "" if named else hint)
            + (f" Plugins that did not load: {'; '.join(broken)}." if broken else "")
        )

    def contributions(self, hook: str) -> dict[str, Any]:
        """Merge what plugins offer through a mapping hook (first come, first served)."""
        self.discover()
        merged: dict[str, Any] = {}
        for record in self._records.values():
            for name, value in record.contributions.get(hook, {}).items():
                merged.setdefault(name, value)
        return merged


class _SingleModel:
    """A plugin made of one model, for registration in process."""

    def __init__(self, model: FoundationModel) -> None:
        self._model = model

    @hookspecs.hookimpl
    def eegfound_models(self) -> list[FoundationModel]:
        """Return the model."""
        return [self._model]


#: The registry of this process.
registry = PluginRegistry()


def list_models() -> list[str]:
    """Return the names of the models that working plugins offer, sorted.

    Examples
    --------
    >>> import eegfound
    >>> isinstance(eegfound.list_models(), list)
    True
    """
    return list(registry.models())


def get_model(name: str) -> FoundationModel:
    """Return the description of a model by name or alias.

    Parameters
    ----------
    name : str
        Name or alias, in any case.

    Returns
    -------
    FoundationModel
        The declaration; building it is up to the estimators.

    Raises
    ------
    ModelNotFoundError
        If no working plugin offers it.
    """
    return registry.get(name)


def register_plugin(plugin: Any, name: str | None = None) -> PluginRecord:
    """Register a plugin (or a single :class:`FoundationModel`) in this process."""
    return registry.register(plugin, name)


def unregister_plugin(name: str) -> None:
    """Take back a plugin registered in this process."""
    registry.unregister(name)
