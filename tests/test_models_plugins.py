"""Plugins: found, isolated, reported."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from eegfound.base import ModelNotFoundError, PluginError
from eegfound.models import FoundationModel, InputSpec, hookimpl, registry
from eegfound.models.manager import PluginRegistry
from eegfound.testing.toy import toy_model


class Plugin:
    def __init__(self, *models):
        self.models = models

    @hookimpl
    def eegfound_models(self):
        return self.models


@pytest.fixture
def empty(monkeypatch):
    """A registry that sees no installed distribution."""
    monkeypatch.setattr("eegfound.models.manager.entry_points", lambda group: [])
    return PluginRegistry()


class Entry:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name, load):
        self.name, self.load, self.dist = name, load, None


def test_register_get_and_unregister(empty):
    record = empty.register(toy_model("one", aliases=("uno",)))
    assert record.models == ["one"]
    assert list(empty.models()) == ["one"]
    assert empty.get("UNO").name == "one"
    empty.unregister("one")
    assert not empty.models()
    with pytest.raises(ModelNotFoundError, match="pip install eegfound-one"):
        empty.get("one")


def test_unknown_model_suggests_the_nearest(empty):
    empty.register(toy_model("labramlike"))
    with pytest.raises(ModelNotFoundError, match="Did you mean 'labramlike'"):
        empty.get("labramlik")


def _raises(error):
    def load():
        raise error

    return load


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (_raises(ImportError("no module named cupy")), "no module named cupy"),
        (_raises(SystemExit(3)), "SystemExit: 3"),
        (_raises(RuntimeError("first\nsecond")), "first second"),
        (lambda: Plugin(toy_model("odd", api_version=99)), "API version 99"),
        (lambda: Plugin(toy_model("good")), "'good' is already taken"),
        (lambda: Plugin(toy_model("new", aliases=("good",))), "'good' is already taken"),
        (lambda: Plugin("not a model"), "must return FoundationModel"),
        (lambda: type("P", (), {"eegfound_models": hookimpl(lambda self: 1 / 0)})(), "division"),
    ],
)
def test_a_broken_plugin_is_one_line_and_nothing_else(monkeypatch, load, reason):
    entries = [
        Entry("a-good", lambda: Plugin(toy_model("good"))),
        Entry("b-bad", load),
        Entry("c-good", lambda: Plugin(toy_model("other"))),
    ]
    monkeypatch.setattr("eegfound.models.manager.entry_points", lambda group: entries)
    found = PluginRegistry()
    assert sorted(found.models()) == ["good", "other"]
    bad = next(r for r in found.records() if r.name == "b-bad")
    assert bad.status == "broken"
    assert reason in bad.reason
    assert "\n" not in bad.reason
    assert [r.status for r in found.records() if r.name != "b-bad"] == ["ok", "ok"]
    with pytest.raises(ModelNotFoundError, match="b-bad"):
        found.get("missing")


def test_partial_failure_takes_everything_back(empty):
    with pytest.raises(PluginError, match="already taken"):
        empty.register(Plugin(toy_model("x"), toy_model("x")), "double")
    assert not empty.models()
    assert empty.register(toy_model("x")).status == "ok"


def test_misspelt_hook_is_reported(empty):
    plugin = type("P", (), {"eegfound_modles": hookimpl(lambda self: [])})()
    with pytest.raises(PluginError, match="eegfound_modles"):
        empty.register(plugin, "typo")


def test_plugins_can_be_switched_off(monkeypatch):
    entries = [Entry("a", _raises(AssertionError("must not be imported")))]
    monkeypatch.setattr("eegfound.models.manager.entry_points", lambda group: entries)
    monkeypatch.setenv("EEGFOUND_DISABLE_PLUGINS", "a, b")
    found = PluginRegistry()
    assert [r.status for r in found.records()] == ["disabled"]


def test_contributions_of_plugins_are_merged(empty):
    class Extra:
        @hookimpl
        def eegfound_heads(self):
            return {"deep": "somewhere:make"}

    empty.register(Extra(), "extra")
    assert empty.contributions("eegfound_heads") == {"deep": "somewhere:make"}


def test_registered_is_undone_after_an_error(toy):
    def fail():
        with registry.registered(toy_model("for-a-while")):
            assert "for-a-while" in registry.models()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "for-a-while" not in registry.models()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Upper"}, "lower case"),
        ({"default_size": "none"}, "default_size"),
    ],
)
def test_declarations_are_checked(changes, message):
    with pytest.raises(PluginError, match=message):
        toy_model(**changes)


def test_a_vocabulary_names_each_electrode_once():
    with pytest.raises(ValueError, match="twice"):
        InputSpec(sfreq=100, patch_samples=100, vocabulary=("Cz", "CZ"))


def test_listing_imports_neither_torch_nor_mne():
    code = textwrap.dedent(
        """
        import sys, eegfound
        eegfound.list_models()
        heavy = {"torch", "mne", "sklearn", "skorch"} & set(sys.modules)
        assert not heavy, heavy
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_model_without_a_checkpoint_of_that_name():
    model: FoundationModel = toy_model()
    with pytest.raises(ValueError, match="no checkpoint 'large'"):
        model.checkpoint("large")


class Distribution:
    def __init__(self, name):
        self.name, self.version = name, "1"


def test_a_name_belongs_to_the_distribution_named_after_it(monkeypatch, capsys):
    def loud():
        print("hello from a plugin")
        return Plugin(toy_model("toyx"))

    thief, rightful = Entry("aaa", loud), Entry("toyx", lambda: Plugin(toy_model("toyx")))
    twin = Entry("toyx", lambda: Plugin(toy_model("another")))
    thief.dist = twin.dist = Distribution("a-thief")
    rightful.dist = Distribution("eegfound-toyx")
    monkeypatch.setattr(
        "eegfound.models.manager.entry_points", lambda group: [thief, twin, rightful]
    )
    found = PluginRegistry()
    states = {r.name: r.status for r in found.records()}
    assert states == {"toyx": "ok", "aaa": "broken", "toyx (a-thief)": "ok"}
    assert sorted(found.models()) == ["another", "toyx"]
    assert "hello" not in capsys.readouterr().out


def test_aliases_in_any_case(empty):
    empty.register(toy_model("one", aliases=("OneNet",)))
    assert empty.get("onenet").name == empty.get("ONENET").name == "one"


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("eegfound_layouts", {"bad": None}, "sequence of electrodes"),
        ("eegfound_layouts", {"bad": "Cz"}, "sequence of electrodes"),
        ("eegfound_baselines", {"bad": 3}, "module:name"),
        ("eegfound_heads", ["deep"], "mapping"),
    ],
)
def test_contributions_are_checked(empty, hook, value, message):
    plugin = type("P", (), {hook: hookimpl(lambda self: value)})()
    with pytest.raises(PluginError, match=message):
        empty.register(plugin, "odd")


def test_a_baseline_that_cannot_be_imported_is_left_out():
    import eegfound as ef
    from eegfound.benchmark import default_pipelines

    class Odd:
        @hookimpl
        def eegfound_baselines(self):
            return {"odd": "nowhere_at_all:make"}

    info = ef.ChannelInfo(["C3", "C4"], 100)
    with registry.registered(Odd(), "odd-baselines"):
        with pytest.warns(UserWarning, match="'odd' is left out"):
            chosen = default_pipelines([], "all", info=info)
        assert "tangent_space" in chosen
        assert "odd" not in chosen
        with pytest.raises(PluginError, match="nowhere_at_all"):
            default_pipelines([], ["odd"], info=info)
