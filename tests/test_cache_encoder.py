"""What an embedding's key depends on, and that numbers are the same with a cache."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import eegfound as ef
from eegfound.base import SignalWarning, SpecError
from eegfound.cache import CacheWarning, cache_info
from eegfound.cache import place as cache_place
from eegfound.estimators import FoundationTransformer
from eegfound.estimators._encode import encode
from tests.helpers_cache import COUNTED, counted, passes
from tests.helpers_toy import NAMES, eeg, info

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("error::eegfound.cache.CacheWarning")


@pytest.fixture
def count(tmp_path, monkeypatch):
    """Return how many epochs have passed the network since the last call."""
    monkeypatch.setenv(COUNTED, str(tmp_path / "counted"))
    seen = [0]

    def since():
        total = len(passes(tmp_path / "counted"))
        new, seen[0] = total - seen[0], total
        return new

    return since


def test_every_epoch_once_and_the_same_numbers(count, tmp_path, rng):
    X = eeg(23)
    plain = counted().fit_transform(X)
    count()
    cache = tmp_path / "cache"
    first = counted(cache=cache)
    np.testing.assert_array_equal(first.fit_transform(X[:9]), plain[:9])
    assert count() == 9  # fit, which tries the first epochs, included
    np.testing.assert_array_equal(first.transform(X), plain)
    assert count() == 14
    order = rng.permutation(np.repeat(np.arange(23), 2))
    np.testing.assert_array_equal(counted(cache=cache).fit(X).transform(X[order]), plain[order])
    assert count() == 0
    found = cache_info(cache)
    assert found.entries == 23
    assert found.sources[0]["encoded"] == 23
    assert found.sources[0]["hits"] > 23


def test_copies_of_an_epoch_pass_once(count, tmp_path):
    X = np.repeat(eeg(5), 3, axis=0)
    counted(cache=tmp_path / "c").fit_transform(X)
    assert count() == 5


def test_electrodes_that_were_not_recorded(count, tmp_path):
    X = eeg(16)
    X[::3, 1] = np.nan
    X[1::3, 4] = np.nan
    for params in ({"pooling": "channels"}, {"pooling": "mean"}):
        plain = counted(**params).fit_transform(X)
        count()
        for expected in (16, 0):
            np.testing.assert_array_equal(
                counted(cache=tmp_path / "c", **params).fit_transform(X), plain
            )
            assert count() == expected
    with pytest.raises(SpecError, match=r"pooling='flatten' gives .* features"):
        counted(cache=tmp_path / "c", pooling="flatten").fit_transform(X)
    assert cache_info(tmp_path / "c").claims == 0


#: One change each, after which nothing may be found.
CHANGES = {
    "unit": {"unit": "mV"},
    "another cap": {"info": info(names=("Fp2", *NAMES[1:]))},
    "order of channels": {"info": info(names=NAMES[::-1])},
    "rate": {"info": info(sfreq=110.0)},
    "bad channel": {"info": info().replace(bads=["C3"])},
    "weights": {"random_state": 1},
    "size": {"size": "wide"},
    "configuration": {"model_params": {"depth": 3}},
    "read-out": {"pooling": "max"},
    "layer": {"layer": 1},
    "precision": {"dtype": "bfloat16"},
    "epochs per pass": {"batch_size": 2},
    "short windows": {"on_short": "pad"},
    "model": {"model": "counted-slow"},
}


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_misses(change, count, tmp_path):
    # In volts and in millivolts alike these numbers could be EEG.
    X = 30 * eeg(4)
    base = counted(cache=tmp_path).fit(X)
    base.transform(X)
    assert count() == 4
    other = clone(base).set_params(**CHANGES[change])
    plain = clone(other).set_params(cache=None).fit_transform(X)
    count()
    np.testing.assert_array_equal(other.fit_transform(X), plain)
    assert count() == 4
    base.transform(X)
    assert count() == 0


@pytest.mark.filterwarnings("default::eegfound.cache.CacheWarning")
def test_damage_is_noticed_by_the_process_that_wrote(count, tmp_path):
    X = eeg(6)
    enc = counted(cache=tmp_path).fit(X)
    plain = enc.transform(X)
    count()
    enc.transform(X)
    assert count() == 0
    file = next(tmp_path.glob("embeddings-*"))
    raw = file.read_bytes()
    at = raw.find(plain[2].tobytes())
    file.write_bytes(raw[:at] + b"!" + raw[at + 1 :])
    cache_place._told.clear()
    with pytest.warns(CacheWarning, match="damaged"):
        np.testing.assert_array_equal(enc.transform(X), plain)
    assert count() == 1


def test_warnings_about_an_array_come_every_time(tmp_path):
    X = eeg(12)
    X[3] *= 1e4
    enc = counted(cache=tmp_path)
    for _ in range(2):
        with pytest.warns(SignalWarning, match=r"1 epoch\(s\), first at index 3"):
            enc.fit_transform(X)
    X[5, 2, 7] = np.inf
    for _ in range(2):
        with pytest.raises(SpecError, match="inf"):
            enc.fit_transform(X)


def test_another_type_of_number_misses(count, tmp_path):
    X = eeg(4)
    base = counted(cache=tmp_path).fit(X)
    base.transform(X)
    count()
    base.transform(X.astype(np.float32))
    assert count() == 4
    flipped = X.copy()
    flipped[2, 3, 7] = np.nextafter(flipped[2, 3, 7], 1)
    base.transform(flipped)
    assert count() == 1
    missing = X.copy()
    missing[0, 2] = np.nan
    base.transform(missing)
    assert count() == 1


@pytest.mark.parametrize(
    "what",
    [
        ("eegfound.cache.encoder.NUMERICS", 10**6),
        ("eegfound.cache.encoder.libraries", lambda: {"torch": "9"}),
        ("eegfound.cache.encoder.hardware", lambda device: {"processor": "another"}),
        ("eegfound.cache.encoder.code_of", lambda *_: "other code"),
    ],
)
def test_other_numerics_miss(what, count, tmp_path, monkeypatch):
    X = eeg(4)
    counted(cache=tmp_path).fit_transform(X)
    count()
    monkeypatch.setattr(*what)
    counted(cache=tmp_path).fit_transform(X)
    assert count() == 4


@pytest.mark.parametrize("change", [{"n_threads": 2}, {"on_unknown": "drop"}])
def test_what_changes_no_number_hits(change, count, tmp_path):
    X = eeg(4)
    counted(cache=tmp_path).fit_transform(X)
    count()
    counted(cache=str(tmp_path), **change).fit_transform(X)
    assert count() == 0


def test_a_front_end_counts_with_what_it_learned(count, tmp_path):
    X = eeg(12)
    enc = counted(model="counted-fitted", cache=tmp_path)
    enc.fit(X[:8]).transform(X)
    assert count() >= 12
    again = clone(enc).fit(X[:8])
    plain = clone(enc).set_params(cache=None).fit(X[4:])
    expected = plain.transform(X)
    count()
    again.transform(X)
    assert count() == 0
    np.testing.assert_array_equal(clone(enc).fit(X[4:]).transform(X), expected)
    assert count() == 12


def test_every_parameter_is_accounted_for():
    """Whoever adds a parameter decides here whether numbers depend on it."""
    by_fingerprint = {"checkpoint", "pretrained", "random_state"}
    by_plan = {"info", "unit", "on_unknown", "on_short"}
    by_recipe = {"model", "size", "pooling", "layer", "batch_size", "device", "dtype", "compile",
                 "model_params"}  # fmt: skip
    no_matter = {"cache", "n_threads"}
    known = by_fingerprint | by_plan | by_recipe | no_matter
    assert set(inspect.signature(FoundationTransformer).parameters) == known


def test_every_argument_of_encode_is_accounted_for():
    in_recipe = {"network", "plan", "pooling", "layer", "front_end", "batch_size", "device",
                 "dtype", "reading"}  # fmt: skip
    assert set(inspect.signature(encode).parameters) == in_recipe | {"X", "presence"} | {
        "n_threads",
        "fill_up",
        "done",
    }


def test_parameters_and_pickles(tmp_path):
    enc = counted(cache=tmp_path)
    assert clone(enc).get_params()["cache"] == tmp_path
    assert ef.make_transformer("counted", cache=True).cache is True
    X = eeg(4)
    fitted = enc.fit(X)
    raw = pickle.dumps(fitted)
    np.testing.assert_array_equal(pickle.loads(raw).transform(X), fitted.transform(X))
    assert b"sqlite" not in raw.lower()


def test_true_means_the_default_place(tmp_path, monkeypatch):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path / "here"))
    counted(cache=True).fit(eeg(4))
    assert cache_info().entries == 4
    assert cache_info().place == tmp_path / "here" / "embeddings"
    assert cache_info(tmp_path / "here" / "embeddings").entries == 4


@pytest.mark.parametrize("nothing", [None, False])
def test_no_cache_writes_nothing(nothing, tmp_path, monkeypatch):
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    counted(cache=nothing).fit_transform(eeg(4))
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match="is a file"):
        counted(cache=tmp_path / "file").fit(eeg())
    for nonsense in (3, "a\0b", "~no such user/x"):
        with pytest.raises(SpecError, match="cache="):
            counted(cache=nonsense).fit(eeg())
    cache_place._told.clear()
    X = eeg()
    with pytest.warns(CacheWarning, match="cannot be used"):
        made = counted(cache=tmp_path / "file" / "below").fit_transform(X)
    np.testing.assert_array_equal(made, counted().fit_transform(X))


def test_importing_the_cache_imports_no_torch():
    code = "import sys, eegfound.cache, eegfound.cache.encoder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.fixture(autouse=True, scope="module")
def place_of_checks(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EEGFOUND_CACHE", str(tmp_path_factory.mktemp("checks")))
        yield


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks([counted(info=None, cache=True)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
