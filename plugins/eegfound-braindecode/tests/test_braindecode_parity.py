"""The same embeddings as braindecode's own networks with the same weights.

The right-hand side of every comparison is made without the bridge: braindecode's
class is built for the electrodes and the length at hand, gets the tensors of a
file that braindecode's ``state_dict`` wrote, and is given windows prepared by
numpy.
"""

from __future__ import annotations

import warnings
from unittest.mock import patch

import mne
import numpy as np
import pytest
import torch
from eegfound_braindecode import vocabulary

import eegfound as ef

CAP = ("Fp1", "Fp2", "F3", "C3", "Cz", "C4", "P3", "Pz", "O1", "O2")


def chs_info(names):
    """What ``mne.Info["chs"]`` holds for a cap placed by MNE's template."""
    info = mne.create_info(list(names), 100.0, "eeg")
    template = next(t for t in ("colin27_1005", "standard_1005")
                    if t in mne.channels.get_builtin_montages())  # fmt: skip
    info.set_montage(template, match_case=False)
    return info["chs"]


def zscore(x):
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-8)


def minmax_and_scale(x):
    low, high = x.min(axis=(1, 2), keepdims=True), x.max(axis=(1, 2), keepdims=True)
    return np.concatenate([2 * (x - low) / (high - low) - 1, np.zeros_like(x[:, :1])], axis=1)


def whole(x):
    return (x - x.mean(axis=(1, 2), keepdims=True)) / x.std(axis=(1, 2), keepdims=True) / 10


class Case:
    """How braindecode is used for one model, by somebody who reads its documentation."""

    def __init__(
        self, name, build, *, names=CAP, seconds=2.0, prepare=lambda x: x,
        call=lambda m, x, names: m(x, return_features=True),
        features=lambda out: out["features"].flatten(1, -2).mean(1), options=None, pooling=None,
        file=None, size="tiny",
    ):  # fmt: skip
        self.name, self.build, self.names, self.seconds = name, build, names, seconds
        self.prepare, self.call, self.features = prepare, call, features
        self.options, self.pooling, self.file, self.size = options or {}, pooling, file, size


def signal(cls, **options):
    """Build a class for the signal alone."""
    return lambda M, names, n_times: getattr(M, cls)(
        n_outputs=2, n_chans=len(names), n_times=n_times, **options
    )


def named(cls, **options):
    """Build a class for named electrodes with places."""
    return lambda M, names, n_times: getattr(M, cls)(
        n_outputs=2, chs_info=chs_info(names), n_times=n_times, **options
    )


def labram(use_mean_pooling, num_layers=2, seconds=None):
    """The published file belongs to a network for 15 s; others have fewer rows of times."""
    return lambda M, names, n_times: M.Labram(
        n_outputs=2, n_chans=len(names), sfreq=200, num_layers=num_layers,
        n_times=200 * seconds if seconds else n_times, use_mean_pooling=use_mean_pooling,
    )  # fmt: skip


def all_electrodes(M, names, n_times):
    """The published S-JEPA file has the electrodes of its pretraining."""
    return M.SignalJEPA(
        channel_embedding="pretrain_aligned", transformer__num_encoder_layers=2, n_times=n_times
    )


def labram_pooled(model, x, names):
    model.final_layer = torch.nn.Identity()
    return model(x, ch_names=[n.upper() for n in names])


def reve(M, names, n_times):
    import braindecode.models.reve as module

    with patch.object(module, "RevePositionBank", torch.nn.Identity):  # it downloads a file
        return M.REVE(n_outputs=2, n_chans=len(names), n_times=n_times, embed_dim=64, depth=2,
                      heads=2, head_dim=32)  # fmt: skip


def reve_features(model, x, names):
    template = next(t for t in ("colin27_1005", "standard_1005")
                    if t in mne.channels.get_builtin_montages())  # fmt: skip
    places = mne.channels.make_standard_montage(template).get_positions()["ch_pos"]
    pos = torch.tensor(np.array([places[n] for n in names]), dtype=torch.float32)
    return model(x, pos=pos.expand(len(x), -1, -1), return_features=True)


def luna_tokens(model, x, names):
    model.final_layer = torch.nn.Identity()
    return model(x)


STEEG = {n.upper(): i for i, n in enumerate(vocabulary.STEEGFORMER)}

