"""What was trained is used like any other weights."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

import eegfound as ef
from eegfound.base import CheckpointError, SpecError
from eegfound.models import registry
from eegfound.models.files import read_metadata
from eegfound.models.network import SignalBatch
from tests.helpers_pretraining import INFO, MASKED, pretrainer, weights, windows

X, GROUPS = windows(24)


@pytest.fixture(scope="module")
def pre():
    return pretrainer("staged-toy", max_epochs=2).fit(X, groups=GROUPS)


def embedded(checkpoint, name="staged-toy", **params):
    return ef.make_transformer(name, checkpoint=checkpoint, info=INFO, **params).fit(X)


def test_a_file_loads_without_its_size(tmp_path):
    path = tmp_path / "own.safetensors"
    for size, depth in (("small", 2), ("wide", 2), ("wide", 3)):
        params = {"model_params": {"depth": depth}} if depth != 2 else {}
        pre = pretrainer(size=size, max_epochs=1, **params).fit(X, groups=GROUPS)
        assert pre.save(path) == path
        enc = embedded(path, "masked-toy")
        assert enc.encoder_.size == size
        assert enc.encoder_.network.n_layers == depth
        signal = torch.from_numpy(pre.plan_.apply(X, pre.plan_.check(X)))
        rows = torch.tensor(pre.plan_.rows)
        with torch.no_grad():
            tokens = pre.encoder_(SignalBatch(signal, rows, pre.plan_.names)).values
        np.testing.assert_allclose(enc.transform(X), tokens[:, 1:].mean(dim=1), atol=1e-5)


def test_the_kept_network_is_saved(pre, tmp_path):
    enc = embedded(pre.save(tmp_path / "own.safetensors"))
    own = enc.encoder_.network.state_dict()
    for name, tensor in pre.objective_.momentum.network.state_dict().items():
        torch.testing.assert_close(own[name], tensor, rtol=0, atol=0)
    assert any((own[k] != v).any() for k, v in pre.objective_.network.state_dict().items())
    assert pre.fingerprint_ == enc.fingerprint_


def test_the_file_tells_what_went_in(pre, tmp_path):
    path = pre.save(tmp_path / "own.safetensors")
    told = read_metadata(path)
    assert told["record"]["held_out"] == pre.record_["held_out"]
    (described,) = told["record"]["datasets"]
    assert described["subjects"] == [str(k) for k in range(6)]
    assert told["record"]["hours"] == pytest.approx(24 * 2 / 3600)
    assert told["recipe"]["max_epochs"] == 2
    assert told["n_steps"] == pre.n_steps_
    assert told["fingerprint"] == pre.fingerprint_
    assert {row["stage"] for row in told["history"]} == {"tokenizer", "masked"}
    report = embedded(path).load_report_
    assert report.record == told["record"]
    assert "Trained on: array (6 subjects, 0.0133 h)" in str(report)


def test_a_checkpoint_in_memory(pre, tmp_path):
    kept = pre.to_checkpoint()
    from_file = embedded(pre.save(tmp_path / "own.safetensors")).transform(X)
    enc = embedded(kept)
    np.testing.assert_array_equal(enc.transform(X), from_file)
    assert enc.weights_ == "memory"
    assert clone(enc).checkpoint is kept
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(enc)).transform(X), from_file)
    again = pickle.loads(pickle.dumps(kept))
    assert again == kept
    np.testing.assert_array_equal(embedded(again).transform(X), from_file)
    assert kept.save(tmp_path / "again.safetensors").is_file()
    clf = ef.make_classifier("staged-toy", checkpoint=kept, info=INFO).fit(X, GROUPS % 2)
    assert clf.load_report_.record == pre.record_


def test_memory_of_another_model_or_size_is_refused(pre):
    with pytest.raises(CheckpointError, match="weights of 'staged-toy', not of 'masked-toy'"):
        embedded(pre.to_checkpoint(), "masked-toy")
    with pytest.raises(CheckpointError, match="size='wide' was asked for"):
        embedded(pre.to_checkpoint(), size="wide")


def test_objectives_serve_later_stages(pre, tmp_path):
    path = pre.save(tmp_path / "all.safetensors", what="objective")
    later = pretrainer("staged-toy", checkpoint=path, stages=["masked"], max_epochs=1)
    later.fit(X, groups=GROUPS)
    for name, tensor in weights(pre).items():
        if name.startswith("tokenizer."):
            np.testing.assert_array_equal(weights(later)[name], tensor, err_msg=name)
    first = later.history_[0]["total"]
    last = [r["total"] for r in pre.history_ if r["split"] == "train"][-1]
    fresh = pretrainer("staged-toy", stages=["masked"], max_epochs=1).fit(X, groups=GROUPS)
    assert abs(first - last) < abs(fresh.history_[0]["total"] - last), "it goes on"
    with pytest.raises(CheckpointError, match=r"whole objectives.*Pretrainer"):
        embedded(path)
    with pytest.raises(CheckpointError, match="size='wide'"):
        pretrainer("staged-toy", checkpoint=path, size="wide").fit(X, groups=GROUPS)


def test_what_an_earlier_stage_has_just_learned_stays(pre, tmp_path):
    path = pre.save(tmp_path / "all.safetensors", what="objective")
    for stages in (None, ["tokenizer"]):
        later = pretrainer("staged-toy", checkpoint=path, stages=stages, max_epochs=2)
        later.fit(3 * X, groups=GROUPS)
        new, old = weights(later), weights(pre)
        own = {name: new[name] for name in new if name.startswith("tokenizer.")}
        assert any((own[name] != old[name]).any() for name in own), "trained anew"
        of_now = own if stages is None else old  # a stage that is not trained stays whole
        for name in own:
            np.testing.assert_array_equal(new[f"masked.{name}"], of_now[name], err_msg=name)


def test_options_of_objectives_are_kept(tmp_path):
    few = {"tokenizer": {"n_codes": 4}, "masked": {"dropout": 0.3}}
    pre = pretrainer("staged-toy", max_epochs=2, objective_params=few).fit(X, groups=GROUPS)
    path = pre.save(tmp_path / "all.safetensors", what="objective")
    pre.partial_fit(X, groups=GROUPS)
    assert pre.objectives_["tokenizer"].codebook.n_codes == 4
    given = {"masked": {"dropout": 0.1}}
    later = pretrainer("staged-toy", checkpoint=path, stages=["masked"], max_epochs=1,
                       objective_params=given)  # fmt: skip
    later.fit(X, groups=GROUPS)
    assert later.objectives_["tokenizer"].codebook.n_codes == 4
    assert later.objective_.dropout.p == 0.1


def test_an_encoder_is_a_start(pre):
    params = {"stages": ["masked"], "max_epochs": 1, "lr": 1e-12}
    begun = pretrainer("staged-toy", checkpoint=pre.to_checkpoint(), **params)
    begun.fit(X, groups=GROUPS)
    for name, tensor in pre.encoder_.state_dict().items():
        torch.testing.assert_close(begun.encoder_.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_what_cannot_be_saved(pre, tmp_path):
    with pytest.raises(SpecError, match="what='tokens'"):
        pre.save(tmp_path / "x.safetensors", what="tokens")
    with pytest.raises(CheckpointError, match="safetensors"):
        pre.save(tmp_path / "x.pt")
    with pytest.raises(ValueError, match="not fitted"):
        pretrainer().save(tmp_path / "x.safetensors")


def test_published_weights_tell_their_datasets(pre, tmp_path):
    path = pre.save(tmp_path / "pub.safetensors")
    from eegfound.models import Checkpoint
    from eegfound.testing.toy import toy_model

    published = Checkpoint("pub", "small", filename=path.name, pretraining_datasets=("TUEG",))
    model = toy_model("pub-toy", checkpoints=(published,), objective=MASKED)
    with registry.registered(model), pytest.MonkeyPatch.context() as patch:
        patch.setenv("EEGFOUND_WEIGHTS", str(tmp_path))
        report = embedded("pub", "pub-toy").load_report_
    assert report.trained_on() == "array (6 subjects, 0.0133 h)", "the file knows better"
