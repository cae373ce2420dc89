"""LaBraM's Pretrainer: from unlabelled windows to a Transformer (journey 10)."""

from __future__ import annotations

import eegfound_labram
import numpy as np
import pytest

import eegfound as ef
from eegfound.base import CheckpointError, SpecError
from eegfound.datasets import load_sample
from eegfound.pretraining.trainer import give_encoder


@pytest.fixture(scope="module")
def fitted():
    X, _, groups, info = load_sample(subjects=range(3))
    X, groups = X[::4, :4, :400], groups[::4]
    info = ef.ChannelInfo(list(info.ch_names)[:4], sfreq=info.sfreq)
    pre = ef.make_pretrainer(
        "labram", size="tiny", info=info, max_epochs=4, train_batch_size=6,
        validation_fraction=[groups[-1]], model_params={"depth": 1}, random_state=0,
    )  # fmt: skip
    return pre.fit(X, groups=groups), X, info


def test_what_was_trained_is_used_like_published_weights(fitted, tmp_path):
    pre, X, info = fitted
    assert isinstance(pre, ef.estimators.FoundationPretrainer)
    pre.save(tmp_path / "my-labram.safetensors")
    loaded = ef.make_transformer(
        "labram", checkpoint=tmp_path / "my-labram.safetensors", info=info
    ).fit(X)
    assert loaded.encoder_.size == "tiny"
    embedded = loaded.transform(X)
    direct = ef.make_transformer("labram", checkpoint=pre.to_checkpoint(), info=info)
    assert np.array_equal(direct.fit_transform(X), embedded)
    random = ef.make_transformer("labram", size="tiny", checkpoint=None, info=info)
    assert not np.allclose(random.fit_transform(X), embedded)


def test_both_stages_are_trained_and_the_second_uses_the_first(fitted):
    pre, X, _ = fitted
    assert list(pre.objectives_) == ["tokenizer", "masked"]
    assert [row["stage"] for row in pre.history_ if row["split"] == "valid"] == (
        ["tokenizer"] + ["masked"] * 3
    )
    first, second = pre.objectives_.values()
    own, used = first.tokenizer.state_dict(), second.tokenizer.state_dict()
    assert all((own[key] == used[key]).all() for key in own)
    found = pre.evaluate(X)
    assert {"accuracy", "accuracy_trivial", "total", "total_trivial", "perplexity"} <= set(found)
    assert pre.score(X) == -found["total"]
    assert "amplitude_trivial" in pre.evaluate(X, stage="tokenizer")


def test_masked_modelling_goes_on_from_a_saved_tokenizer(fitted, tmp_path):
    pre, X, _ = fitted
    pre.save(tmp_path / "stages.safetensors", what="objective")
    again = eegfound_labram.LaBraMPretrainer(
        checkpoint=tmp_path / "stages.safetensors", stages=["masked"], info=pre.info,
        max_epochs=1, train_batch_size=6, model_params={"depth": 1}, validation_fraction=None,
    ).fit(X)  # fmt: skip
    assert list(again.objectives_) == ["tokenizer", "masked"]
    assert {row["stage"] for row in again.history_} == {"masked"}
    kept = pre.objectives_["tokenizer"].tokenizer.quantize.embedding.weight
    assert (again.objective_.tokenizer.quantize.embedding.weight == kept).all()


def test_without_a_tokenizer_there_is_nothing_to_predict(fitted):
    _, X, info = fitted
    with pytest.raises(SpecError, match="needs a trained tokenizer"):
        ef.make_pretrainer("labram", size="tiny", info=info, stages=["masked"]).fit(X)


def test_the_recipes_are_the_papers():
    first, second = ef.get_model("labram").stages
    paper = first.recipes["paper"]
    assert (paper["lr"], paper["train_batch_size"], paper["max_epochs"]) == (5e-5, 1024, 100)
    assert first.recipes["reference"]["lr"] == paper["lr"] * 1024 / 128
    published = {"revive_after": None, "decay": 0.99, "centered": False}
    assert paper["objective_params"] == published
    paper = second.recipes["paper"]
    assert (paper["lr"], paper["betas"], paper["gradient_clip"]) == (5e-4, (0.9, 0.98), 3.0)


