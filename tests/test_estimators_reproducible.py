"""The frozen encoder: the same numbers anywhere, now and later."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import warnings

import mne
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from eegfound.base import CheckpointError, RandomWeightsWarning
from eegfound.estimators import FoundationTransformer
from eegfound.models import registry
from eegfound.models.files import save_weights
from eegfound.models.loading import build_random
from eegfound.testing.toy import toy_model
from tests.helpers_toy import NAMES, eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")


def test_numbers_depend_on_the_epoch_alone():
    X = eeg(n=21)
    X[5:9, 2] = np.nan
    all_at_once = encoder().fit_transform(X)
    enc = encoder().fit(X)
    one_by_one = np.vstack([enc.transform(x[None]) for x in X])
    np.testing.assert_array_equal(one_by_one, all_at_once)
    order = np.random.default_rng(1).permutation(21)
    np.testing.assert_array_equal(enc.transform(X[order]), all_at_once[order])
    for n_threads in (1, 2, 3):
        np.testing.assert_array_equal(encoder(n_threads=n_threads).fit_transform(X), all_at_once)


def test_batch_size_changes_nothing_that_matters():
    X = eeg(n=11)
    np.testing.assert_allclose(
        encoder(batch_size=3).fit_transform(X), encoder(batch_size=64).fit_transform(X), atol=1e-6
    )


def test_random_weights_are_loud():
    for params in ({"checkpoint": None}, {"pretrained": False}):
        with pytest.warns(RandomWeightsWarning):
            enc = FoundationTransformer("toy", info=info(), **params).fit(eeg())
        assert enc.weights_ == "random"


def test_the_users_random_numbers_are_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is tested
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    encoder().fit_transform(eeg())
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_refitting_on_another_cap():
    enc = encoder(info=None)
    X = eeg(n_channels=19)
    enc.fit(X)
    enc.set_params(info=info()).fit(eeg())
    np.testing.assert_array_equal(enc.transform(eeg()), encoder().fit_transform(eeg()))


@pytest.fixture
def published(tmp_path, toy):
    network = build_random(toy, "wide", None, {}, seed=7)
    return save_weights(
        tmp_path / "w.safetensors", network.state_dict(), {"model": "toy", "size": "wide"}
    )


def test_pickle_refers_to_published_weights(published):
    enc = encoder(checkpoint=str(published)).fit(eeg())
    expected = enc.transform(eeg())
    raw = pickle.dumps(enc)
    weights = published.read_bytes()
    assert len(raw) < len(weights)
    np.testing.assert_array_equal(pickle.loads(raw).transform(eeg()), expected)
    assert clone(enc).fit(eeg()).encoder_.network is enc.encoder_.network
    # The same file with other contents is noticed.
    other = build_random(registry.get("toy"), "wide", None, {}, seed=8)
    save_weights(published, other.state_dict(), {"model": "toy", "size": "wide"})
    with pytest.raises(CheckpointError, match="the file has changed"):
        pickle.loads(raw).transform(eeg())
    published.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        pickle.loads(raw).transform(eeg())


def test_random_weights_travel_to_a_fresh_process(tmp_path):
    enc = encoder(random_state=11).fit(eeg())
    np.save(tmp_path / "expected.npy", enc.transform(eeg()))
    np.save(tmp_path / "X.npy", eeg())
    (tmp_path / "enc.pickle").write_bytes(pickle.dumps(enc))
    code = f"""
        import pickle, numpy as np, pathlib
        from eegfound.models import registry
        from eegfound.testing.toy import toy_model
        registry.register(toy_model())
        at = pathlib.Path({str(tmp_path)!r})
        enc = pickle.loads((at / "enc.pickle").read_bytes())
        assert np.array_equal(enc.transform(np.load(at / "X.npy")), np.load(at / "expected.npy"))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_a_missing_plugin_is_named_when_unpickling():
    with registry.registered(toy_model("short-lived")):
        raw = pickle.dumps(encoder(model="short-lived").fit(eeg()))
    with pytest.raises(KeyError, match="short-lived"):
        pickle.loads(raw)


def test_search_over_read_outs_is_the_same_for_any_n_jobs():
    X, y, groups = eeg(n=40), np.repeat(["a", "b"], 20), np.tile(np.arange(5), 8)
    X[20:, 1] *= 3
    pipe = make_pipeline(encoder(), LogisticRegression())
    grid = {
        "foundationtransformer__pooling": ["mean", "mean_std"],
        "logisticregression__C": [0.1, 1],
    }
    results = []
    for n_jobs in (1, 2):
        search = GridSearchCV(pipe, grid, cv=GroupKFold(3), n_jobs=n_jobs, error_score="raise")
        with _threading_backend():
            search.fit(X, y, groups=groups)
        results.append(search.cv_results_["split0_test_score"])
    np.testing.assert_array_equal(results[0], results[1])


def _threading_backend():
    # The toy model is registered in this process only, so workers are threads here;
    # the plugins' tests use processes.
    import joblib

    return joblib.parallel_config("threading")


def test_random_weights_are_the_same_whatever_runs_beside(toy):
    import joblib

    from eegfound.models import loading

    def fitted(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return encoder(random_state=seed).fit(eeg(2)).fingerprint_

    alone = [fitted(seed) for seed in range(100, 108)]
    loading._shared.clear()
    together = joblib.Parallel(4, backend="threading")(
        joblib.delayed(fitted)(seed) for seed in range(100, 108)
    )
    assert together == alone


def test_splits_of_epochs_are_lists_of_epochs():
    from sklearn.model_selection import cross_val_score

    X, y = eeg(n=12), np.tile([1, 2], 6)
    X[::2, 1] *= 4
    epochs = mne.EpochsArray(X, mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    pipe = make_pipeline(encoder(info=None), LogisticRegression())
    from_epochs = cross_val_score(pipe, epochs, y, cv=3, error_score="raise")
    from_array = cross_val_score(make_pipeline(encoder(), LogisticRegression()), X, y, cv=3)
    np.testing.assert_array_equal(from_epochs, from_array)


def test_a_path_is_no_published_checkpoint(tmp_path, toy, monkeypatch):
    network = build_random(toy, "wide", None, {}, seed=7)
    save_weights(tmp_path / "w.safetensors", network.state_dict(), {"model": "toy", "size": "wide"})
    monkeypatch.chdir(tmp_path)
    enc = encoder(checkpoint="w.safetensors").fit(eeg())
    assert enc.weights_ == str(tmp_path / "w.safetensors")
    raw, expected = pickle.dumps(enc), enc.transform(eeg())
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(raw).transform(eeg()), expected)
