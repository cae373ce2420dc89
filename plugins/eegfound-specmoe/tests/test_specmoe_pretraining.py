"""SpecMoE's stages: experts one after another, their gates, and what a step of parts is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eegfound_specmoe import SpecMoEPretrainer
from eegfound_specmoe.batch_norm import StepBatchNorm1d, follow, wait_for_steps
from eegfound_specmoe.channels import PRETRAINING_ORDER
from eegfound_specmoe.plugin import MODEL
from eegfound_specmoe.selection import select_montage, window_numbers
from eegfound_specmoe.stages import build_expert_1, build_expert_2, build_expert_3, build_gates
from torch import nn

import eegfound as ef
from eegfound.base import SpecError
from eegfound.models.network import SignalBatch

#: As small as it gets.
TINY = {"features": 8, "heads": 2, "n_experts": 3, "dropout": 0.0, "log_psd": True}
NAMES = ("C3", "AF7", "Cz")


def batch(n=4, n_times=480, names=NAMES, seed=0):
    """EEG-like windows: slow waves of each window's own size."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, len(names), n_times, generator=generator)
    size = 0.1 + torch.rand(n, 1, 1, generator=generator)
    slow = nn.functional.avg_pool1d(noise, 9, 1, 4)
    return SignalBatch(size * slow, torch.full((len(names),), -1), names)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(factory, previous=None, **options):
    torch.manual_seed(0)
    return factory(previous=previous, **(TINY | options))


def steps(objective, count=1, lr=1e-3, data=None):
    """Train, and return the losses."""
    objective.train()
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr)
    losses = []
    for _ in range(count):
        losses.append(objective(data or batch(), generator=seeded()).total)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
        objective.after_step(0.5)
    return [float(loss.detach()) for loss in losses]


def weights(expert):
    return torch.cat([p.detach().flatten() for p in expert.state_dict().values()])


@pytest.fixture(scope="module")
def trained():
    """The objectives of all experts after a few steps each."""
    done = {}
    for number, factory in enumerate((build_expert_1, build_expert_2, build_expert_3), 1):
        objective = built(factory, done)
        objective.prepare(batch())
        objective.losses = steps(objective, 4)
        done[f"expert-{number}"] = objective.eval()
    return done


def test_every_expert_learns_and_later_stages_take_up_earlier_ones(trained):
    for objective in trained.values():
        assert objective.losses[-1] < 0.95 * objective.losses[0]
    kept = [weights(expert) for expert in trained["expert-3"].kept.experts]
    for i, name in enumerate(("expert-1", "expert-2", "expert-3")):
        own = trained[name].kept.experts
        assert torch.equal(weights(own[i]), kept[i])
        # Experts whose turn has not come are copies, so that none is untrained.
        assert all(torch.equal(weights(later), kept[i]) for later in list(own)[i:])
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[1], kept[2])


def test_an_expert_trains_itself_alone(trained):
    second = trained["expert-2"]
    trained_ones = {
        name.split(".")[2]
        for name, p in second.network.named_parameters(prefix="network")
        if p.requires_grad
    }
    assert trained_ones == {"1"}


def test_stages_that_cannot_be_are_refused():
    with pytest.raises(SpecError, match="goes on from 'expert-1'"):
        built(build_expert_2, {})
    with pytest.raises(SpecError, match="no stage 'expert-2'"):
        built(build_expert_2, {}, n_experts=1)
    with pytest.raises(SpecError, match="n_experts=4"):
        built(build_expert_1, {}, n_experts=4)
    with pytest.raises(SpecError, match="multiple of 4"):
        built(build_expert_1, {}, features=10)


def test_gates_learn_and_experts_stay(trained):
    gates = built(build_gates, trained)
    gates.prepare(batch())
    before = [weights(expert) for expert in gates.network.experts]
    first = [p.detach().clone() for name, p in gates.network.named_parameters() if "gate_" in name]
    losses = steps(gates, 12, lr=3e-3)
    assert losses[-1] < 0.8 * losses[0]
    last = [p for name, p in gates.network.named_parameters() if "gate_" in name]
    assert all(not torch.equal(a, b) for a, b in zip(first, last, strict=True))
    for old, new, own in zip(
        before, gates.kept.experts, trained["expert-3"].kept.experts, strict=True
    ):
        assert torch.equal(weights(new), old)
        assert torch.equal(weights(new), weights(own))
    found = gates.eval().measure(batch(), generator=seeded())
    assert found["gate_std"] > 0
    # The mean of the only batch there was.
    assert found["everywhere_trivial"] > 0


def test_gates_of_random_experts_are_refused():
    gates = built(build_gates, {}, n_experts=1)
    with pytest.raises(SpecError, match="trained experts"):
        gates.prepare(batch())
    with torch.no_grad():
        for parameter in gates.network.experts.parameters():
            parameter.add_(0.1)
    gates.prepare(batch())


