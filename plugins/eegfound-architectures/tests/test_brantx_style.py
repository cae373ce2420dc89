"""Aligning EEG with EOG, ECG or EMG over encoders of the suite."""

from __future__ import annotations

import pickle

import mne
import numpy as np
import pytest
import torch
from eegfound_architectures import BrantXAlign, BrantXTransformer
from eegfound_architectures.brantx.align import PairedBatch, resample_to
from eegfound_architectures.brantx.exg_encoder import ExgEncoder
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models import get_model, registry
from eegfound.models.network import SignalBatch
from eegfound.testing.toy import toy_model

SMALL = {"exg_width": 32, "exg_depth": 1, "exg_heads": 2, "projection": 16}
TINY = {"eeg_params": {"checkpoint": None, "size": "tiny"}, **SMALL}
NAMES = ["EOG left", "Fp1", "Cz", "Oz", "EOG right"]
INFO = ef.ChannelInfo(NAMES, 200, ch_types=["eog", "eeg", "eeg", "eeg", "eog"])


def recording(n=48, seed=0, n_times=800):
    """Windows with a rhythm that both signals show; only the EOG shows the class."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_times) / 200
    rate = rng.uniform(2, 8, (n, 1))
    y = np.tile(["wide", "narrow"], n // 2)
    size = np.where(y == "wide", 2e-4, 5e-5)[:, None]
    X = 3e-6 * rng.standard_normal((n, 5, n_times))
    X[:, 1:4] += 3e-5 * np.sin(2 * np.pi * rate * t)[:, None]
    saccade = size * np.sign(np.sin(2 * np.pi * rate * t))
    X[:, 0] += saccade
    X[:, 4] -= saccade
    return X, y


def make(encoder="fome-style", **params):
    return BrantXTransformer(encoder, **(TINY | {"info": INFO, "max_epochs": 2} | params))


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks([BrantXTransformer("fome-style", max_epochs=1, **TINY)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_both_embeddings_stand_side_by_side():
    X, _ = recording(8)
    both = make().fit(X)
    out = both.transform(X)
    assert out.shape == (8, 128 + 32)
    assert out.dtype == np.float32
    eeg = ef.ChannelInfo(NAMES[1:4], 200)
    alone = ef.make_transformer("fome-style", info=eeg, checkpoint=None, size="tiny")
    np.testing.assert_array_equal(out[:, :128], alone.fit_transform(X[:, 1:4]))
    np.testing.assert_array_equal(both.set_params(output="exg").transform(X), out[:, 128:])
    np.testing.assert_array_equal(both.set_params(output="eeg").transform(X), out[:, :128])
    names = both.set_params(output="concat").get_feature_names_out()
    assert len(set(names)) == 160
    assert names[128] == "exg-eog.000"
    assert both.eeg_picks_ == [1, 2, 3]
    assert both.exg_picks_ == [0, 4]


def test_the_other_signal_is_seen_and_only_where_it_belongs():
    X, _ = recording(6)
    fitted = make().fit(X)
    before, other = fitted.transform(X), X.copy()
    other[:, 0] *= -1
    after = fitted.transform(other)
    np.testing.assert_array_equal(after[:, :128], before[:, :128])
    assert (np.abs(after[:, 128:] - before[:, 128:]).max(axis=1) > 0).all()


def test_alignment_finds_what_belongs_together():
    X, _ = recording(48)
    fitted = make(max_epochs=20, lr=2e-3, train_batch_size=24, resampling=None).fit(X)
    first, last = fitted.history_[0], fitted.history_[-1]
    assert last["sequence"] < 0.8 * np.log(24)  # what guessing among a batch costs
    assert last["patch"] < 0.85 * first["patch"]
    assert last["total"] == pytest.approx(last["patch"] + last["sequence"])


def test_one_seed_gives_one_result_and_another_another():
    X, y = recording(12)
    first = make().fit(X)
    out = first.transform(X)
    again = clone(first).fit(X)
    np.testing.assert_array_equal(again.transform(X), out)
    assert again.history_ == first.history_
    other = make(random_state=1).fit(X, y)
    assert np.abs(other.transform(X)[:, 128:] - out[:, 128:]).max() > 1e-3
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).transform(X), out)
    state = torch.get_rng_state()
    make().fit(X)
    assert torch.equal(torch.get_rng_state(), state)


def test_align_on_some_recordings_and_classify_others():
    X, _ = recording(32, seed=1)
    aligned = make(max_epochs=5).fit(X)
    new, y = recording(48, seed=2)
    pipe = make_pipeline(
        FrozenEstimator(aligned), StandardScaler(), LogisticRegression(max_iter=1000)
    )
    scores = cross_val_score(pipe, new, y, cv=4, error_score="raise")
    eeg_only = make_pipeline(
        ef.make_transformer("fome-style", info=ef.ChannelInfo(NAMES[1:4], 200), checkpoint=None),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    blind = cross_val_score(eeg_only, new[:, 1:4], y, cv=4, error_score="raise")
    assert scores.mean() > 0.85  # the EOG tells the classes apart
    assert blind.mean() < 0.7  # the EEG does not


def test_alignment_inside_a_pipeline():
    X, y = recording(24)
    pipe = make_pipeline(make(max_epochs=1), StandardScaler(), LogisticRegression(max_iter=1000))
    assert cross_val_score(pipe, X, y, cv=2, error_score="raise").shape == (2,)


def test_epochs_know_their_types():
    X, _ = recording(6)
    info = mne.create_info(NAMES, 200, ["eog", "eeg", "eeg", "eeg", "eog"])
    epochs = mne.EpochsArray(X, info, verbose="error")
    np.testing.assert_array_equal(make(info=None).fit_transform(epochs), make().fit_transform(X))
    with pytest.raises(SpecError, match="resample"):
        make().fit(X).transform(epochs.copy().resample(100, verbose="error"))


@pytest.mark.parametrize("exg", ["ecg", "emg"])
def test_other_kinds_of_signals(exg):
    X, _ = recording(6)
    types = [exg, "eeg", "eeg", "eeg", "eog"]
    fitted = make(exg=exg, info=INFO.replace(ch_types=types)).fit(X)
    assert fitted.exg_picks_ == [0]
    assert fitted.get_feature_names_out()[-1] == f"exg-{exg}.031"


def test_an_encoder_of_another_plugin():
    pytest.importorskip("eegfound_labram")
    X, _ = recording(8)
    fitted = make("labram").fit(X)
    assert fitted.transform(X).shape == (8, 100 + 32)
    assert fitted.history_[0]["patch"] > 0


def test_an_encoder_with_class_token_and_vocabulary():
    X, _ = recording(8)
    with registry.registered(toy_model("toyish")):
        fitted = make(
            "toyish", info=INFO.replace(ch_names=["EOG1", "Fp1", "Cz", "O1", "EOG2"]),
            eeg_params={"checkpoint": None},
        ).fit(X)  # fmt: skip
        assert fitted.transform(X).shape == (8, 16 + 32)
        missing = X.copy()
        missing[::2, 2] = np.nan
        mixed = fitted.transform(missing)
        assert np.isfinite(mixed).all()
        np.testing.assert_array_equal(mixed[1::2], fitted.transform(X)[1::2])
        assert np.isfinite(clone(fitted).fit(missing).transform(missing)).all()


def test_the_eeg_encoder_may_be_trained_as_well():
    X, _ = recording(8)
    frozen, tuned = make().fit(X), make(freeze_eeg=False).fit(X)
    assert frozen.eeg_network_ is None
    before = frozen.eeg_.encoder_.network.state_dict()
    after = tuned.eeg_network_.state_dict()
    assert any((after[key] != before[key]).any() for key in before)
    shared = tuned.eeg_.encoder_.network.state_dict()  # the suite's own copy is left alone
    assert all(torch.equal(shared[key], before[key]) for key in before)
    out = tuned.transform(X)
    assert out.shape == (8, 160)
    assert np.abs(out[:, :128] - frozen.transform(X)[:, :128]).max() > 1e-3
    assert len(tuned.get_feature_names_out()) == 160


def align(**options):
    torch.manual_seed(0)
    return BrantXAlign("fome-style", size="tiny", checkpoint=None, **(SMALL | options))


def pair(n=4, seconds=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    eeg = torch.randn(n, 3, 250 * seconds, generator=generator)
    exg = torch.randn(n, 2, 200 * seconds, generator=generator)
    return PairedBatch(eeg, torch.full((3,), -1), exg=exg)


def test_the_objective_contrasts_on_two_levels():
    objective, batch = align().eval(), pair()
    losses = objective(batch)
    eeg = objective.eeg_network(SignalBatch(batch.signal, batch.rows)).values.unflatten(1, (3, 4))
    exg = objective.exg_encoder(batch.exg)
    expected = 0.0
    for level, (a, b) in enumerate(
        [
            (eeg.mean(dim=1).flatten(0, 1), exg.flatten(0, 1)),
            (eeg.mean(dim=(1, 2)), exg.mean(dim=1)),
        ]
    ):
        a, b = objective.project_eeg[level](a), objective.project_exg[level](b)
        a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
        logits = a @ b.T / 0.07
        both = (logits.log_softmax(1).diag() + logits.log_softmax(0).diag()).mean()
        expected = expected - 0.5 * both
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-4)
    losses.total.backward()
    assert all(p.grad is None for p in objective.encoder.parameters())
    assert all(p.grad is not None for p in objective.exg_encoder.parameters())
    with pytest.raises(SpecError, match="PairedBatch"):
        objective(SignalBatch(batch.signal, batch.rows))


def test_resampling_shortens_both_signals_alike():
    objective, batch = align().train(), pair(seconds=8)
    seen = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        eeg, exg = objective._resampled(batch.signal, batch.exg, generator)
        assert eeg.shape[-1] / 250 == exg.shape[-1] / 200
        seen.add(eeg.shape[-1] // 250)
    assert min(seen) >= 4
    assert max(seen) == 8
    assert len(seen) > 2
    eeg, exg = objective.eval()._resampled(batch.signal, batch.exg, None)
    assert eeg is batch.signal
    one = align().train()._resampled(batch.signal[..., :250], batch.exg[..., :200], None)
    assert [x.shape[-1] for x in one] == [250, 200]  # never below one patch


def test_resampling_keeps_the_waveform():
    t = torch.arange(400) / 400
    wave = 2 + torch.sin(2 * torch.pi * 5 * t)
    fewer = torch.arange(300) / 300
    expected = 2 + torch.sin(2 * torch.pi * 5 * fewer)
    assert torch.allclose(resample_to(wave, 300), expected, atol=1e-4)


def test_one_patch_of_the_other_signal_is_one_token():
    torch.manual_seed(0)
    encoder = ExgEncoder(**{"width": 32, "depth": 1, "heads": 2}).eval()
    signal = torch.randn(2, 3, 1000)
    out = encoder(signal)
    assert encoder.patch == 200
    assert out.shape == (2, 5, 32)
    assert not torch.allclose(encoder(signal[:, [2, 0, 1]]), out, atol=1e-3)  # left is not right
    with pytest.raises(SpecError, match="64 patches"):
        encoder(torch.zeros(1, 1, 200 * 65))
    with pytest.raises(SpecError, match="multiple"):
        ExgEncoder(width=30, heads=2)


def test_patches_follow_the_eeg_encoder():
    assert align().exg_sfreq == 200
    assert align(patch_seconds=0.5).exg_encoder.patch == 80
    assert align(patch_seconds=0.5).exg_sfreq == 160
    longer = align(patch_seconds=2.0)
    assert longer.exg_encoder.patch == 400
    # Two one-second tokens of the EEG make one patch.
    whole, patches = longer.eeg_patches(pair())
    assert patches.shape == (4, 2, 128)
    tokens = longer.eeg_network(pair()).values.unflatten(1, (3, 4))
    assert torch.allclose(patches[:, 1], tokens[:, :, 2:].mean(dim=(1, 2)), atol=1e-5)
    assert torch.allclose(whole, tokens.mean(dim=(1, 2)), atol=1e-5)
    # Patches shorter than the tokens have none of their own: one level is left.
    assert align(patch_seconds=0.5).eeg_patches(pair())[1] is None


def test_a_network_brings_its_contract():
    network = get_model("fome-style").build("tiny")
    with pytest.raises(SpecError, match="input"):
        BrantXAlign(network)
    objective = BrantXAlign(network, input=get_model("fome-style").input, **SMALL)
    assert objective.encoder is network
    for name, value in (("exg", "eeg"), ("resampling", (0.5, 2)), ("temperature", 0)):
        with pytest.raises(SpecError, match=name):
            align(**{name: value})


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"encoder": None}, "installed models"),
        ({"exg": "gsr"}, "exg"),
        ({"output": "both"}, "output"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"info": None}, "ch_types"),
        ({"info": ef.ChannelInfo(NAMES, 200)}, "no good channel of type 'eog'"),
        ({"info": INFO.replace(ch_types=["eog"] * 5)}, "no good channel of type 'eeg'"),
        ({"info": INFO.replace(bads=["EOG left", "EOG right"])}, "no good channel"),
        ({"info": ef.ChannelInfo(NAMES[:4], 200)}, "names 4"),
    ],
)
def test_errors_say_what_to_change(params, told):
    X, _ = recording(4)
    with pytest.raises(SpecError, match=told):
        make(**params).fit(X)


def test_both_signals_must_be_there():
    X, _ = recording(4)
    X[1, 0] = np.nan
    with pytest.raises(SpecError, match="EOG is NaN"):
        make().fit(X)
    long = 1e-5 * np.random.default_rng(0).standard_normal((2, 5, 200 * 31))
    with pytest.raises(SpecError, match="too long to align"):
        make().fit(long)
