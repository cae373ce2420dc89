"""What users get wrong: names, functions that change, storages that cannot be used."""

import functools
import os
import socket
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from typer.testing import CliRunner

from eegfound.base import ChannelInfo, SpecError
from eegfound.benchmark.functions import describe_function
from eegfound.cli.app import app
from eegfound.search import (
    Choice,
    OptunaSearchCV,
    SearchSpace,
    choose_pipeline,
    open_storage,
    storage,
    suggest_space,
)

rng = np.random.default_rng(0)
y = np.tile(["rest", "task"], 12)
X = rng.standard_normal((24, 3)) + (y == "task")[:, np.newaxis]


def make(place=None, space=None, estimator=None, **params):
    given = {"n_trials": 2, "cv": 2, "random_state": 0, "storage": place}
    given |= {"study_name": None if place is None else "mine"} | params
    model = LogisticRegression() if estimator is None else estimator
    return OptunaSearchCV(model, {"C": [1.0, 2.0]} if space is None else space, **given)


def test_a_wrong_name_is_told_before_there_is_a_study(tmp_path):
    place = f"sqlite:///{tmp_path / 'study.db'}"
    either = Choice([("plain", LogisticRegression()), ("other", LogisticRegression())])
    rare = SearchSpace(
        {"chosen": ["plain"] * 9 + ["other"], "other__c": [1.0]},
        when={"other__c": {"chosen": ("other",)}},
    )
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    for estimator, space in (
        (None, {"Cc": [1.0]}), (pipe, {"logreg__C": [1.0]}), (either, rare),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=r"(?s)param_distributions.*Valid parameters"):
            make(place, space, estimator).fit(X, y)
    assert make(place).fit(X, y).best_params_  # the name of the study is still free
    # What is set in a step that the space itself puts there is no mistake.
    steps = {"standardscaler": ["passthrough"], "logisticregression__C": [1.0]}
    given = LogisticRegression()
    steps |= {"logisticregression": [given], "logisticregression__tol": [0.5]}
    make(space=steps, estimator=pipe).fit(X, y)
    assert given.tol != 0.5


def test_functions_count_with_their_code(tmp_path):
    def times(factor):
        return lambda trial: {"C": factor * trial.suggest_float("C", 0.1, 1)}

    def scaled(factor):
        return make_pipeline(FunctionTransformer(lambda a: a * factor), LogisticRegression())

    space = {"logisticregression__C": [1.0, 2.0]}
    one, two = (f"journal:{tmp_path / name}.log" for name in ("one", "two"))
    make(one, times(1)).fit(X, y)
    make(one, times(1)).fit(X, y)
    make(two, space, scaled(1)).fit(X, y)
    make(two, space, scaled(1)).fit(X, y)
    with pytest.raises(SpecError, match="param_distributions"):
        make(one, times(100)).fit(X, y)
    with pytest.raises(SpecError, match="the estimator"):
        make(two, space, scaled(0)).fit(X, y)
    different = [lambda a: a * 2, lambda a: a * 3, lambda a, b=1: a * 2, np.abs, "a".join]
    different += [functools.partial(max, 1), functools.partial(max, 2)]
    assert len({describe_function(f) for f in different}) == len(different)


def test_the_same_question_in_other_clothes(tmp_path):
    place = f"journal:{tmp_path / 'study.log'}"
    make(place, refit=False).fit(X, y)  # as the workers of a shared study do
    assert make(place).fit(X, y).best_estimator_ is not None
    mapped = np.memmap(tmp_path / "X.bin", dtype=X.dtype, mode="w+", shape=X.shape)
    mapped[:] = X
    for other in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], mapped):
        make(place).fit(other, y)
    more = make(place, n_trials=3, return_train_score=True, error_score=0.0).fit(X, y)
    assert np.isnan(more.cv_results_["mean_train_score"][:2]).all()
    assert more.cv_results_["mean_train_score"][2] > 0


def test_storages_that_cannot_be_used(tmp_path):
    (tmp_path / "text").write_text("no study\n" * 1000)
    for place in (
        f"sqlite:///{tmp_path / 'text'}", f"sqlite:///{tmp_path / 'text' / 'study.db'}",
        f"journal:{tmp_path / 'text'}", f"journal:{tmp_path}", "nothing://host/base",
    ):  # fmt: skip
        with pytest.raises(SpecError, match=r"storage=.*cannot be used"):
            open_storage(place)


@pytest.mark.skipif(sys.platform == "win32", reason="read-only folders of POSIX")
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_access(tmp_path):
    tmp_path.chmod(0o500)
    for place in (f"sqlite:///{tmp_path / 'a.db'}", f"journal:{tmp_path / 'a.log'}"):
        with pytest.raises(SpecError, match=r"storage=.*cannot be used"):
            make(place).fit(X, y)


def test_a_server_that_does_not_answer(monkeypatch):
    pytest.importorskip("psycopg2")
    monkeypatch.setattr(storage, "CONNECT_TIMEOUT", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SpecError, match=rf"{host}.*cannot be used.*timeout") as told:
            open_storage(f"postgresql://someone:secret@{host}/base")
    assert "secret" not in str(told.value)


def test_no_place_tells_a_password():
    for url, told in {
        "postgresql://me:secret@host:5432/base": "postgresql://host:5432/base",
        "postgresql://host/base?user=me&password=secret": "postgresql://host/base",
        "postgresql://me:secret@host/base?sslmode=require": "postgresql://host/base",
        "postgresql://host/base?user=me@home&password=secret": "postgresql://...",
        "postgresql://me:se?cret@host/base": "postgresql://...",
        "sqlite:///study.db": "sqlite:///study.db",
        "journal:what?.log": "journal:what?.log",
    }.items():
        assert storage.describe_place(url) == told


def test_a_study_that_cannot_be_written(tmp_path):
    path = tmp_path / "study.db"
    make(f"sqlite:///{path}").fit(X, y)
    with pytest.raises(SpecError, match=r"storage=.*cannot be used"):
        make(f"sqlite:///file:{path}?mode=ro&uri=true", study_name="other").fit(X, y)


def test_what_is_no_estimator():
    for wrong in (None, LogisticRegression):
        with pytest.raises(SpecError, match="needs an estimator"):
            suggest_space(wrong)
    with pytest.raises(SpecError, match=r"tunings=\['fulll'\]"):
        choose_pipeline(["labram"], info=ChannelInfo(["C3"], 200), tunings=["fulll"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--n-trials", "0"], "n-trials"),
        (["--folds", "1"], "folds"),
        (["--timeout", "-1"], "timeout"),
        (["--scoring", "acuracy"], "scoring"),
        (["--out", os.path.join(os.path.abspath(__file__), "results")], "out"),
        (["--storage", "sqlite:////dev/null/study.db"], "storage"),
    ],
)
def test_options_of_the_command(options, words):
    told = CliRunner().invoke(app, ["tune", "--subjects", "0-3", "--n-trials", "1", *options])
    assert told.exit_code != 0
    assert words in told.output + str(told.exception)
    assert isinstance(told.exception, SpecError | SystemExit)
