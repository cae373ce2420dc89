"""What the bridge adds to braindecode's networks, on the real networks."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from eegfound_braindecode.declarations import MODELS

import eegfound as ef
from eegfound.base import CheckpointError, SpecError
from eegfound.models.loading import build_random
from eegfound.models.network import SignalBatch
from eegfound.testing.subject import Subject

NAMES = [model.name for _, model in MODELS]
#: Models that are built again for each set of electrodes or each length.
REBUILT = ["bd-eegpt", "bd-labram", "bd-signaljepa", "bd-steegformer", "bd-zuna"]
#: Weights that braindecode's own forward pass does not use either (a mask, a factor, the
#: residual path of the last block), and the norm that comes after pooling.
IDLE = (
    "model.mask_token", "model.patch_embedding.mask_encoding", "model.cross_attn.temperature",
    "model.residual_layer.residual_blocks.1.rms_norm", "model.fc_norm",
    "model.residual_layer.residual_blocks.1.res_conv",
)  # fmt: skip


@pytest.fixture
def subject(bd, request):
    return Subject(ef.models.get_model(request.param), "tiny")


def batch_of(subject, n=2, n_times=None):
    """A batch as the estimators make it."""
    enc = subject.transformer(info=subject.info).fit(subject.eeg(n, n_times=n_times))
    X = subject.eeg(n, n_times=n_times)
    signal = torch.from_numpy(enc.plan_.apply(X, enc.plan_.check(X)))
    positions = enc.plan_.positions
    return SignalBatch(
        signal,
        torch.tensor(enc.plan_.rows),
        enc.plan_.names,
        None if positions is None else torch.from_numpy(positions),
    )


def network_of(subject, pooling=None):
    return build_random(subject.model, "tiny", pooling, {}, 0)


@pytest.mark.parametrize("module", sorted({module for module, _ in MODELS}))
def test_no_model_of_ours_uses_torchaudio(bd, module):
    """Why a torchaudio that does not load may be stood in for."""
    source = inspect.getsource(sys.modules[f"braindecode.models.{module}"])
    assert "torchaudio" not in source


@pytest.mark.parametrize("subject", NAMES, indirect=True)
def test_every_weight_that_is_used_learns(subject):
    network, batch = network_of(subject).train(), batch_of(subject)
    network.requires_grad_(True)
    tokens = network(batch)
    (tokens.values * torch.randn(tokens.values.shape)).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert not [name for name in idle if not name.startswith(IDLE)]
    assert any(p.grad.abs().max() > 0 for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("subject", REBUILT, indirect=True)
def test_networks_built_again_follow_the_weights(subject):
    network, batch = network_of(subject), batch_of(subject)
    short = batch_of(subject, n_times=subject.model.input.shortest)
    with torch.no_grad():
        before, before_short = network(batch).values, network(short).values
        twin = copy.deepcopy(network)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        assert (network(batch).values - before).abs().max() > 1e-3
        assert (network(short).values - before_short).abs().max() > 1e-3
        # The copy has weights of its own.
        torch.testing.assert_close(twin(batch).values, before, rtol=0, atol=0)
        double = network.double()(
            SignalBatch(batch.signal.double(), batch.rows, batch.ch_names, batch.positions)
        )
        assert double.values.dtype == torch.float64


@pytest.mark.parametrize("subject", NAMES, indirect=True)
def test_threads_do_not_disturb_each_other(subject):
    X = subject.eeg(12)
    alone = subject.transformer(info=subject.info, n_threads=1).fit_transform(X)
    together = subject.transformer(info=subject.info, n_threads=4).fit_transform(X)
    np.testing.assert_array_equal(together, alone)
    deep = {"info": subject.info, "layer": 1}
    np.testing.assert_array_equal(
        subject.transformer(**deep, n_threads=4).fit_transform(X),
        subject.transformer(**deep, n_threads=1).fit_transform(X),
    )


@pytest.mark.parametrize("subject", NAMES, indirect=True)
def test_tokens_know_their_electrode(subject):
    """Changing one electrode changes most the input tokens of that electrode."""
    if "channels" not in subject.model.poolings:
        pytest.skip("its tokens stand for all electrodes")
    network, batch = network_of(subject), batch_of(subject)
    louder = batch.signal.clone()
    louder[:, 3] = louder[:, 3].flip(-1)
    with torch.no_grad():
        before = network(batch, layer=0)
        after = network(SignalBatch(louder, batch.rows, batch.ch_names, batch.positions), layer=0)
    change = (after.values - before.values).abs().mean(dim=(0, 2))
    of_it = before.channels == 3
    assert of_it.sum() >= 1
    assert change[of_it].mean() > 2 * change[~of_it & (before.channels >= 0)].mean()


def test_layers_are_the_networks_own(bd):
    """The state after the last layer, put through what follows it, is the output."""
    for name, follow in {
        "bd-cbramod": lambda model, x: model.proj_out(x),
        "bd-luna": lambda model, x: model.norm(x),
        "bd-steegformer": lambda model, x: model.norm(x),
        "bd-mvpformer": lambda model, x: model.ln_f(x),
        "bd-signaljepa": lambda model, x: model.transformer.encoder.norm(x),
        "bd-labram": lambda model, x: model.norm(x),
        "bd-biot": lambda model, x: x,
        "bd-reve": lambda model, x: x,
        "bd-eegdino": lambda model, x: x,
    }.items():
        subject = Subject(ef.models.get_model(name), "tiny")
        network, batch = network_of(subject), batch_of(subject)
        with torch.no_grad():
            last, out = network(batch, layer=network.n_layers), network(batch)
            torch.testing.assert_close(follow(network.model, last.values), out.values)
            assert torch.equal(last.channels, out.channels)
            first = network(batch, layer=0).values
        assert first.shape[-1] == last.values.shape[-1]
        assert (first[:, -1] - last.values[:, -1]).abs().max() > 1e-3


def test_own_read_outs(bd):
    subject = Subject(ef.models.get_model("bd-reve"), "tiny")
    network, batch = network_of(subject, "attention"), batch_of(subject)
    with torch.no_grad():
        tokens = network(batch)
        ours = network.pool(tokens, "attention")
        grid = tokens.values.unflatten(1, (batch.signal.shape[1], -1))
        theirs = network.model._attention_pooling(grid)
    torch.testing.assert_close(ours, theirs)
    assert "model.cls_query_token" not in network_of(subject).state_dict()


def test_codebrain_takes_a_file_whose_kernel_norms_were_never_computed(bd, tmp_path):
    torch.manual_seed(0)
    theirs = bd.CodeBrain(n_chans=3, n_times=400, n_outputs=2, sfreq=200, num_res_layers=2).eval()
    torch.nn.init.normal_(theirs.final_conv[2].conv.weight, std=0.1)
    state = {k: v.clone() for k, v in theirs.state_dict().items()}
    assert not any(bool(v) for k, v in state.items() if k.endswith("norm_initialized"))
    torch.save(state, tmp_path / "fresh.pth")
    X = 1e-5 * np.random.default_rng(0).standard_normal((2, 3, 400))
    enc = ef.make_transformer(
        "bd-codebrain", size="tiny", checkpoint=tmp_path / "fresh.pth",
        info=ef.ChannelInfo(("C3", "Cz", "C4"), 200),
    )  # fmt: skip
    with torch.no_grad():
        expected = theirs(torch.from_numpy(X * 1e4).float(), return_features=True)["features"]
    np.testing.assert_allclose(
        enc.fit_transform(X), expected.flatten(1, 2).mean(1), atol=1e-5, rtol=1e-5
    )


def test_options_of_the_bridge(bd, tmp_path):
    def embed(name, X=None, **params):
        subject = Subject(ef.models.get_model(name), "tiny")
        X = subject.eeg(2) if X is None else X
        enc = subject.transformer(info=subject.info, model_params=params or None)
        return enc.fit_transform(X)

    assert np.abs(embed("bd-bendr") - embed("bd-bendr", amplitude_range=500.0)).max() > 1e-3
    assert np.abs(embed("bd-luna") - embed("bd-luna", normalize="none")).max() > 1e-3
    bank = tmp_path / "positions.json"
    bank.write_text('{"Cz": [0.0, 0.0, 0.2]}')
    assert np.abs(embed("bd-reve") - embed("bd-reve", position_bank=str(bank))).max() > 1e-4
    with pytest.raises(SpecError, match="position_bank"):
        embed("bd-reve", position_bank=str(tmp_path / "nothing.json"))
    slots = list(ef.models.get_model("bd-eegdino").input.vocabulary)
    turned = slots[1:] + slots[:1]
    X = Subject(ef.models.get_model("bd-eegdino"), "tiny").eeg(2)
    np.testing.assert_array_equal(embed("bd-eegdino", X, slot_order=slots), embed("bd-eegdino", X))
    moved = embed("bd-eegdino", X, slot_order=turned)
    np.testing.assert_array_equal(moved, embed("bd-eegdino", np.roll(X, -1, axis=1)))
    with pytest.raises(SpecError, match="slot_order"):
        embed("bd-eegdino", slot_order=slots[:3])
    with pytest.raises(SpecError, match="'normalize': 'loud'"):
        embed("bd-luna", normalize="loud")
    with pytest.raises(SpecError, match=r"model_params=.*no_such_thing"):
        embed("bd-cbramod", no_such_thing=1)


def test_files_of_something_else_are_refused(bd, tmp_path):
    path = tmp_path / "model.pth"
    info = ef.ChannelInfo(("C3", "Cz", "C4"), 200)
    X = 1e-5 * np.random.default_rng(0).standard_normal((2, 3, 400))
    theirs = bd.CBraMod(n_chans=3, n_times=400, n_outputs=2, n_layer=2)
    torch.save(theirs.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"does not fit bd-cbramod of size 'base'.*missing"):
        ef.make_transformer("bd-cbramod", checkpoint=path, info=info).fit(X)
    with pytest.raises(CheckpointError, match="has a name of braindecode's Labram"):
        ef.make_transformer("bd-labram", size="tiny", checkpoint=path, info=info).fit(X)
    short = bd.Labram(n_chans=3, n_times=600, n_outputs=2, sfreq=200, num_layers=2)
    torch.save(short.state_dict(), path)
    with pytest.raises(CheckpointError, match="temporal_embedding"):
        ef.make_transformer("bd-labram", size="tiny", checkpoint=path, info=info).fit(X)
    small = {"n_times": 600}
    enc = ef.make_transformer(
        "bd-labram", size="tiny", checkpoint=path, info=info, model_params=small
    )
    assert enc.fit_transform(X).shape == (2, 200)
    with pytest.raises(SpecError, match="longer than the table of times"):
        enc.fit(np.tile(X, 2))


def test_a_tuned_network_is_unpickled_in_a_fresh_process(bd, tmp_path):
    """Also where torchaudio does not load: braindecode's classes are not in the pickle."""
    subject = Subject(ef.models.get_model("bd-codebrain"), "tiny")
    X, y = subject.eeg(6), np.tile(["a", "b"], 3)
    clf = subject.classifier(info=subject.info, tuning="full", max_epochs=1).fit(X, y)
    (tmp_path / "clf.pkl").write_bytes(pickle.dumps(clf))
    np.save(tmp_path / "X.npy", X)
    code = (
        "import pickle, sys, numpy as np\n"
        f"clf = pickle.load(open({str(tmp_path / 'clf.pkl')!r}, 'rb'))\n"
        f"np.save({str(tmp_path / 'p.npy')!r}, clf.predict_proba(np.load("
        f"{str(tmp_path / 'X.npy')!r})))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), clf.predict_proba(X))
