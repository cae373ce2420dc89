"""Pretraining: stages, masks, bottleneck, losses, and what becomes of the encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_mmm import MMMTransformer
from eegfound_mmm.objective import build_objective, stage_of
from eegfound_mmm.plugin import MODEL
from eegfound_mmm.topology import REGION_OF, VOCABULARY

from eegfound import ChannelInfo
from eegfound.base import SpecError
from eegfound.models.files import save_weights
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective

TEN_TWENTY = (
    "FP1", "FP2", "F7", "F3", "FZ", "F4", "F8", "T7", "C3", "CZ", "C4", "T8", "P7", "P3", "PZ",
    "P4", "P8", "O1", "O2",
)  # fmt: skip
ROWS = torch.tensor([VOCABULARY.index(name) for name in TEN_TWENTY])


def objective(**options):
    torch.manual_seed(0)
    return build_objective(**({"width": 16, "depth": 2, "n_heads": 4} | options))


def batch(n=4, n_windows=2, rows=ROWS):
    torch.manual_seed(1)
    return SignalBatch(torch.randn(n, len(rows), n_windows, 5), rows)


def test_cycles_of_two_stages():
    stages = [stage_of(epoch, 600) for epoch in range(250)]
    assert [s == "random" for s in stages] == [epoch % 100 < 50 for epoch in range(250)]
    assert [stage_of(e, 10, random_fraction=0.3) for e in range(10)] == ["random"] * 3 + [
        "regional"
    ] * 7
    assert {stage_of(e, 2) for e in range(2)} == {"random", "regional"}
    assert stage_of(0, 1) == "random"


def test_an_epoch_chooses_the_stage():
    pre = objective(cycle_epochs=4)
    seen = []
    for epoch in range(8):
        pre.start_epoch(epoch, 8)
        seen.append(pre.stage)
    assert seen == ["random", "random", "regional", "regional"] * 2


def test_random_masks_hide_half_of_the_electrodes():
    pre = objective()
    for rows, hidden in ((torch.arange(62), 31), (ROWS, 10), (ROWS[:1], 0)):
        mask = pre.draw(50, rows)
        assert (mask.sum(dim=1) == hidden).all()
    # 19 - int(19 * 0.5): every electrode has its turn.
    assert (pre.draw(50, ROWS).float().mean(dim=0) > 0.2).all()


def test_regional_masks_hide_whole_regions_that_are_there():
    pre = objective()
    pre.stage = "regional"
    for rows, n_hidden in ((torch.arange(62), 6), (ROWS, 4), (ROWS[:2], 0)):
        regions = REGION_OF[rows]
        for mask in pre.draw(30, rows).numpy():
            hidden = {r for r, m in zip(regions, mask, strict=True) if m}
            assert len(hidden) == n_hidden  # 17 or 11 regions, of which 35 % are hidden
            assert not hidden & {r for r, m in zip(regions, mask, strict=True) if not m}


def test_the_same_generator_gives_the_same_loss():
    pre, data = objective(), batch()
    losses = [
        pre(data, generator=torch.Generator().manual_seed(seed)).total.item() for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_hidden_electrodes_are_not_seen():
    pre, data = objective(), batch(n_windows=1)
    hidden = pre.draw(4, ROWS)
    other = torch.where(hidden[:, :, None, None], torch.randn_like(data.signal), data.signal)
    a = pre(data, hidden=hidden).reconstruction
    b = pre(SignalBatch(other, ROWS), hidden=hidden).reconstruction
    torch.testing.assert_close(a, b)
    visible = torch.where(hidden[:, :, None, None], data.signal, torch.randn_like(data.signal))
    c = pre(SignalBatch(visible, ROWS), hidden=hidden).reconstruction
    assert (a - c).abs().max() > 1e-4


def test_only_region_tokens_reach_the_decoder():
    pre, data = objective(), batch(n_windows=1)
    latent, _, reconstruction = pre.reconstruct(
        data.signal[:, :, 0], ROWS, torch.zeros(4, len(ROWS), dtype=torch.bool)
    )
    (gradient,) = torch.autograd.grad(reconstruction.sum(), latent)
    assert not gradient[:, : len(ROWS)].any()
    assert gradient[:, len(ROWS) :].abs().sum(dim=(0, 2)).min() > 0


@pytest.mark.parametrize("missing", ["drop", "zero"])
def test_losses_are_errors_of_recorded_electrodes(missing):
    pre, data = objective(missing=missing), batch()
    out = pre(data, generator=torch.Generator().manual_seed(0))
    truth = data.signal.transpose(1, 2).reshape(8, len(ROWS), 5)
    error = (out.reconstruction - truth) ** 2
    assert out.reconstruction.shape == truth.shape
    torch.testing.assert_close(out.everywhere, error.mean())
    torch.testing.assert_close(out.hidden_only, error[out.hidden].mean())
    assert out.total is out.everywhere
    only = objective(missing=missing, loss_on="hidden")(
        data, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(only.total, out.hidden_only)


@pytest.mark.parametrize("stage", ["random", "regional"])
def test_a_few_steps_learn_a_batch(stage):
    pre, data = objective(), batch(n=8)
    assert isinstance(pre, Objective)
    pre.stage = stage
    optimizer = torch.optim.AdamW(pre.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        losses.append(pre(data, generator=torch.Generator().manual_seed(0)).total)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    moved = pre.encoder.supernodes.grad
    assert moved is not None
    assert moved.abs().max() > 0


def test_a_decoder_of_another_shape():
    pre = objective(decoder_width=8, decoder_depth=1, decoder_heads=2)
    assert pre.decoder_pred.weight.shape == (5, 8)
    assert len(pre.decoder_network.blocks) == 1
    assert torch.isfinite(pre(batch()).total)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio=1.0"),
        ({"region_mask_ratio": 0}, "region_mask_ratio=0"),
        ({"loss_on": "masked"}, "loss_on='masked'"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(SpecError, match=message):
        objective(**options)


def test_a_pretrained_encoder_is_a_transformer(tmp_path):
    torch.manual_seed(0)
    pre = build_objective(**MODEL.sizes["paper"])
    path = save_weights(
        tmp_path / "mine.safetensors", pre.encoder.state_dict(), {"model": "mmm", "size": "paper"}
    )
    X = 1e-5 * np.random.default_rng(0).standard_normal((3, 19, 400))
    enc = MMMTransformer(checkpoint=path, info=ChannelInfo(TEN_TWENTY, 200)).fit(X)
    assert torch.equal(enc.encoder_.network.supernodes, pre.encoder.supernodes)
    assert enc.transform(X).shape == (3, 18 * 16)
