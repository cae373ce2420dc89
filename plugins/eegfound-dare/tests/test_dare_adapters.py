"""The authors' adapters and heads."""

from __future__ import annotations

import pytest
import torch
from eegfound_dare.adapters import Adapter, LinearProbe, TUHModel, interpolate
from eegfound_dare.heads import FlatMLP, SliceMLP
from eegfound_dare.network import build_encoder
from eegfound_dare.plugin import MODEL

from eegfound.base import SpecError


def nano():
    torch.manual_seed(0)
    return build_encoder(**MODEL.sizes["nano"])


def test_kinds_of_adapters():
    x = torch.randn(2, 6, 300)
    assert Adapter("tueg", 6, 9, n_layers=2)(x).shape == (2, 9, 286)
    assert Adapter("others", 6, 9)(x).shape == (2, 9, 300)
    for kind in ("sleep", "wm"):
        assert Adapter(kind, 6, 9, resample_to=512)(x).shape == (2, 9, 512)
    assert Adapter("tueg", 6, 9).conv_layers[0].bias is None
    with pytest.raises(SpecError, match="kind='other'"):
        Adapter("other", 6, 9)
    with pytest.raises(SpecError, match="resample_to=None"):
        Adapter("wm", 6, 9)
    with pytest.raises(SpecError, match="resample_to=5"):
        Adapter("tueg", 6, 9, resample_to=5)


def test_interpolation_takes_the_nearest_sample_before():
    x = torch.arange(6.0).reshape(1, 1, 6).repeat(1, 2, 1)
    x[:, 1] = 0
    assert interpolate(x, 4)[0, 0].tolist() == [0, 0.5, 1.5, 2]


def test_rows_are_bounded_in_training_for_good():
    adapter = Adapter("others", 6, 9)
    with torch.no_grad():
        adapter.conv_layers[0].weight.mul_(100)
    adapter.eval()(torch.randn(1, 6, 64))
    assert adapter.conv_layers[0].weight.flatten(1).norm(dim=1).min() > 2
    adapter.train()(torch.randn(1, 6, 64))
    assert adapter.conv_layers[0].weight.flatten(1).norm(dim=1).max() <= 1 + 1e-5


def test_the_probe_trains_no_encoder_but_the_tuh_model_does():
    probe = LinearProbe(nano(), n_slices=4).train()
    assert not probe.target_encoder.training
    probe(torch.randn(2, 3, 256)).sum().backward()
    trained = {n for n, p in probe.named_parameters() if p.grad is not None}
    assert trained == {
        f"{part}.{kind}"
        for part in ("chan_conv.conv_layers.0", "linear_probe1", "linear_probe2")
        for kind in ("weight", "bias")
    }
    whole = TUHModel(nano(), n_slices=4, n_inputs=5).train()
    whole(torch.randn(2, 5, 4 * 64 + 14)).sum().backward()
    assert whole.encoder.summary_token.grad.abs().max() > 0


def test_flat_heads_pool_as_they_say():
    tokens = torch.randn(2, 3, 4, 8)
    assert FlatMLP(8 * 4, 5, pooling="max")(tokens).shape == (2, 5)
    assert FlatMLP(8, 5, pooling="attention")(tokens).shape == (2, 5)
    assert FlatMLP(3 * 4 * 8, 5)(tokens).shape == (2, 5)
    assert SliceMLP(3 * 4 * 8, 5, n_slices=3)(tokens).shape == (2, 5)
    with pytest.raises(SpecError, match="pooling='mean'"):
        FlatMLP(8, 5, pooling="mean")
    head = FlatMLP(8, 5, pooling="attention").eval()
    with torch.no_grad():
        head.attention_pool.attention.weight.zero_()
    torch.testing.assert_close(head.attention_pool(tokens.flatten(1, 2)), tokens.mean(dim=(1, 2)))