def test_given_experts_stay_until_their_turn():
    objective = built(build_expert_1)
    given = [weights(expert) + i for i, expert in enumerate(objective.network.experts)]
    with torch.no_grad():
        for i, expert in enumerate(objective.network.experts):
            for tensor in expert.state_dict().values():
                tensor.add_(i)
    objective.prepare(batch())
    steps(objective)
    for i in (1, 2):
        assert torch.equal(weights(objective.kept.experts[i]), given[i])


def test_slices_are_shared_out_and_weighed():
    options = {"data_slices": True, "n_experts": 3}
    data = batch(n=12)
    slices = np.array(window_numbers(data.signal)) % 3
    assert len(set(slices)) == 3  # otherwise this seed shows nothing
    first = built(build_expert_1, **options).train()
    plain = built(build_expert_1).train()
    mine = torch.from_numpy(np.flatnonzero(slices == 0))
    alone = plain(SignalBatch(data.signal[mine], data.rows, data.ch_names), generator=seeded())
    found = first(data, generator=seeded())
    torch.testing.assert_close(found.total, 3 * len(mine) / 12 * alone.total)
    others = torch.from_numpy(np.flatnonzero(slices != 0))
    nothing = first(SignalBatch(data.signal[others], data.rows, data.ch_names)).total
    assert nothing == 0
    nothing.backward()  # still a loss
    # Evaluation reads every window.
    whole = first.eval()(data, generator=seeded()).total
    torch.testing.assert_close(whole, plain.eval()(data, generator=seeded()).total)


def test_a_window_has_its_number_wherever_it_stands():
    signal = batch(n=5).signal
    numbers = window_numbers(signal)
    assert len(set(numbers)) == 5
    assert window_numbers(signal.flip(0)) == numbers[::-1]


def test_running_statistics_move_once_per_step():
    generator = seeded()
    parts = [torch.randn(n, 3, 5, generator=generator) + n for n in (2, 6)]
    torch.manual_seed(0)
    norm, plain = StepBatchNorm1d(3).train(), nn.BatchNorm1d(3).train()
    wait_for_steps(norm)
    for part in parts[:1]:
        torch.testing.assert_close(norm(part), plain(part))
        assert not norm.running_mean.any()
    follow(norm)
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())
    for part in parts:
        norm(part)
    mean = (2 * parts[0].mean(dim=(0, 2)) + 6 * parts[1].mean(dim=(0, 2))) / 8
    variance = (2 * parts[0].var(dim=(0, 2)) + 6 * parts[1].var(dim=(0, 2))) / 8
    expected = 0.9 * plain.running_mean + 0.1 * mean, 0.9 * plain.running_var + 0.1 * variance
    follow(norm)
    torch.testing.assert_close(norm.running_mean, expected[0])
    torch.testing.assert_close(norm.running_var, expected[1])
    assert norm.num_batches_tracked == 2
    follow(norm)  # nothing was collected
    assert norm.num_batches_tracked == 2


def test_no_statistic_moves_before_the_step_is_over():
    objective = built(build_expert_1, n_experts=1).train()
    before = {name: b.clone() for name, b in objective.named_buffers()}
    objective(batch(), generator=seeded())
    assert all(torch.equal(before[name], b) for name, b in objective.named_buffers())
    objective.after_step(0.5)
    same = [torch.equal(before[name], b) for name, b in objective.named_buffers()]
    assert not any(same)


def test_the_nineteen_electrodes_are_found_and_put_in_order():
    names = ("AF7", *[{"T3": "T7"}.get(name, name).title() for name in PRETRAINING_ORDER[::-1]])
    data = batch(n=1, n_times=8, names=names)
    for montage in ("any", "nineteen"):
        found = select_montage(data, montage)
        assert found.ch_names[0] == "Fp1"
        assert found.ch_names[12] == "T7"
        assert torch.equal(found.signal, data.signal[:, 1:].flip(1))
    assert select_montage(data, "given") is data
    with pytest.raises(SpecError, match=r"'FP1', 'FP2'.*montage"):
        select_montage(batch(), "nineteen")


def test_auxiliary_heads_are_compared_for_the_electrodes_they_are_for():
    objective = built(build_expert_1, n_experts=1).eval()
    data = batch()
    names = ("AF7", "AF8", "Iz")
    nowhere = SignalBatch(data.signal, data.rows, names)
    with torch.no_grad():
        known, unknown = (objective(b, generator=seeded()) for b in (data, nowhere))
        for head in (objective.decoders[0].aux_head_up1[0], objective.decoders[0].aux_head_up2[0]):
            head.bias[PRETRAINING_ORDER.index("FP1")] += 5.0
        same = objective(data, generator=seeded())
        for head in (objective.decoders[0].aux_head_up1[0], objective.decoders[0].aux_head_up2[0]):
            head.bias[PRETRAINING_ORDER.index("CZ")] += 5.0
        other = objective(data, generator=seeded())
    assert unknown.stretched1 == unknown.stretched2 == 0
    assert known.stretched1 > 0
    assert same.total == known.total
    assert other.stretched1 > known.stretched1


