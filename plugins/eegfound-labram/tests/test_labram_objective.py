"""Masked EEG modelling and the training recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from eegfound_labram.network import LaBraM
from eegfound_labram.objective import MaskedEEGModel, build_objective, mask_from_noise
from eegfound_labram.schedule import cosine_schedule, parameter_groups, parameter_settings
from eegfound_labram.tokenizer import VQNSP
from hypothesis import given
from hypothesis import strategies as st

from eegfound.models.network import SignalBatch

SMALL = {"out_chans": 4, "depth": 2, "num_heads": 5}


def _batch(n=2, n_channels=3, n_patches=3):
    signal = torch.randn(n, n_channels, 200 * n_patches, generator=torch.Generator().manual_seed(0))
    return SignalBatch(signal, torch.tensor([40, 17, 63][:n_channels]))


def _codes(batch, n_codes=32):
    n, n_channels, n_times = batch.signal.shape
    shape = (n, n_channels * n_times // 200)
    return torch.randint(n_codes, shape, generator=torch.Generator().manual_seed(1))


def _mask(batch):
    return mask_from_noise(
        torch.rand(_codes(batch).shape, generator=torch.Generator().manual_seed(2))
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MaskedEEGModel(n_codes=32, **SMALL)
    for table in (model.student.pos_embed, model.student.mask_token, model.student.cls_token):
        torch.nn.init.normal_(table, std=0.5)
    return model.eval()


@pytest.fixture
def objective():
    torch.manual_seed(0)
    tokenizer = VQNSP(**SMALL, decoder_depth=1, decoder_heads=5, n_codes=32, code_dim=8)
    torch.nn.init.normal_(tokenizer.encode_task_layer[2].weight)
    tokenizer.quantize.embedding.initted.fill_(1)
    return build_objective(tokenizer=tokenizer, **SMALL)


def test_published_shape_and_size():
    model = MaskedEEGModel()
    manifest = Path(__file__).parent / "golden" / "manifest_mem_base.json"
    expected = {key: tuple(shape) for key, shape in json.loads(manifest.read_text()).items()}
    assert {key: tuple(v.shape) for key, v in model.state_dict().items()} == expected
    assert sum(p.numel() for p in model.parameters()) == 9_153_520


@given(n=st.integers(1, 4), patches=st.integers(2, 60), ratio=st.sampled_from([0.25, 0.5, 0.75]))
def test_masks_hide_the_share_asked_for(n, patches, ratio):
    mask = mask_from_noise(torch.rand(n, patches), ratio)
    assert mask.dtype == torch.bool
    assert ((~mask).sum(dim=1) == int((1 - ratio) * patches)).all()


def test_the_smallest_noise_stays_visible():
    noise = torch.rand(5, 21)
    mask = mask_from_noise(noise)
    assert (mask.sum(dim=1) == 11).all()  # odd: one more is hidden
    hidden = noise.masked_fill(~mask, np.inf).amin(dim=1)
    visible = noise.masked_fill(mask, -np.inf).amax(dim=1)
    assert (hidden > visible).all()


def test_hidden_patches_say_nothing_of_themselves(model):
    # Embeddings of hidden patches are replaced, so they may be anything.
    patches = torch.randn(2, 9, 100)
    mask = _mask(_batch())
    other = torch.where(mask[..., None], torch.randn(2, 9, 100), patches)
    assert torch.equal(model.student.hide(patches, mask), model.student.hide(other, mask))
    hidden = model.student.hide(patches, mask)
    assert torch.equal(hidden[~mask], patches[~mask])
    assert (hidden[mask] == model.student.mask_token[0, 0]).all()


def test_loss_is_the_sum_over_both_masks(model):
    batch = _batch()
    codes, mask = _codes(batch), _mask(batch)
    losses = model(batch, codes, mask)
    assert losses.total == losses.masked + losses.complement
    swapped = model(batch, codes, ~mask)
    assert torch.allclose(swapped.masked, losses.complement)
    assert losses.logits.shape == (int(mask.sum()), 32)
    picked = losses.logits.log_softmax(dim=1)[torch.arange(len(losses.logits)), codes[mask]]
    assert losses.masked.item() == pytest.approx(-picked.mean().item(), abs=1e-6)


def test_visible_tokens_see_hidden_ones_through_attention_only(model):
    batch, mask = _batch(), _mask(_batch())
    nothing = torch.zeros_like(mask)
    assert torch.equal(model.tokens(batch, nothing), model.tokens(batch))
    assert not torch.allclose(model.tokens(batch, mask), model.tokens(batch))


def test_the_class_token_takes_the_row_of_the_first_channel(model):
    batch = _batch()
    model(batch, _codes(batch), _mask(batch)).total.backward()
    gradient = model.student.pos_embed.grad[0].abs().amax(dim=1)
    assert gradient[0] == 0
    assert set(gradient.nonzero().flatten().tolist()) == {41, 18, 64}
    model.zero_grad()
    model.cls_quirk = False
    model(batch, _codes(batch), _mask(batch)).total.backward()
    assert model.student.pos_embed.grad[0, 0].abs().max() > 0


@pytest.mark.parametrize("quirk", [True, False])
def test_order_of_channels_matters_with_the_quirk_only(model, quirk):
    model.cls_quirk = quirk
    batch, order = _batch(), torch.tensor([2, 0, 1])
    turned = SignalBatch(batch.signal[:, order], batch.rows[order])
    same = model.tokens(batch)[:, 1:].view(2, 3, 3, 100)[:, order].flatten(1, 2)
    assert torch.allclose(model.tokens(turned)[:, 1:], same, atol=1e-4) is not quirk


def test_unused_heads_get_no_gradient(model):
    batch = _batch()
    model(batch, _codes(batch), _mask(batch)).total.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert idle == [
        "student.lm_head.weight", "student.lm_head.bias",
        "projection_head.0.weight", "projection_head.0.bias",
    ]  # fmt: skip


def test_initial_weights():
    torch.manual_seed(0)
    model = MaskedEEGModel(n_codes=64, **SMALL)
    for name in ("student.pos_embed", "lm_head.weight", "student.blocks.1.attn.qkv.weight"):
        weight = model.get_parameter(name)
        assert weight.abs().max() <= 0.02
        assert weight.std().item() == pytest.approx(0.0108, rel=0.05)
    # Convolutions of the student are drawn so too; residual ends are scaled down by depth.
    assert model.student.patch_embed.conv2.weight.abs().max() <= 0.02
    assert (model.student.patch_embed.conv2.bias == 0).all()
    second = model.student.blocks[1].mlp.fc2.weight
    assert second.std().item() == pytest.approx(0.0108 / 2, rel=0.05)
    assert model.lm_head.bias.abs().max() > 0.02


def test_the_objective_is_reproducible_and_leaves_the_tokenizer_alone(objective):
    objective.train()
    assert objective.network.training
    assert not objective.tokenizer.training
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    losses = [
        objective(_batch(), generator=torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)
    ]
    assert losses[0].total == losses[1].total
    assert losses[0].total != losses[2].total
    losses[0].total.backward()
    assert all(p.grad is None for p in objective.tokenizer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in objective.state_dict().items())


def test_labels_are_the_codes_of_the_whole_signal(objective):
    noise = torch.rand(2, 9, generator=torch.Generator().manual_seed(3))
    codes = objective.tokenizer.codes(_batch())
    by_hand = objective.network(_batch(), codes, mask_from_noise(noise))
    assert objective(_batch(), noise=noise).total == by_hand.total


def test_training_lowers_the_loss(objective):
    objective.train()
    noise = torch.rand(2, 9, generator=torch.Generator().manual_seed(3))
    groups = parameter_groups(objective.network, 5e-3, weight_decay=0.05)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    history = []
    for _ in range(30):
        loss = objective(_batch(), noise=noise).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


def test_learning_rate_rises_to_the_peak_and_falls():
    rates = cosine_schedule(1.0, 0.1, epochs=10, steps_per_epoch=7, warmup_epochs=2)
    assert len(rates) == 70
    assert rates[0] == 0
    assert rates[13] == rates[14] == rates.max() == 1.0
    assert np.allclose(np.diff(rates[:14]), 1 / 13)
    assert (np.diff(rates[14:]) < 0).all()
    assert 0.1 < rates[-1] < 0.11
    assert len(cosine_schedule(1.0, 0.0, epochs=1, steps_per_epoch=5)) == 5


def test_layers_near_the_input_learn_slowly():
    network = LaBraM(num_classes=4, **SMALL)
    settings = parameter_settings(network, weight_decay=0.05, layer_decay=0.5)
    assert set(settings) == {name for name, _ in network.named_parameters()}
    assert settings["pos_embed"] == {"layer": 0, "lr_scale": 0.125, "weight_decay": 0.0}
    assert settings["blocks.0.mlp.fc1.weight"]["lr_scale"] == 0.25
    assert settings["blocks.1.gamma_1"] == {"layer": 2, "lr_scale": 0.5, "weight_decay": 0.0}
    assert settings["head.weight"] == {"layer": 3, "lr_scale": 1.0, "weight_decay": 0.05}
    # An omission of the reference that is followed here.
    assert settings["time_embed"]["lr_scale"] == 1.0


def test_groups_hold_every_trainable_parameter_once():
    network = LaBraM(**SMALL)
    network.cls_token.requires_grad_(False)
    groups = parameter_groups(network, 1e-3, weight_decay=0.05, layer_decay=0.65)
    grouped = [id(p) for group in groups for p in group["params"]]
    expected = {id(p) for p in network.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == expected
    assert all(group["lr"] == 1e-3 * group["lr_scale"] for group in groups)
    torch.optim.AdamW(groups)


def test_the_mask_token_decays_in_pretraining(model):
    settings = parameter_settings(model)
    assert settings["student.mask_token"]["weight_decay"] == 0.05
    assert settings["student.cls_token"]["weight_decay"] == 0.0
    assert {s["lr_scale"] for s in settings.values()} == {1.0}
