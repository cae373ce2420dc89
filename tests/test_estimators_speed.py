"""What makes encoding fast, by what it does: batches, precision, files, single epochs."""

from __future__ import annotations

import mmap
import pickle
import warnings

import numpy as np
import pytest
import torch

from eegfound.base import SignalWarning, SpecError
from eegfound.estimators import _batches, _compiled, _encode, _handle, _precision, _streaming
from eegfound.models import registry
from eegfound.models.network import Tokens
from eegfound.testing.toy import ToyEncoder, toy_model
from tests.helpers_toy import NAMES, eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")


class CountingEncoder(ToyEncoder):
    """Notes the size of every batch; without products, whose order could depend on it."""

    seen: list[int] = []

    def forward(self, batch, layer=None):
        self.seen.append(len(batch.signal))
        n, n_channels, n_times = batch.signal.shape
        patches = batch.signal.reshape(n, n_channels * (n_times // self.patch), self.patch)
        nowhere = torch.full((patches.shape[1],), -1)
        return Tokens(patches[..., : self.width] * self.embed.weight[:, 0], nowhere, nowhere)


class OrderedEncoder(CountingEncoder):
    """Adds to each embedding something that depends on the size of the batch."""

    def forward(self, batch, layer=None):
        tokens = super().forward(batch, layer)
        tokens.values.add_(1e-7 * len(batch.signal))
        return tokens


@pytest.fixture
def counting():
    CountingEncoder.seen.clear()
    here = f"{__name__}:CountingEncoder"
    with registry.registered(toy_model("counting", network=here, micro_batch=8)):
        yield CountingEncoder.seen


def test_a_single_epoch_again_and_again_costs_one_epoch(counting):
    X = eeg(20)
    enc = encoder(model="counting").fit(X)
    whole = enc.transform(X)
    enc.transform(X[:1])  # once may be the end of an array: now it is known
    counting.clear()
    alone = enc.transform(X[4:5])
    assert counting == [1]
    np.testing.assert_array_equal(alone, whole[4:5])
    counting.clear()
    assert enc.transform(X[:17]).shape == (17, 16)
    assert counting == [8, 8, 1]


def test_sizes_that_give_other_bits_are_never_used():
    CountingEncoder.seen.clear()
    here = f"{__name__}:OrderedEncoder"
    with registry.registered(toy_model("ordered", network=here, micro_batch=4)):
        X = eeg(9)
        enc = encoder(model="ordered").fit(X)
        whole = enc.transform(X)
        for _ in range(3):
            CountingEncoder.seen.clear()
            np.testing.assert_array_equal(enc.transform(X[3:4]), whole[3:4])
        assert CountingEncoder.seen == [4]


def test_short_batches_are_filled_with_the_epochs_themselves():
    signal = np.arange(6, dtype=np.float32).reshape(3, 2, 1)
    np.testing.assert_array_equal(
        _batches.filled(signal, 8).numpy(), signal[[0, 1, 2, 0, 1, 2, 0, 1]]
    )
    signal[:] = 0  # the batch has memory of its own
    assert _batches.filled(signal + 1, 3).sum() == 6


def test_one_epoch_needs_no_threads_and_no_look_at_the_registry(monkeypatch):
    X = eeg(4)
    enc = encoder(n_threads=4).fit(X)
    enc.transform(X[:1])

    def never(*args, **kwargs):
        raise AssertionError("set-up per call")

    monkeypatch.setattr(_encode, "ThreadPoolExecutor", never)
    monkeypatch.setattr("eegfound.estimators._handle.load_encoder", never)
    monkeypatch.setattr("copy.deepcopy", never)
    assert enc.transform(X[:1]).shape == (1, 16)
    monkeypatch.undo()
    monkeypatch.setattr(_encode, "ThreadPoolExecutor", never)
    with pytest.raises(AssertionError, match="set-up"):  # this test can fail
        encoder(n_threads=4, batch_size=1).fit(X).transform(X)


@pytest.mark.parametrize("sfreq", [100.0, 125.0])
@pytest.mark.parametrize("missing", [False, True])
def test_blocks_change_no_bit(monkeypatch, sfreq, missing):
    X = eeg(12, n_times=300).astype(np.float32)
    if missing:
        X[::3, 2] = np.nan
    enc = encoder(info=info(sfreq), n_threads=1).fit(X)
    whole = enc.transform(X)
    monkeypatch.setattr(_streaming, "BLOCK_BYTES", 3 * X[:1].nbytes)
    np.testing.assert_array_equal(enc.transform(X), whole)
    monkeypatch.setattr(_streaming, "BLOCK_BYTES", 1)
    np.testing.assert_array_equal(enc.transform(X), whole)
    np.testing.assert_array_equal(enc.set_params(n_threads=3).transform(X), whole)


def test_messages_about_a_part_count_from_the_start(monkeypatch):
    X = eeg(9)
    enc = encoder().fit(X)
    monkeypatch.setattr(_streaming, "BLOCK_BYTES", 2 * X[:1].nbytes)
    X[7, 3, 5] = np.nan
    with pytest.raises(SpecError, match=r"epoch 7, channel 3"):
        enc.transform(X)
    X[7] = np.nan
    with pytest.raises(SpecError, match="first at index 7"):
        enc.transform(X)
    X = eeg(9)
    X[7] *= 1e6
    with pytest.warns(SignalWarning, match="first at index 7"):
        enc.transform(X)


def test_a_file_is_read_a_block_at_a_time_and_given_back(tmp_path, monkeypatch):
    X = eeg(300).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    enc = encoder(n_threads=1, batch_size=10).fit(X[:10])
    monkeypatch.setattr(_streaming, "BLOCK_BYTES", 20 * X[:1].nbytes)
    returned, largest = [], [0]
    plan = type(enc.plan_)
    apply, check = plan.apply, plan._sizes

    def watched(method):
        def run(self, part, presence):
            largest[0] = max(largest[0], len(part))
            return method(self, part, presence)

        return run

    monkeypatch.setattr(plan, "apply", watched(apply))
    monkeypatch.setattr(plan, "_sizes", watched(check))
    monkeypatch.setattr(_streaming, "_give_back", returned.append)
    np.testing.assert_array_equal(enc.transform(mapped), enc.transform(X))
    assert largest == [20]
    assert len(returned) == 2 * 15  # looked at, then encoded; the array in memory not at all
    assert all(isinstance(file, mmap.mmap) for file in returned)


def test_changes_of_a_copy_on_write_map_are_kept(tmp_path):
    np.save(tmp_path / "X.npy", eeg(4).astype(np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    mapped[0] *= 2
    before = np.array(mapped)
    assert _streaming.mapped_file(mapped) is None
    encoder().fit(mapped).transform(mapped)
    np.testing.assert_array_equal(mapped, before)
    again = np.load(tmp_path / "X.npy", mmap_mode="r+")
    again[0] *= 2
    encoder().fit(again).transform(again)
    np.testing.assert_array_equal(again, before)


def test_memory_of_a_gpu_decides_how_many_epochs_fit():
    gib = 2**30
    assert _batches.batch_that_fits(8 * gib, 2**20) == 1024  # at most
    assert _batches.batch_that_fits(8 * gib, 60 * 2**20) == 64  # a power of two below 68
    assert _batches.batch_that_fits(2**20, gib) == 1


def test_dtype_auto_is_float32_without_instructions_for_less(monkeypatch):
    monkeypatch.setattr(_handle, "has_bfloat16", lambda device: False)
    X = eeg()
    enc = encoder(dtype="auto").fit(X)
    np.testing.assert_array_equal(enc.transform(X), encoder().fit_transform(X))
    with pytest.raises(SpecError, match="'auto'"):
        encoder(dtype="int8").fit(X)


def test_dtype_auto_is_bfloat16_where_it_is_fast_and_agrees(monkeypatch):
    for module in (_handle, _precision):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(_handle, "_CHOSEN", {})
    X = eeg()
    exact = encoder().fit_transform(X)
    enc = encoder(dtype="auto").fit(X)
    out = enc.transform(X)
    assert out.dtype == np.float32
    assert np.abs(out - exact).max() > 0
    found = _precision.agreement(torch.from_numpy(exact), torch.from_numpy(out))
    assert found >= _precision.AGREEMENT
    np.testing.assert_array_equal(out, encoder(dtype="bfloat16").fit_transform(X))
    assert pickle.loads(pickle.dumps(enc)).transform(X).tobytes() == out.tobytes()
    # A network that does not agree stays in float32.
    monkeypatch.setattr(_handle, "AGREEMENT", 1.0)
    monkeypatch.setattr(_handle, "_CHOSEN", {})
    np.testing.assert_array_equal(encoder(dtype="auto").fit_transform(X), exact)


def test_agreement_is_that_of_the_worst_epoch():
    a = torch.tensor([[1.0, 0.0], [0.0, float("nan")], [0.0, 2.0]])
    b = torch.tensor([[2.0, 0.0], [0.0, float("nan")], [2.0, 2.0]])
    assert _precision.agreement(a[::2], b[::2]) == pytest.approx(0.5**0.5)


def test_emulated_precision_rounds_weights_and_computes_in_float32(monkeypatch):
    monkeypatch.setattr(_precision, "has_bfloat16", lambda device: False)
    X = eeg()
    enc = encoder(dtype="bfloat16").fit(X)
    out, exact = enc.transform(X), encoder().fit_transform(X)
    assert 0 < np.abs(out - exact).max() < 0.05
    network = enc.encoder_.placed("cpu", _precision.precision_of("bfloat16", "cpu"))
    for tensor in network.state_dict().values():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, tensor.bfloat16().float())
    kept = enc.encoder_.network.state_dict().values()
    assert any(not torch.equal(t, t.bfloat16().float()) for t in kept)


def test_a_tuned_network_is_copied_again_only_after_it_has_changed():
    enc = encoder().fit(eeg())
    handle, tuned = enc.encoder_, enc.encoder_.trainable_copy()
    precision = _precision.precision_of("float16", "cpu")
    first = handle.placed_tuned(tuned, "cpu", precision)
    assert handle.placed_tuned(tuned, "cpu", precision) is first
    with torch.no_grad():
        tuned.embed.weight.mul_(2)
    second = handle.placed_tuned(tuned, "cpu", precision)
    assert second is not first
    assert torch.equal(second.embed.weight, tuned.embed.weight.half().float())
    assert handle.placed_tuned(tuned, "cpu", _precision.FLOAT32) is tuned


def test_compiling_falls_back_with_one_warning(monkeypatch):
    def no_compiler(network, **options):
        def run(*args, **kwargs):
            raise RuntimeError("No working C++ compiler found")

        return run

    monkeypatch.setattr(torch, "compile", no_compiler)
    X = eeg()
    enc = encoder(compile=True, n_threads=1)
    with pytest.warns(SignalWarning, match="No working C\\+\\+ compiler"):
        enc.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = enc.transform(X)
    np.testing.assert_array_equal(out, encoder().fit_transform(X))
    assert pickle.loads(pickle.dumps(enc)).encoder_._compiled == {}


def test_a_compiled_network_that_differs_is_not_used(monkeypatch):
    def wrong(network, **options):
        def run(batch, layer=None):
            tokens = network(batch, layer=layer)
            tokens.values.add_(0.1)
            return tokens

        return run

    monkeypatch.setattr(torch, "compile", wrong)
    X = eeg()
    with pytest.warns(SignalWarning, match="changed tokens"):
        out = encoder(compile=True).fit_transform(X)
    np.testing.assert_array_equal(out, encoder().fit_transform(X))


def test_a_compiled_network_runs(monkeypatch):
    # The tracing half of torch.compile, which needs no C++ compiler.
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda n, **o: compiled(n, backend="eager", **o))
    X = eeg()
    enc = encoder(compile=True, n_threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SignalWarning)
        out = enc.fit_transform(X)
    assert isinstance(enc.encoder_.compiled("cpu", _precision.FLOAT32), _compiled.CompiledNetwork)
    assert enc.encoder_.compiled("cpu", _precision.FLOAT32)._checked
    np.testing.assert_allclose(out, encoder().fit_transform(X), rtol=1e-4, atol=1e-5)


def test_average_reference_is_the_same_with_and_without_missing_neighbours():
    here = toy_model().input
    from dataclasses import replace

    with registry.registered(toy_model("average", input=replace(here, reference="average"))):
        X = eeg(8).astype(np.float32)
        enc = encoder(model="average", info=info(names=NAMES)).fit(X)
        whole = enc.transform(X)
        X[3, 1] = np.nan
        mixed = enc.transform(X)
        np.testing.assert_array_equal(np.delete(mixed, 3, 0), np.delete(whole, 3, 0))