def test_measures_beside_what_looks_at_nothing():
    for target in ("clean", "masked_input"):
        objective = built(build_expert_1, n_experts=1, target=target).eval()
        with torch.no_grad():
            found = objective.measure(batch(), generator=seeded())
            losses = objective(batch(), generator=seeded())
        torch.testing.assert_close(found["total"], losses.total)
        # Nothing was seen yet: the mean is zero.
        assert found["total_trivial"] == found["total_zero"]
        assert found["hidden_trivial"] == found["hidden_zero"]
        signal, masks = batch().signal, objective.masks(4, 480, generator=seeded())
        energy = objective.masking.apply(signal, 1 - masks).square().mean()
        torch.testing.assert_close(found["hidden_zero"], energy)
        assert found["hidden_masked"] < found["hidden_zero"]
    assert found["total_masked"] < 1e-10  # a copy is all that the published code asks for


def test_a_window_keeps_its_mask_if_it_shall():
    objective = built(build_expert_1, n_experts=1, deterministic_masks=True).eval()
    with torch.no_grad():
        totals = [float(objective(batch(), generator=seeded(s)).total) for s in (0, 1)]
    assert totals[0] == totals[1]


def test_an_illustration_is_of_the_first_epoch():
    objective = built(build_expert_1, n_experts=1).eval()
    with torch.no_grad():
        shown = objective.illustrate(batch(n_times=1000), generator=seeded())
    assert shown["signal"].shape == shown["reconstruction"].shape == shown["masked"].shape
    assert shown["hidden"].shape == (3, 5)
    assert shown["mask"].shape == (201, 6)
    assert torch.equal(shown["signal"], batch(n_times=1000).signal[0])


def test_the_small_size_is_as_small_as_documented():
    with torch.device("meta"):
        network = MODEL.build("small", pooling="fused")
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(1.06e6, rel=0.01)
    assert network.width == 192


def test_the_stages_say_what_the_code_says():
    paper, reference = (MODEL.stages[0].recipes[name] for name in ("paper", "reference"))
    assert (paper["max_epochs"], paper["train_batch_size"], paper["lr"]) == (50, 256, 1e-3)
    assert (paper["weight_decay"], paper["gradient_clip"]) == (0.05, 5.0)
    assert paper["objective_params"] == {
        "montage": "nineteen", "data_slices": True, "relative": False,
    }  # fmt: skip
    assert reference["objective_params"]["target"] == "masked_input"
    assert not MODEL.stages[-1].recipes  # gates are ours


def test_from_windows_to_a_transformer(tmp_path):
    X = 1e-5 * np.random.default_rng(0).standard_normal((4, 2, 400))
    info = ef.ChannelInfo(["C3", "C4"], 200)
    options = {key: TINY[key] for key in ("features", "heads")}
    pre = ef.make_pretrainer(
        "specmoe", size="small", info=info, max_epochs=4, model_params=options, random_state=0
    ).fit(X, groups=[0, 0, 1, 1])
    assert isinstance(pre, SpecMoEPretrainer)
    assert list(pre.objectives_) == ["expert-1", "expert-2", "expert-3", "gates"]
    path = pre.save(tmp_path / "mine.safetensors")
    for pooling, width in (("reference", 24), ("fused", 24)):
        enc = ef.make_transformer(
            "specmoe", checkpoint=path, info=info, model_params=options, pooling=pooling
        )
        assert enc.fit_transform(X).shape == (4, width)
        network = enc.encoder_.network
        assert all(
            torch.equal(weights(a), weights(b))
            for a, b in zip(network.experts, pre.encoder_.experts, strict=True)
        )
    assert torch.equal(network.gate_LinearT_2.weight, pre.encoder_.gate_LinearT_2.weight)


def test_one_expert_has_fewer_stages():
    pre = SpecMoEPretrainer(size="expert")
    assert [stage.name for stage in pre._model().stages] == ["expert-1", "gates"]
    assert len(SpecMoEPretrainer()._model().stages) == 4


def test_going_on_with_all_stages_keeps_the_experts_just_trained(tmp_path):
    X = 1e-5 * np.random.default_rng(0).standard_normal((4, 2, 400))
    given = {
        "size": "small", "info": ef.ChannelInfo(["C3", "C4"], 200), "max_epochs": 4,
        "model_params": {key: TINY[key] for key in ("features", "heads")}, "device": "cpu",
        "validation_fraction": None,
    }  # fmt: skip
    pre = ef.make_pretrainer("specmoe", **given).fit(X)
    path = pre.save(tmp_path / "stages.safetensors", what="objective")
    again = ef.make_pretrainer("specmoe", checkpoint=path, **given).fit(3 * X)
    for i, (kept, old) in enumerate(zip(again.encoder_.experts, pre.encoder_.experts, strict=True)):
        trained = again.objectives_[f"expert-{i + 1}"].network.experts[i]
        assert torch.equal(weights(kept), weights(trained))
        assert not torch.equal(weights(kept), weights(old))