def test_the_tokenizers_own_encoder_can_be_kept(fitted, tmp_path):
    _, X, info = fitted
    params = {"size": "tiny", "info": info, "max_epochs": 1, "train_batch_size": 6}
    alone = eegfound_labram.LaBraMPretrainer(**params, stages=["tokenizer"]).fit(X)
    alone.save(tmp_path / "tokenizer.safetensors")
    path = tmp_path / "tokenizer.safetensors"
    embedded = ef.make_transformer("labram", checkpoint=path, info=info).fit_transform(X)
    assert np.isfinite(embedded).all()


def test_weights_of_an_encoder_are_for_the_stage_they_fit(fitted):
    pre, X, info = fitted
    pre = eegfound_labram.LaBraMPretrainer(
        checkpoint=pre.to_checkpoint(), info=info, max_epochs=2, lr=1e-12, lr_schedule="constant",
        warmup=0, weight_decay=0.0, objective_params={"wide": False}, train_batch_size=6,
    ).fit(X)  # fmt: skip
    begun = fitted[0].encoder_.state_dict()
    found = pre.encoder_.state_dict()
    assert list(pre.objectives_) == ["tokenizer", "masked"]
    np.testing.assert_allclose(found["cls_token"], begun["cls_token"], atol=1e-6)
    assert not give_encoder(pre.objectives_["tokenizer"], {"another": begun["cls_token"]})


#: A training of seconds; ``size`` and ``info`` go with it.
SHORT = {"train_batch_size": 6, "validation_fraction": None, "device": "cpu"}


def test_stages_in_two_jobs_make_the_network_of_one(fitted, tmp_path):
    _, X, info = fitted
    given = {"size": "tiny", "info": info, **SHORT}
    epochs = {"tokenizer": 1, "masked": 1}
    whole = eegfound_labram.LaBraMPretrainer(max_epochs=epochs, **given).fit(X)
    path = tmp_path / "tokenizer.safetensors"
    first = eegfound_labram.LaBraMPretrainer(max_epochs=1, stages=["tokenizer"], **given).fit(X)
    first.save(path, what="objective")
    second = eegfound_labram.LaBraMPretrainer(
        max_epochs=1, stages=["masked"], checkpoint=path, **given
    ).fit(X)
    assert second.fingerprint_ == whole.fingerprint_


def test_going_on_with_all_stages_keeps_what_the_first_has_just_learned(fitted, tmp_path):
    pre, X, info = fitted
    path = pre.save(tmp_path / "stages.safetensors", what="objective")
    given = {"checkpoint": path, "info": info, "model_params": {"depth": 1}, **SHORT}
    again = eegfound_labram.LaBraMPretrainer(max_epochs=2, **given).fit(3 * X)
    old, own, used = (
        objective.tokenizer.state_dict()
        for objective in (pre.objectives_["tokenizer"], *again.objectives_.values())
    )
    assert all((own[key] == used[key]).all() for key in own)
    assert any((own[key] != old[key]).any() for key in own)
    # The old tokenizer's codes are not counted among those of the new one.
    assert again.objective_.frequencies.counts.sum() == X.shape[0] * X.shape[1] * 2
    alone = eegfound_labram.LaBraMPretrainer(max_epochs=1, stages=["tokenizer"], **given)
    kept = alone.fit(3 * X).objectives_["masked"].tokenizer.state_dict()
    assert all((kept[key] == old[key]).all() for key in old), "as it was trained"


def test_options_that_nobody_knows_are_refused(fitted):
    _, X, info = fitted
    given = {"size": "tiny", "info": info, "max_epochs": 2, **SHORT}
    with pytest.raises(SpecError, match=r"'tokenizer'.*n_code"):
        ef.make_pretrainer("labram", objective_params={"tokenizer": {"n_code": 16}}, **given).fit(X)


def test_options_that_do_not_fit_a_checkpoint_are_named(fitted, tmp_path):
    pre, X, info = fitted
    path = pre.save(tmp_path / "stages.safetensors", what="objective")
    given = {"checkpoint": path, "info": info, "objective_params": {"n_codes": 16}, **SHORT}
    for stages in (None, ["masked"]):
        with pytest.raises(CheckpointError, match=r"'tokenizer' of labram.*'n_codes': 16"):
            ef.make_pretrainer("labram", stages=stages, max_epochs=2, **given).fit(X)
