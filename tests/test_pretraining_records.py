"""What weights have seen: never less than they have, and who was held out stays so."""

from __future__ import annotations

import mne
import numpy as np
import pytest

import eegfound as ef
from eegfound.base import SignalWarning, SpecError
from eegfound.benchmark.cells import weights
from eegfound.benchmark.provenance import pretraining_status
from eegfound.corpus import Corpus, CorpusError, prepare_corpus
from eegfound.datasets.catalog import get_card
from tests.helpers_pretraining import INFO, pretrainer

RNG = np.random.default_rng(0)
X = 2e-5 * RNG.standard_normal((24, 5, 200))
GROUPS = np.arange(24) // 4


def test_nobody_can_tell_what_an_array_holds():
    pre = pretrainer(max_epochs=1).fit(X, groups=GROUPS)
    encoder = ef.make_transformer("masked-toy", checkpoint=pre.to_checkpoint(), info=INFO).fit(X)
    status = pretraining_status(weights(encoder), get_card("eegmmidb"), ["1", "2"])
    assert status == "unknown"


@pytest.mark.parametrize("name", ["007", "S007", "sub-07", 7])
def test_one_subject_has_many_names(name):
    seen = [{"model": "toy", "weights": "own", "seen": {"eegmmidb": ["7"]}}]
    assert pretraining_status(seen, get_card("eegmmidb"), [name]) == "seen in pretraining"
    assert "other" in pretraining_status(seen, get_card("eegmmidb"), ["17"])


def test_going_on_from_weights_adds_to_what_they_have_seen():
    first = pretrainer(max_epochs=1).fit(X[:12], groups=GROUPS[:12])
    second = pretrainer(max_epochs=1, checkpoint=first.to_checkpoint())
    second.fit(X[12:], groups=GROUPS[12:])
    (array,) = second.record_["datasets"]
    assert array["subjects"] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("seed", range(4))
def test_who_was_held_out_is_never_trained_on(seed):
    pre = pretrainer(max_epochs=1, random_state=seed)
    first = pre.partial_fit(X[:16], groups=GROUPS[:16]).record_["held_out"]
    later = pre.partial_fit(X, groups=GROUPS).record_["held_out"]
    assert later == first
    # Nobody of the second array was held out before: those of before stay, unless trained on.
    others = GROUPS[16:]
    known = pre.partial_fit(X[16:], groups=others).record_["held_out"]
    assert set(known) <= set(first)


def test_nobody_is_held_out_who_was_trained_on():
    pre = pretrainer(max_epochs=1).partial_fit(X[:16], groups=GROUPS[:16])
    trained = sorted({"0", "1", "2", "3"} - set(pre.record_["held_out"]))[:2]
    known = np.isin(GROUPS.astype(str), trained)
    n_before = len(pre.history_)
    with pytest.warns(SignalWarning, match="only groups that were trained on before"):
        pre.partial_fit(X[known], groups=GROUPS[known])
    assert {row["split"] for row in pre.history_[n_before:]} == {"train"}
    new = known | (GROUPS == 5)
    pre.partial_fit(X[new], groups=GROUPS[new])
    assert "5" in pre.record_["held_out"], "the only one who was not trained on"


@pytest.mark.parametrize("name", ["sample", "EEGMAT", "Mental Arithmetic"])
def test_a_set_has_many_names(name):
    seen = [{"model": "toy", "weights": "own", "seen": {name: ["0", "1"]}}]
    for card in ("sample", "eegmat"):
        assert pretraining_status(seen, get_card(card), ["1"]) == "seen in pretraining"
        assert "other" in pretraining_status(seen, get_card(card), ["2"])
    assert "not in" in pretraining_status(seen, get_card("eegmmidb"), ["1"])


def test_a_source_is_for_one_model(tmp_path):
    recording(0, tmp_path / "sub-01_raw.fif")
    prepare_corpus(tmp_path, tmp_path / "store", dataset="a", min_seconds=1, verbose=False)
    source = Corpus(tmp_path / "store").source("labram", window_seconds=2)
    with pytest.raises(SpecError, match="for 'labram', not for 'masked-toy'"):
        pretrainer(info=None, max_epochs=1).fit(source)
    source = Corpus(tmp_path / "store").source("masked-toy", window_seconds=2)
    with pytest.raises(SpecError, match="window_seconds=1, but X is cut into windows of 2 s"):
        pretrainer(info=None, max_epochs=1, window_seconds=1).fit(source)
    pretrainer(info=None, max_epochs=1, window_seconds=2).fit(source)


def recording(seed, path):
    """Write half a minute of noise."""
    info = mne.create_info(list(INFO.ch_names), 100.0, "eeg")
    noise = 2e-5 * np.random.default_rng(seed).normal(size=(5, 3000))
    mne.io.RawArray(noise, info, verbose=False).save(path, verbose=False)


def test_a_copy_was_seen_under_both_names(tmp_path):
    for name, people in {"a": {"01": 1, "02": 2}, "b": {"11": 1, "12": 3}}.items():
        (tmp_path / name).mkdir()
        for subject, seed in people.items():
            recording(seed, tmp_path / name / f"sub-{subject}_raw.fif")
        prepare_corpus(tmp_path / name, tmp_path / "store", dataset=name, verbose=False)
    store = Corpus(tmp_path / "store")
    seen = {each["name"]: each["subjects"] for each in store.record()["datasets"]}
    assert seen == {"a": ["1", "2"], "b": ["11", "12"]}
    assert store.select(exclude=["b/11"]).subjects == ["a/2", "b/12"]
    with pytest.raises(CorpusError, match="exclude_subjects"):
        prepare_corpus(
            tmp_path / "b", tmp_path / "store", dataset="b", exclude_subjects=["11"], verbose=False
        )


def test_what_is_told_is_what_took_place():
    pre = pretrainer(max_epochs=2, lr=1e-3).fit(X, groups=GROUPS)
    pre.set_params(lr=9.0)
    assert pre.to_checkpoint().metadata["recipe"]["lr"] == 1e-3


@pytest.mark.parametrize("params", [{"validation_fraction": 0.9}, {"random_state": 2**40}], ids=str)
def test_extremes_of_holding_out(params):
    pre = pretrainer(max_epochs=1, **params).fit(X[:8], groups=GROUPS[:8])
    assert len(pre.record_["held_out"]) == 1


def test_another_info_for_later_windows_is_refused():
    pre = pretrainer(max_epochs=1).partial_fit(X, groups=GROUPS)
    pre.set_params(info=ef.ChannelInfo(INFO.ch_names[::-1], INFO.sfreq))
    with pytest.raises(SpecError, match="info"):
        pre.partial_fit(X, groups=GROUPS)


@pytest.mark.parametrize(
    "params", [{"validation_fraction": "0"}, {"objective_params": 3}, {"model_params": ["a"]}],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_named(params):
    with pytest.raises(SpecError, match=next(iter(params))):
        pretrainer(max_epochs=1, **params).fit(X, groups=GROUPS)
