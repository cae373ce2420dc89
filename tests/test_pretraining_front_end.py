"""A front end learns from the windows of training, and from no others."""

from __future__ import annotations

import numpy as np
import pytest

import eegfound as ef
from eegfound.base import SpecError
from eegfound.corpus import Corpus, prepare_corpus
from tests.helpers_corpus import signals, write_fif

pytest.importorskip("eegfound_mmm")
NAMES = ("F3", "F4", "C3", "C4", "O1")
INFO = ef.ChannelInfo(NAMES, 200.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for subject in range(1, 4):
        data = subject * signals(seconds=20, sfreq=200.0, seed=subject)
        write_fif(folder / f"sub-{subject}_raw.fif", data, NAMES, 200.0)
    out = folder / "store"
    prepare_corpus(folder, out, dataset="lab", verbose=False)
    return Corpus(out)


def arrays(corpus):
    """Return the windows that MMM is given of a corpus, and whose they are."""
    X, groups = [], []
    for number, subject in enumerate(corpus.index["subject"]):
        data, info, _ = corpus.read(number)
        rows = [info.ch_names.index(name) for name in NAMES]
        X += [data[rows, i : i + 800] for i in range(0, 4000, 800)]
        groups += 5 * [subject]
    return np.array(X), groups


def untaught(pre):
    """What must not change when windows are measured."""
    return pre.plan_, pre.front_end_, pre.ch_names_, getattr(pre, "n_features_in_", None)


def test_measuring_teaches_nothing(store):
    train, test = store.select(exclude=["lab/3"]), store.select(subjects=["lab/3"])
    X, groups = arrays(train)
    params = {"size": "small", "info": INFO, "max_epochs": 1, "window_seconds": 4,
              "validation_fraction": None}  # fmt: skip
    by_corpus = ef.make_pretrainer("mmm", **params).fit(train)
    by_array = ef.make_pretrainer("mmm", **params).fit(X, groups=groups)
    for pre in (by_corpus, by_array):
        before = untaught(pre)
        found = [pre.evaluate(of)["total"] for of in (test, arrays(test)[0], test)]
        assert found == pytest.approx(found[:1] * 3, rel=1e-4)
        assert pre.evaluate(3 * arrays(test)[0])["total"] > 2 * found[0]
        assert all(a is b for a, b in zip(before, untaught(pre), strict=True))


def test_later_passes_read_the_features_of_the_first(store):
    X, groups = arrays(store)
    params = {"size": "small", "info": INFO, "validation_fraction": None}
    pre = ef.make_pretrainer("mmm", **params).partial_fit(X, groups=groups)
    front_end = pre.front_end_
    for more in (5 * X, store):
        pre.partial_fit(more)
        assert pre.front_end_ is front_end


def test_fewer_electrodes_in_another_order_and_strangers(store):
    X, groups = arrays(store)
    params = {"size": "small", "max_epochs": 1, "validation_fraction": None}
    pre = ef.make_pretrainer("mmm", info=INFO, **params).fit(X, groups=groups)
    few = ef.make_pretrainer("mmm", **params).fit(store)
    few.set_params(info=ef.ChannelInfo(["O1", "C3"], 200.0))
    holed = X.copy()
    holed[:, [0, 1, 3]] = np.nan
    assert few.evaluate(X[:, [4, 2]])["total"] == pytest.approx(
        few.set_params(info=INFO).evaluate(holed)["total"], rel=1e-3
    )
    few.set_params(info=ef.ChannelInfo(["Pz", "C3"], 200.0))
    with pytest.raises(SpecError, match="not learned from the electrode"):
        few.evaluate(X[:, :2])
    assert pre.score(X) < 0
