"""What a model declares about its fine-tuning, and what is refused."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from eegfound.base import PluginError
from eegfound.cli.app import app
from eegfound.estimators import FoundationClassifier
from eegfound.estimators._options import TrainingOptions, resolve
from eegfound.models import registry
from eegfound.models.spec import RECIPE_KEYS
from eegfound.testing.toy import toy_model
from tests.helpers_native import NATIVE
from tests.helpers_training import classifier, task

RECIPES = [(name, recipe) for name in NATIVE for recipe in registry.get(name).recipes]


def test_a_recipe_may_set_every_training_option_and_how_the_encoder_is_read():
    options = {field.name for field in fields(TrainingOptions)}
    assert options | {"pooling", "model_params"} == RECIPE_KEYS
    assert set(FoundationClassifier("toy").get_params()) >= RECIPE_KEYS


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"lr": 1e-3, "learning_rate": 1}, r"'paper' sets \['learning_rate'\]; a recipe may set"),
        ({"tuning": "full", "layer_decay": None}, "sets a parameter to None"),
    ],
)
def test_wrong_recipes_are_refused_at_declaration(recipe, message):
    with pytest.raises(PluginError, match=message):
        toy_model(recipes={"paper": recipe})


def test_a_recipe_is_a_copy():
    values = {"lr": 1e-3}
    model = toy_model(recipes={"paper": values})
    values["lr"] = 2.0
    assert model.recipes == {"paper": {"lr": 1e-3}}


@pytest.mark.skipif(len(NATIVE) < 3, reason="only some plugins are installed")
def test_the_models_with_published_recipes_have_them():
    with_paper = {name for name, recipe in RECIPES if recipe == "paper"}
    assert with_paper >= {"dare", "eegpt", "eegpt-ar", "labram", "mmm", "specmoe"}
    assert not {"neurolm", "fome-style"} & with_paper  # nothing is published that a head could use


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_recipes_hold_possible_values(name, recipe):
    model = registry.get(name)
    values = model.recipes[recipe]
    options = resolve({}, values, {})
    for key, value in values.items():
        if key not in ("pooling", "model_params"):
            assert getattr(options, key) == value
    assert values.get("pooling", model.poolings[0]) in model.poolings
    assert values["warmup"] < values["max_epochs"] if "warmup" in values else True
    front_end = {k for k in values.get("model_params", {}) if k in model.front_end_options}
    model.build(
        next(size for size in (*{"tiny", "nano", "tiny1", "expert"} & set(model.sizes), "base")
             if size in model.sizes),
        pooling=values.get("pooling"),
        **{k: v for k, v in values.get("model_params", {}).items() if k not in front_end},
    )  # fmt: skip


def test_info_lists_recipes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    recipes = {"paper": {"tuning": "full", "lr": 5e-4}, "reference": {"tuning": "partial"}}
    with registry.registered(toy_model("toy-with-recipes", recipes=recipes)):
        shown = CliRunner().invoke(app, ["info", "toy-with-recipes"]).output
        found = json.loads(CliRunner().invoke(app, ["info", "toy-with-recipes", "--json"]).output)
    assert "recipe paper" in shown
    assert "tuning='full', lr=0.0005" in shown
    assert "recipe reference" in shown
    assert found["recipes"] == recipes


@pytest.mark.parametrize(
    ("given", "warmup"), [({}, 5), ({"max_epochs": 5}, 0.5), ({"max_epochs": 5, "warmup": 2}, 2)]
)
def test_a_shorter_training_warms_up_for_the_same_share(given, warmup):
    recipe = {"max_epochs": 50, "warmup": 5, "lr_schedule": "cosine"}
    assert resolve(given, recipe, {}).warmup == warmup


def test_rates_of_steps_are_not_for_an_exact_fit():
    X, y, _ = task(12)
    recipe = {"tuning": "full", "lr": 1e-4, "weight_decay": 0.05, "label_smoothing": 0.1}
    with registry.registered(toy_model("toy-recipe", recipes={"paper": recipe})):
        clf = classifier(model="toy-recipe", recipe="paper", tuning="head", max_epochs=2)
        options = clf.fit(X, y).options_
        assert (options.lr, options.weight_decay, options.label_smoothing) == (1.0, 0.01, 0.1)
        assert clf.set_params(lr=0.5).fit(X, y).options_.lr == 0.5
