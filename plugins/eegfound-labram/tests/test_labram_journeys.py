"""What users type, on the bundled real sample, with weights in the published layout."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import joblib
import mne
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import eegfound as ef
from eegfound.base import SpecError, UnitError

pytestmark = pytest.mark.usefixtures("published")


@pytest.fixture(scope="module")
def sample():
    """Six subjects, eight windows each."""
    X, y, groups, info = ef.datasets.load_sample()
    keep = np.concatenate(
        [
            np.flatnonzero((groups == g) & (y == c))[:4]
            for g in np.unique(groups)[:6]
            for c in np.unique(y)
        ]
    )
    return X[keep], y[keep], groups[keep], info


@pytest.fixture
def epochs(sample):
    """The sample as MNE Epochs at 250 Hz, with subjects in the metadata."""
    X, y, groups, info = sample
    minfo = mne.create_info(list(info.ch_names), info.sfreq, "eeg")
    events = np.column_stack([np.arange(len(X)), np.zeros(len(X), int), 1 + (y == y[0])])
    made = mne.EpochsArray(
        X, minfo, events, metadata=pd.DataFrame({"subject": groups}), verbose="error"
    )
    return made.resample(250, verbose="error")


def test_journey_1_from_epochs_to_a_fair_number(epochs, tmp_path):
    epochs.save(tmp_path / "motor-epo.fif", verbose="error")
    epochs = mne.read_epochs(tmp_path / "motor-epo.fif", verbose="error")
    pipe = make_pipeline(
        ef.make_transformer("labram", info=epochs.info), StandardScaler(), LogisticRegression()
    )
    scores = cross_val_score(
        pipe, epochs.get_data(), epochs.events[:, 2], groups=epochs.metadata["subject"],
        cv=GroupKFold(5), error_score="raise",
    )  # fmt: skip
    assert scores.shape == (5,)
    # Epochs themselves give the same numbers as their array.
    enc = ef.make_transformer("labram", info=epochs.info)
    np.testing.assert_array_equal(enc.fit_transform(epochs), enc.fit_transform(epochs.get_data()))
    assert enc.weights_ == "labram-small-open"
    assert enc.load_report_.ok
    published = ef.make_transformer("labram", checkpoint="labram-base", info=epochs.info)
    assert published.fit(epochs).weights_ == "labram-base"
    assert "logit_scale" in published.load_report_.dropped


def test_journey_1_unknown_electrodes_are_named_with_both_ways_out(epochs):
    odd = epochs.copy().rename_channels({epochs.ch_names[0]: "Xx1"})
    with pytest.raises(SpecError, match=r"Xx1.*on_unknown='drop'.*MontageMapper"):
        ef.make_transformer("labram", info=odd.info).fit(odd.get_data())


def test_journey_2_arrays_in_microvolts():
    rng = np.random.default_rng(0)
    X = 10 * rng.standard_normal((5, 6, 1000))
    info = ef.ChannelInfo(ch_names=["Fp1", "Fp2", "C3", "C4", "O1", "O2"], sfreq=250)
    emb = ef.make_transformer("labram", info=info, unit="uV").fit_transform(X)
    assert emb.shape == (5, 200)
    assert emb.dtype == np.float32
    with pytest.raises(UnitError, match=r"median absolute amplitude of .* did you mean unit='uV'"):
        ef.make_transformer("labram", info=info).fit(X)


def test_journey_3_two_caps_in_one_array(sample):
    X, y, _, info = sample
    info_a = ef.ChannelInfo([*info.ch_names[:12]], info.sfreq)
    info_b = ef.ChannelInfo([*info.ch_names[6:]], info.sfreq)
    Xa, Xb, y = X[:24, :12], X[24:, 6:], y
    layout = ef.union_layout(info_a, info_b)
    mapper_a, mapper_b = (
        ef.MontageMapper(info=i, target=layout, missing="nan") for i in (info_a, info_b)
    )
    both = np.concatenate([mapper_a.fit_transform(Xa), mapper_b.fit_transform(Xb)])
    assert np.isnan(both).any()
    enc = ef.make_transformer("labram", info=layout.info(sfreq=200))
    pipe = make_pipeline(enc, LogisticRegression(max_iter=1000))
    assert pipe.fit(both, y).predict(both).shape == y.shape
    # Each cap's epochs are encoded from the electrodes it has.
    emb = enc.fit_transform(both)
    own = ef.make_transformer("labram", info=mapper_a.info_out_).fit(mapper_a.transform(Xa))
    np.testing.assert_allclose(emb[:24], own.transform(mapper_a.transform(Xa)), atol=1e-5)
    with pytest.raises(ValueError, match="interpolate"):
        ef.baselines.make_baseline("tangent_space", info=layout.info(sfreq=200)).fit(both, y)


@pytest.mark.parametrize("n_trials", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_journey_5_optuna_over_everything(sample, n_trials, tmp_path, monkeypatch):
    from eegfound.search import OptunaSearchCV, suggest_space

    monkeypatch.chdir(tmp_path)
    X, y, groups, info = sample
    X, y, groups = X[::2, :, :400], y[::2], groups[::2]
    pipe = make_pipeline(
        ef.make_transformer("labram", info=info, cache=tmp_path / "cache"), StandardScaler(), SVC()
    )

    def search():
        return OptunaSearchCV(
            pipe, suggest_space(pipe), n_trials=n_trials, cv=GroupKFold(5),
            storage="sqlite:///study.db", study_name="mi", random_state=0,
        )  # fmt: skip

    first = search().fit(X, y, groups=groups)
    assert len(first.study_.trials) == n_trials
    assert set(first.best_params_) <= set(pipe.get_params())
    again = search().fit(X, y, groups=groups)  # another day: nothing is left to do
    assert again.best_params_ == first.best_params_
    assert len(again.study_.trials) == n_trials


@pytest.mark.parametrize("tuning", ["head", "lora", "full"])
def test_journey_6_is_fine_tuning_worth_it(sample, tuning, tmp_path):
    X, y, groups, info = sample
    clf = ef.make_classifier(
        "labram", info=info, tuning=tuning, head="linear", layer_decay=0.65, max_epochs=2,
        early_stopping=True, random_state=0,
    )  # fmt: skip
    clf.fit(X, y, groups=groups)
    assert set(clf.predict(X[:4])) <= set(y)
    assert len(clf.net_.history) <= 2
    assert "valid_loss" in clf.net_.history[0]
    joblib.dump(clf, tmp_path / "clf.joblib")
    again = joblib.load(tmp_path / "clf.joblib")
    np.testing.assert_array_equal(again.predict_proba(X[:4]), clf.predict_proba(X[:4]))
    if tuning != "full":  # the published weights are referred to, not stored
        assert (tmp_path / "clf.joblib").stat().st_size < 3_000_000


def test_journey_6_tuning_is_a_parameter_like_any_other(sample):
    X, y, groups, info = sample
    clf = ef.make_classifier(
        "labram", info=info, head="linear", layer_decay=0.65, max_epochs=1, random_state=0
    )
    some = groups <= np.unique(groups)[1]
    grid = GridSearchCV(clf, {"tuning": ["head", "lora", "full"]}, cv=GroupKFold(2))
    grid.fit(X[some][..., :500], y[some], groups=groups[some])
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
    assert grid.best_params_["tuning"] in ("head", "lora", "full")


def test_journey_7_foundation_features_and_riemann_together(sample):
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace

    X, y, _, info = sample
    enc = ef.make_transformer("labram", info=info)
    union = make_union(enc, make_pipeline(Covariances("oas"), TangentSpace()))
    n_tangent = info.n_channels * (info.n_channels + 1) // 2
    assert union.fit_transform(X).shape == (len(X), 200 + n_tangent)
    pipe = make_pipeline(enc, StandardScaler(), LogisticRegression())
    stack = StackingClassifier(
        [("riemann", ef.baselines.make_baseline("tangent_space")), ("labram", pipe)], cv=2
    )
    assert stack.fit(X, y).score(X, y) > 0.5
    # Columns of a flat table can be mixed as well: embeddings beside band power.
    flat = np.hstack([enc.fit_transform(X), ef.features.BandPower(info=info).fit_transform(X)])
    mixed = ColumnTransformer(
        [
            ("foundation", StandardScaler(), slice(0, 200)),
            ("power", "passthrough", slice(200, None)),
        ]
    )
    assert make_pipeline(mixed, LogisticRegression(max_iter=2000)).fit(flat, y).score(flat, y) > 0.5


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "eegfound", *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )  # fmt: skip


def test_journey_8_the_honest_table_from_the_shell(tmp_path):
    command = [
        "benchmark", "--data", "sample", "--subjects", "0-4", "--models", "labram",
        "--pipelines", "labram+lr,tangent_space,band_power,dummy", "--cv", "3", "--out", tmp_path,
    ]  # fmt: skip
    done = run(*command)
    assert done.returncode == 0, done.stderr
    for name in ("labram+lr", "tangent_space", "band_power", "dummy", "±"):
        assert name in done.stdout
    assert list(tmp_path.glob("*.csv"))
    html = next(tmp_path.glob("*.html")).read_text()
    assert "<img" in html or "<svg" in html
    assert 'src="http' not in html  # self-contained
    assert "<link" not in html
    again = run(*command)  # finished folds are taken, not computed
    assert again.stdout == done.stdout


@pytest.fixture
def recording(sample, tmp_path):
    """A recording as EDF, with names as files have them."""
    X, _, _, info = sample
    names = [f"EEG {name}-REF" for name in info.ch_names]
    raw = mne.io.RawArray(
        np.concatenate(list(X[:6]), axis=1),
        mne.create_info(names, info.sfreq, "eeg"),
        verbose="error",
    )
    (tmp_path / "recordings").mkdir()
    path = tmp_path / "recordings" / "one.edf"
    mne.export.export_raw(path, raw, verbose="error")
    return path


def test_journey_9_doctor_prints_code_that_runs(recording):
    done = run("doctor", recording, "--model", "labram")
    assert done.returncode == 0, done.stderr
    assert "labram" in done.stdout
    code = textwrap.dedent(done.stdout[done.stdout.index("import mne") :])
    code += "\nassert embeddings.shape == (6, 200), embeddings.shape\n"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_journey_9_a_folder_to_embeddings(recording, tmp_path):
    (recording.parent / "broken.edf").write_bytes(b"no recording at all")
    out = tmp_path / "emb.parquet"
    done = run("embed", recording.parent, "--model", "labram", "--window", "4", "--out", out)
    assert done.returncode == 1  # one file was skipped, and that is said
    assert "broken.edf" in done.stderr
    table = pd.read_parquet(out)
    assert list(table["onset"]) == [0, 4, 8, 12, 16, 20]
    assert table.shape == (6, 203)
    assert not list(tmp_path.glob("*.parts"))
    (recording.parent / "broken.edf").unlink()
    text = run("embed", recording, "--model", "labram", "--out", tmp_path / "emb.csv")
    assert text.returncode == 0, text.stderr
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "emb.csv").iloc[:, 3:], table.iloc[:, 3:], rtol=1e-4, atol=1e-6
    )


def test_a_search_in_processes_gives_the_same_numbers(sample):
    X, y, groups, info = sample
    X, y, groups = X[::2], y[::2], groups[::2]
    # Workers that were started before do not know where the weights are.
    get_reusable_executor().shutdown(wait=True)
    pipe = make_pipeline(
        ef.make_transformer("labram", info=info), StandardScaler(), LogisticRegression()
    )
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            pipe, {"logisticregression__C": [0.1, 10]}, cv=GroupKFold(3), n_jobs=n_jobs,
            scoring="neg_log_loss", error_score="raise",
        )  # fmt: skip
        search.fit(X, y, groups=groups)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)


def test_worker_processes_share_the_cores():
    import torch

    from eegfound.estimators._threads import n_workers

    alone = n_workers(None)
    assert alone == torch.get_num_threads()
    shared = joblib.Parallel(n_jobs=2)(joblib.delayed(n_workers)(None) for _ in range(2))
    assert max(shared) <= max(1, joblib.cpu_count() // 2)


def test_memory_of_a_pipeline(sample, tmp_path):
    X, y, _, info = sample
    steps = [ef.make_transformer("labram", info=info), LogisticRegression(max_iter=1000)]
    cached = make_pipeline(*steps, memory=str(tmp_path))
    first = cached.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clone(cached).fit(X, y).predict_proba(X), first)
    np.testing.assert_array_equal(make_pipeline(*steps).fit(X, y).predict_proba(X), first)


def test_pickle_in_a_fresh_process(sample, tmp_path):
    X, y, _, info = sample
    pipe = make_pipeline(
        ef.make_transformer("labram", info=info), LogisticRegression(max_iter=1000)
    ).fit(X, y)
    raw = pickle.dumps(pipe)
    assert len(raw) < 200_000  # 23 MB of weights are referred to
    (tmp_path / "pipe.pickle").write_bytes(raw)
    np.savez(tmp_path / "x.npz", X=X[:6], expected=pipe.predict_proba(X[:6]))
    code = f"""
        import pathlib, pickle, numpy as np
        at = pathlib.Path({str(tmp_path)!r})
        pipe, z = pickle.loads((at / "pipe.pickle").read_bytes()), np.load(at / "x.npz")
        assert np.array_equal(pipe.predict_proba(z["X"]), z["expected"])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=dict(os.environ))


def test_named_classes_are_what_the_factories_return():
    from eegfound_labram import LaBraMClassifier, LaBraMRegressor, LaBraMTransformer

    assert type(ef.make_transformer("labram")) is LaBraMTransformer
    assert type(ef.make_classifier("LaBraM")) is LaBraMClassifier
    assert type(ef.make_regressor("labram")) is LaBraMRegressor


def test_mapper_to_the_models_vocabulary_needs_no_info(sample):
    X, _, _, info = sample
    direct = ef.make_transformer("labram", info=info).fit_transform(X[:4])
    mapped = ef.MontageMapper(info=info, target="labram", missing="nan").fit_transform(X[:4])
    assert mapped.shape[1] == 128
    through = ef.make_transformer("labram").fit_transform(mapped)
    np.testing.assert_allclose(through, direct, atol=1e-5)
    front = ef.prepare_for("labram", info)
    np.testing.assert_array_equal(
        make_pipeline(front, ef.make_transformer("labram")).fit_transform(X[:4]), through
    )
