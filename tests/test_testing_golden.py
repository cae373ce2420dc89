"""The golden-vector runner, on a made-up model."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import numpy as np
import pytest

from eegfound.base import SpecError
from eegfound.testing import golden
from eegfound.testing.golden import GoldenSkippedError, Tolerance, fill, statistics

META = {"config": "twice the input", "salt": "s1", "shape": [3, 4]}


def reproduce(case):
    x = case.input(case.meta["shape"], 2.0)
    out = {"double": 2 * x, "double_stats": statistics(2 * x), "count": np.array(x.size)}
    if "noise" in case.inputs:
        out["mask"] = case.inputs["noise"] > 0.5
    return out


def stored(**changes):
    case = golden.GoldenCase("any", META, "s1")
    return {**reproduce(case), "meta": np.array(json.dumps(META)), **changes}


@pytest.fixture
def model(monkeypatch):
    """Register a model whose golden module can be filled by the test."""
    from eegfound.models import FoundationModel, InputSpec, registry

    module = types.ModuleType("made_up_golden")
    module.reproduce = reproduce
    module.INPUTS = {"noise"}
    monkeypatch.setitem(sys.modules, "made_up_golden", module)
    declared = FoundationModel(
        name="madeup",
        summary="",
        input=InputSpec(sfreq=100.0, patch_samples=100),
        network="made_up_golden:network",
        sizes={"only": {}},
        default_size="only",
        golden="made_up_golden:reproduce",
    )
    with registry.registered(declared):
        yield module


def run(folder):
    return golden.run_folder("madeup", folder)


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("student.mask_token", (1, 1, 5000), (0.0, 0.5)),
        ("pos_embed", (1, 50, 100), (0.0, 0.5)),
        ("blocks.0.mlp.fc1.weight", (50, 100), (0.0, 0.1)),
        ("conv.weight", (100, 2, 1, 8), (0.0, 0.25)),
        ("norm.weight", (5000,), (1.0, 0.1)),
        ("norm.bias", (5000,), (0.0, 0.1)),
        ("bn.running_mean", (5000,), (0.0, 0.1)),
        ("bn.running_var", (5000,), (1 + 0.1 * np.sqrt(2 / np.pi), 0.1 * np.sqrt(1 - 2 / np.pi))),
    ],
)
def test_filled_weights_have_the_spread_the_rule_says(key, shape, expected):
    x = fill(key, shape, "public")
    assert x.shape == shape
    assert x.dtype == np.float32
    assert x.mean() == pytest.approx(expected[0], abs=0.03)
    assert x.std() == pytest.approx(expected[1], rel=0.05)


def test_weights_depend_on_key_and_salt_only():
    assert np.array_equal(fill("a.bias", (7,), "x"), fill("a.bias", (7,), "x"))
    assert not np.array_equal(fill("a.bias", (7,), "x"), fill("b.bias", (7,), "x"))
    assert not np.array_equal(fill("a.bias", (7,), "x"), fill("a.bias", (7,), "y"))


def test_statistics_are_mean_population_spread_and_length():
    assert statistics([[1.0, 3.0]]).tolist() == pytest.approx([2.0, 1.0, np.sqrt(10)])


def test_filling_a_network_leaves_integers_and_skipped_tensors():
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    bias = network[0].bias.clone()
    shapes = golden.fill_network(network, "s", prefix="net.", skip=["*.0.bias"])
    assert shapes["net.0.weight"] == (2, 3)
    assert torch.equal(network[0].bias, bias)
    assert np.array_equal(network[0].weight.detach(), fill("net.0.weight", (2, 3), "s"))
    assert network[1].num_batches_tracked == 0
    assert (network[1].running_var >= 1).all()


def test_a_faithful_model_passes(model, tmp_path):
    np.savez(tmp_path / "one.npz", **stored())
    noise = np.array([0.2, 0.9])
    np.savez(tmp_path / "two.npz", **stored(noise=noise, mask=noise > 0.5))
    results = run(tmp_path)
    assert [r.case for r in results] == ["one", "two"]
    assert golden.exit_code(results) == 0
    assert {a.name: a.max_abs_diff for a in results[0].arrays} == {
        "double": 0.0, "double_stats": 0.0, "count": 0.0,
    }  # fmt: skip
    assert "all within tolerance" in golden.format_results(results)
    json.dumps([golden.as_dict(r) for r in results], allow_nan=False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("double", lambda a: a + np.float32(2e-5)),
        ("double", lambda a: a[:2]),
        ("double", lambda a: np.where(a == a.max(), np.nan, a)),
        ("double", lambda a: np.where(a == a.max(), np.inf, a)),
        ("double_stats", lambda a: a * 1.001),
        ("count", lambda a: a + 1),
        ("unheard_of", lambda _: np.zeros(3)),
    ],
)
def test_any_change_of_a_stored_output_is_a_miss(model, tmp_path, name, change):
    values = stored()
    values[name] = change(values.get(name))
    np.savez(tmp_path / "one.npz", **values)
    results = run(tmp_path)
    assert [a.name for a in results[0].arrays if not a.ok] == [name]
    assert golden.exit_code(results) == 1
    assert "MISS" in golden.format_results(results)
    json.dumps([golden.as_dict(r) for r in results], allow_nan=False)


def test_the_plugin_never_sees_outputs(model, tmp_path):
    seen = []
    model.reproduce = lambda case: seen.append(case) or reproduce(case)
    noise = np.array([0.2, 0.9])
    np.savez(tmp_path / "one.npz", **stored(noise=noise, mask=noise > 0.5))
    (tmp_path / "manifest_one.json").write_text('{"w": [2, 3], "i": [[4], "int64"]}')
    run(tmp_path)
    (case,) = seen
    assert set(case.inputs) == {"noise"}
    assert set(case.shapes) == {"double", "double_stats", "count", "mask"}
    assert case.shapes["double"] == (3, 4)
    assert case.meta == META
    assert case.manifest() == {"w": (2, 3), "i": (4,)}
    assert case.manifest("other") is None
    fields = (case.meta, case.inputs, case.manifests, case.name, case.salt)
    assert str(stored()["double"][0, 0]) not in repr(fields)


def test_inputs_may_depend_on_what_is_stored(model, tmp_path):
    model.INPUTS = lambda case, shapes: {"mask"} if "noise" not in shapes else {"noise"}
    seen = []
    model.reproduce = lambda case: seen.append(set(case.inputs)) or reproduce(case)
    np.savez(tmp_path / "one.npz", **stored(mask=np.array([True, False])))
    assert golden.exit_code(run(tmp_path)) == 0
    assert seen == [{"mask"}]


def test_a_case_that_raises_does_not_hide_the_others(model, tmp_path):
    np.savez(tmp_path / "a.npz", **stored(meta=np.array(json.dumps({"salt": "s1"}))))
    np.savez(tmp_path / "b.npz", **stored())
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 cut off")
    np.savez(tmp_path / "d.npz", secret=np.array([{"code": 1}], dtype=object))
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "e.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "f.npz", meta=np.array(json.dumps(META)))
    results = {r.case: r for r in run(tmp_path)}
    assert results["b"].ok
    assert "shape" in results["a"].error
    for case in "cde":
        assert f"{case}.npz cannot be read" in results[case].error
    assert "no outputs" in results["f"].error
    assert golden.exit_code(list(results.values())) == 1


def test_json_goldens_are_compared_entry_by_entry(model, tmp_path):
    truth = {"rates": [0.1, 0.2], "params": {"w": {"layer": 1, "scale": 0.5}}}
    model.INPUTS = {"args"}
    model.reproduce = lambda case: truth if case.inputs["args"] == {"n": 2} else {}
    path = tmp_path / "schedule.json"
    (tmp_path / "index.json").write_text("{}")
    path.write_text(json.dumps({"args": {"n": 2}, "note": "as published", **truth}))
    (result,) = run(tmp_path)
    assert result.ok
    assert {a.name for a in result.arrays} == {"rates", "params"}
    for changed in (
        {"w": {"layer": 2, "scale": 0.5}},
        {"w": {"layer": 1, "scale": 0.51}},
        {"w": {"layer": 1}},
        {"v": {"layer": 1, "scale": 0.5}},
    ):
        path.write_text(json.dumps({"args": {"n": 2}, **truth, "params": changed}))
        (result,) = run(tmp_path)
        assert [a.name for a in result.arrays if not a.ok] == ["params"]


def test_tolerances_of_a_plugin(model, tmp_path):
    np.savez(tmp_path / "one.npz", **stored(double=stored()["double"] * np.float32(1 + 1e-3)))
    assert golden.exit_code(run(tmp_path)) == 1
    for bound in (0.1, Tolerance(0.0, relative=2e-3), Tolerance(above=100.0)):
        model.TOLERANCES = {"other:double": 0.0, "o*:doub*": bound}
        assert golden.exit_code(run(tmp_path)) == 0
    model.TOLERANCES = {"double": Tolerance(0.0, relative=1e-4)}
    assert golden.exit_code(run(tmp_path)) == 1


def test_nan_equals_nan(model, tmp_path):
    model.reproduce = lambda case: {"x": np.array([np.nan, 1.0])}
    np.savez(tmp_path / "one.npz", x=np.array([np.nan, 1.0]))
    assert golden.exit_code(run(tmp_path)) == 0
    np.savez(tmp_path / "one.npz", x=np.array([2.0, 1.0]))
    (result,) = run(tmp_path)
    assert not result.ok
    assert golden.as_dict(result)["arrays"][0]["max_abs_diff"] is None


def test_a_skipped_case_is_said_but_not_counted(model, tmp_path):
    def skip_two(case):
        if case.name == "two":
            raise GoldenSkippedError("needs the published file")
        return reproduce(case)

    model.reproduce = skip_two
    np.savez(tmp_path / "two.npz", **stored())
    results = run(tmp_path)
    assert golden.exit_code(results) == 1  # nothing at all was compared
    np.savez(tmp_path / "one.npz", **stored())
    results = run(tmp_path)
    assert golden.exit_code(results) == 0
    assert "needs the published file" in golden.format_results(results)


def test_clear_errors(model, tmp_path, toy):
    with pytest.raises(SpecError, match="is not a folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(SpecError, match="holds no golden vectors"):
        run(tmp_path)
    (tmp_path / "manifest_x.json").write_text("[1]")
    np.savez(tmp_path / "one.npz", **stored())
    with pytest.raises(SpecError, match=r"manifest_x\.json is not a manifest"):
        run(tmp_path)
    with pytest.raises(SpecError, match="'toy' reproduces no golden"):
        golden.run_folder("toy", tmp_path)


def test_results_can_be_followed(model, tmp_path):
    np.savez(tmp_path / "one.npz", **stored())
    seen = []
    results = golden.run_folder("madeup", tmp_path, on_result=seen.append)
    assert seen == results


def test_the_runner_imports_no_torch():
    code = "import sys; from eegfound.testing import golden; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_may_store_more_of_another_files_case(model, tmp_path):
    noise = np.array([0.2, 0.9])
    more = reproduce(golden.GoldenCase("b", META, "s1", inputs={"noise": noise}))
    np.savez(tmp_path / "a.npz", **stored(noise=noise, mask=more["mask"]))
    meta = {"from_file": "a", "salt": "s1"}
    np.savez(tmp_path / "b.npz", mask=more["mask"], double=more["double"], meta=json.dumps(meta))
    assert [result.ok for result in run(tmp_path)] == [True, True]
    meta["from_file"] = "c"
    np.savez(tmp_path / "b.npz", mask=more["mask"], meta=json.dumps(meta))
    assert "c.npz" in run(tmp_path)[1].error
