"""Ready search spaces, the choice of a pipeline, journey 5, and ``eegfound tune``."""

from __future__ import annotations

import json

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
from pyriemann.classification import MDM
from pyriemann.estimation import Covariances
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from typer.testing import CliRunner

import eegfound as ef
from eegfound.base import SpecError
from eegfound.baselines import list_baselines, make_baseline
from eegfound.cli.app import app
from eegfound.features import BandPower, DifferentialEntropy
from eegfound.models import list_models, registry
from eegfound.search import Choice, OptunaSearchCV, choose_pipeline, suggest_space
from eegfound.search.space import Sampler
from eegfound.search.suggest import SPACES
from eegfound.testing.toy import toy_model
from tests.helpers_toy import eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")

GROUPS = np.repeat(np.arange(6), 4)
y = np.tile(["left", "right"], 12)


def signals():
    X = eeg(24, seed=1)
    X[y == "left", 0] *= 3
    return X


def draws(space, n=12, seed=0):
    """Random parameters of a space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    sampler = Sampler(space)
    return [sampler(study.ask()) for _ in range(n)]


def fits(estimator, space, n=6, X=None):
    """Fit an estimator with each of some draws; every name and value must be right."""
    X = signals() if X is None else X
    for params in draws(space, n):
        own = clone(estimator).set_params(**params)
        shown = own.get_params()
        assert all(shown[name] == value for name, value in params.items())
        assert own.fit(X, y).predict(X).shape == (24,)


@pytest.mark.parametrize(
    "head",
    [
        LogisticRegression(), RidgeClassifier(), LinearDiscriminantAnalysis(), SVC(), LinearSVC(),
        KNeighborsClassifier(), RandomForestClassifier(10), make_pipeline(PCA(), SVC()),
        CalibratedClassifierCV(LinearSVC(), cv=2),
    ],
    ids=lambda head: type(head).__name__,
)  # fmt: skip
def test_heads(head):
    pipe = make_pipeline(BandPower(info=info(), window_seconds=None), StandardScaler(), head)
    space = suggest_space(pipe, signals())
    assert len(space) > 1
    fits(pipe, space, 3)


def test_baselines():
    for name in sorted({*list_baselines()} - {"dummy"}):
        baseline = make_baseline(name, info=info())
        space = suggest_space(baseline, signals())
        for params in draws(space):
            clone(baseline).set_params(**params)
        fits(baseline, space, 2)
    with pytest.raises(SpecError, match="knows nothing"):
        suggest_space(make_baseline("dummy"))


def test_nested_in_everything():
    union = make_union(encoder(), make_pipeline(Covariances("oas"), MDM()), BandPower(info=info()))
    assert "pipeline__covariances__estimator" in suggest_space(union)
    assert "foundationtransformer__pooling" in suggest_space(union)
    columns = ColumnTransformer([("pca", PCA(), [0, 1]), ("rest", "passthrough", [2])])
    assert set(suggest_space(columns)) == {"pca__n_components", "pca__svd_solver"}
    stack = StackingClassifier([("lr", LogisticRegression()), ("svm", SVC())])
    assert {"lr__C", "svm__C", "svm__gamma"} <= set(suggest_space(stack))

    class Mine(LogisticRegression):
        def __eegfound_space__(self):
            return {"C": [1.0, 2.0], "not_there": [1]}

    assert dict(suggest_space(make_pipeline(Mine()))) == {"mine__C": [1.0, 2.0]}
    de = suggest_space(make_pipeline(DifferentialEntropy(info=info()), SVC()))
    assert set(de["differentialentropy__bands"]) == {"classic", "seed", "seed_shared"}


def test_every_class_with_a_space_is_there():
    import importlib
    import pkgutil

    import pyriemann.spatialfilters
    import sklearn

    known = set()
    for package in (sklearn, pyriemann, ef):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            part = module.name.split(".")[1]
            if part in ("linear_model", "svm", "ensemble", "neighbors", "discriminant_analysis",
                        "decomposition", "neural_network", "estimation", "classification",
                        "spatialfilters", "tangentspace", "baselines", "features", "montage",
                        "preprocessing", "estimators") and "tests" not in module.name:  # fmt: skip
                known |= set(vars(importlib.import_module(module.name)))
    assert set(SPACES) <= known


def test_every_models_space():
    for model in list_models():
        transformer = ef.make_transformer(model, info=info())
        for params in draws(suggest_space(transformer), 3):
            clone(transformer).set_params(**params)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "tuning",
    [
        None,
        "full",
        "partial",
        "two_stage",
        "conv_linear",
        pytest.param("lora", marks=pytest.mark.slow),
    ],
)
def test_ways_of_tuning(tuning):
    if tuning == "lora":
        pytest.importorskip("peft")
    own = ef.FoundationClassifier("toy", checkpoint=None, info=info(), tuning=tuning, max_epochs=1)
    space = suggest_space(own)
    assert ("lr" in space) == (tuning is not None)
    assert ("lora_rank" in space) == (tuning == "lora")
    fits(own, space, 3)


def test_a_recipe_says_how_it_is_tuned():
    def space(**params):
        params = {"checkpoint": None, "info": info()} | params
        return suggest_space(ef.FoundationClassifier("cooked", **params))

    recipes = {
        "deep": {"tuning": "full", "head": "two_linear"},
        "shallow": {"tuning": "head", "head": "mlp"},
    }
    with registry.registered(toy_model("cooked", recipes=recipes)):
        assert {"lr", "layer_decay"} <= set(space(recipe="deep"))
        assert "head" not in space(recipe="deep")
        assert space(recipe="deep", head="linear")["head"] == ["linear", "mlp"]
        assert "lr" not in space(recipe="deep", tuning="head")
        assert "lr" not in space(recipe="shallow")
        assert space(recipe="shallow")["head"] == ["linear", "mlp"]


def test_montage_policies_do_not_promise_too_much():
    target = ["C3", "Cz", "C4", "Pz"]

    def missing(policy):
        mapper = ef.MontageMapper(info(), target, missing=policy)
        return make_pipeline(mapper, LogisticRegression())

    key = "montagemapper__missing"
    assert set(suggest_space(missing("zero"))[key]) == {"interpolate", "nearest", "zero"}
    assert key not in suggest_space(missing("raise"))
    assert "nan" in suggest_space(missing("nan"))[key]


def test_choice():
    either = Choice([("svm", SVC()), ("lr", LogisticRegression())], chosen="lr")
    X = signals()[:, :, :20].reshape(24, -1)
    grid = GridSearchCV(either, {"chosen": ["svm", "lr"]}, cv=2).fit(X, y)
    assert set(grid.cv_results_["param_chosen"]) == {"svm", "lr"}
    fitted = clone(either).fit(X, y)
    assert list(fitted.classes_) == ["left", "right"]
    assert fitted.predict_proba(X).shape == (24, 2)
    assert not hasattr(either.set_params(chosen="svm").fit(X, y), "predict_proba")
    with pytest.raises(SpecError, match="knn"):
        either.set_params(chosen="knn").fit(X, y)
    space = suggest_space(either)
    for params in draws(space):
        assert all(name == "chosen" or name.startswith(params["chosen"]) for name in params)


@pytest.mark.filterwarnings("ignore")
def test_which_model_montage_tuning_and_head():
    either = choose_pipeline(
        ["toy"], ["tangent_space", "mdm"], info=info(), heads=["logistic", "lda", "ridge"],
        tunings=["frozen", "head"], montages=["as recorded", "interpolate", "zero"],
        params={"checkpoint": None},
    )  # fmt: skip
    assert [name for name, _ in either.options] == ["toy", "toy+head", "tangent_space", "mdm"]
    space = suggest_space(either, signals())
    fits(either, space, 8)
    search = OptunaSearchCV(either, space, n_trials=6, cv=GroupKFold(2), random_state=0)
    search.fit(signals(), y, groups=GROUPS)
    assert set(search.cv_results_["trial_state"]) == {"COMPLETE"}
    assert len(set(search.cv_results_["param_chosen"])) > 1
    with pytest.raises(SpecError, match="at least one"):
        choose_pipeline(info=info())
    with pytest.raises(SpecError, match="heads"):
        choose_pipeline(["toy"], info=info(), heads=["tree"])
    with pytest.raises(SpecError, match="montages"):
        choose_pipeline(["toy"], info=info(), montages=["mirror"])


def test_as_recorded_is_the_same_behind_a_mapper():
    options = {"info": info(), "params": {"checkpoint": None}}
    plain = choose_pipeline(["toy"], **options)
    mapped = choose_pipeline(["toy"], montages=["as recorded", "zero"], **options)
    a, b = (dict(c.options)["toy"].set_params(head="passthrough") for c in (plain, mapped))
    np.testing.assert_allclose(
        a.fit_transform(signals()), b.fit_transform(signals()), rtol=1e-4, atol=1e-5
    )


def test_journey_5(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = signals()
    pipe = make_pipeline(encoder(), StandardScaler(), LogisticRegression())

    def run():
        from eegfound.search import OptunaSearchCV, suggest_space

        search = OptunaSearchCV(
            pipe, suggest_space(pipe), n_trials=4, cv=GroupKFold(3), storage="sqlite:///study.db",
            study_name="mi", random_state=0,
        )  # fmt: skip
        return search.fit(X, y, groups=GROUPS)

    first = run()
    assert set(first.best_params_) >= {"logisticregression__C", "foundationtransformer__pooling"}
    second = run()
    assert second.best_params_ == first.best_params_
    assert len(second.study_.trials) == 4  # nothing was run again
    assert second.score(X, y) == first.score(X, y)


@pytest.mark.filterwarnings("ignore")
def test_command(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        fixed = ["tune", "--subjects", "0-4", "--folds", "2", "--held-out", "0.4"]
        return CliRunner().invoke(app, [*fixed, *map(str, arguments)])

    out = tmp_path / "out"
    options = [
        "--models", "toy", "--checkpoint", "none", "--baselines", "mdm,band_power",
        "--compare", "band_power", "--tunings", "frozen,full", "--epochs", 1, "--out", out,
    ]  # fmt: skip
    first = run(*options, "--n-trials", 2)
    assert first.exit_code == 0, first.output
    assert "optimistic" not in first.output
    assert "too good" in first.output
    assert "2 subject(s) held out" in first.output
    assert "band_power (untuned)" in first.output
    again = run(*options, "--n-trials", 3, "--json")
    assert again.exit_code == 0, again.output
    best = json.loads((out / "best.json").read_text())
    assert best["n_trials"] == 3
    assert set(best["scores"]) == {"tuned", "band_power (untuned)", "class frequencies"}
    assert len(best["held_out_subjects"]) == 2
    trials = pd.read_parquet(out / "trials.parquet")
    assert len(trials) == len(pd.read_csv(out / "trials.csv")) == 3
    assert "param_chosen" in trials
    X, labels, _, _ = ef.datasets.load_sample(subjects=[5])
    assert len(joblib.load(out / "pipeline.joblib").predict(X)) == len(labels)
    other = run(*options, "--n-trials", 3, "--seed", 1)
    assert isinstance(other.exception, SpecError)
    assert "'tune'" in str(other.exception)
    assert isinstance(run("--baselines", "tangent_space_recentred").exception, SpecError)
    assert isinstance(run("--test-subjects", "99").exception, SpecError)