CASES = [
    Case("bd-bendr", lambda M, names, n: M.BENDR(
        n_outputs=2, n_chans=20, n_times=n, encoder_h=32, contextualizer_hidden=64,
        transformer_layers=2, transformer_heads=4),
        names=vocabulary.BENDR, seconds=3, prepare=minmax_and_scale,
        features=lambda out: out["features"]),
    Case("bd-biot", signal("BIOT", sfreq=200, num_layers=1), names=vocabulary.BIOT,
         prepare=lambda x: x / (np.quantile(np.abs(x), 0.95, axis=-1, keepdims=True) + 1e-8),
         features=lambda out: out["features"]),
    Case("bd-cbramod", signal("CBraMod", n_layer=2), prepare=lambda x: x / 100),
    Case("bd-codebrain", signal("CodeBrain", num_res_layers=2), prepare=lambda x: x / 100),
    Case("bd-eegdino", signal("EEGDINO", n_layer=2), names=vocabulary.EEGDINO,
         prepare=lambda x: x / 100),
    Case("bd-eegdino", signal("EEGDINO", n_layer=2), names=vocabulary.EEGDINO, pooling="cls",
         prepare=lambda x: x / 100, features=lambda out: out["cls_token"]),
    Case("bd-eegpt", named("EEGPT", chan_proj_type="none", patch_stride=64, embed_dim=64, depth=2,
                           num_heads=2),
         prepare=lambda x: (x - x.mean(1, keepdims=True)) / 1000,
         features=lambda out: out["features"].reshape(len(out["features"]), -1, 64).mean(1)),
    Case("bd-labram", labram(True), prepare=lambda x: x / 100, call=labram_pooled,
         features=lambda out: out, file=labram(True, seconds=15)),
    Case("bd-labram", labram(False), prepare=lambda x: x / 100, call=labram_pooled,
         features=lambda out: out, pooling="cls", file=labram(False, seconds=15)),
    Case("bd-labram", labram(True, 12), prepare=lambda x: x / 100, call=labram_pooled, size="base",
         features=lambda out: out, file=labram(True, 12, seconds=15), seconds=4),
    Case("bd-eegpt", named("EEGPT", patch_stride=64, chan_proj_type="none"), size="large",
         prepare=lambda x: (x - x.mean(1, keepdims=True)) / 1000,
         features=lambda out: out["features"].reshape(len(out["features"]), -1, 512).mean(1)),
    Case("bd-eegpt", named("EEGPT", chan_proj_type="none"), size="large",
         options={"patch_stride": 32},
         prepare=lambda x: (x - x.mean(1, keepdims=True)) / 1000,
         features=lambda out: out["features"].reshape(len(out["features"]), -1, 512).mean(1)),
    Case("bd-luna", named("LUNA", depth=2, sfreq=256), prepare=zscore, call=luna_tokens,
         seconds=2.5, features=lambda out: out.mean(1)),
    Case("bd-mvpformer", signal("MVPFormer"), seconds=10, features=lambda out: out["features"]),
    Case("bd-reve", reve, prepare=lambda x: np.clip(zscore(x), -15, 15), call=reve_features,
         seconds=1.9),
    Case("bd-signaljepa", named("SignalJEPA", channel_embedding="pretrain_aligned",
                                transformer__num_encoder_layers=2), seconds=4,
         file=all_electrodes),
    Case("bd-steegformer", lambda M, names, n: M.STEEGFormer(
        n_outputs=2, n_chans=len(names), n_times=n, embed_dim=64, depth=2, num_heads=2,
        chan_pos_idx=[STEEG[x.upper()] for x in names]),
        prepare=lambda x: zscore(x.clip(-500, 500))),
    Case("bd-zuna", named("ZUNA", dim=64, n_layers=2, n_heads=2, head_dim=32),
         prepare=lambda x: whole(x - x.mean(1, keepdims=True))),
    Case("bd-zuna", named("ZUNA", dim=64, n_layers=2, n_heads=2, head_dim=32), pooling="channels",
         prepare=lambda x: whole(x - x.mean(1, keepdims=True)),
         features=lambda out: out["features"].flatten(1)),
]  # fmt: skip


def theirs(bd, build, names, n_times):
    """Build braindecode's network with weights that leave no error hidden."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(4)
        model = build(bd, names, n_times)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: "-".join(map(str, (c.name, c.size, c.pooling, len(c.options))))
)
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_same_embeddings_as_braindecode(bd, case, kind, tmp_path):
    from safetensors.torch import save_file

    if kind == "pth" and case.size != "tiny":
        pytest.skip("the kind of file has been tested with the small networks")
    model = ef.models.get_model(case.name)
    sfreq = model.input.sfreq
    n_times = round(case.seconds * sfreq)
    direct = theirs(bd, case.build, case.names, n_times)
    source = theirs(bd, case.file, case.names, n_times) if case.file else direct
    state = {k: v.detach().clone() for k, v in source.state_dict().items()}
    own = dict(state)
    if "temporal_embedding" in own:
        own["temporal_embedding"] = own["temporal_embedding"][:, : n_times // 200 + 1]
    direct.load_state_dict(own)
    X = 2e-5 * np.random.default_rng(0).standard_normal((3, len(case.names), n_times))
    with torch.inference_mode():
        x = torch.from_numpy(case.prepare(X * 1e6)).float()
        expected = case.features(case.call(direct, x, case.names)).numpy()
    path = tmp_path / f"theirs.{kind}"
    wrapped = {"model": state} if model.checkpoints else state
    save_file(state, path) if kind == "safetensors" else torch.save(wrapped, path)
    enc = ef.make_transformer(
        case.name, size=case.size, checkpoint=path, pooling=case.pooling,
        info=ef.ChannelInfo(case.names, sfreq), model_params=case.options or None,
    ).fit(X)  # fmt: skip
    np.testing.assert_allclose(enc.transform(X), expected, atol=1e-5, rtol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-4, "the comparison is blind"
    assert enc.load_report_.ok
    assert not enc.load_report_.missing
