"""Plugins as distributions: installed, broken, taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "eegfound-{name}"
version = "0.3"

[project.entry-points.eegfound]
{name} = "eegfound_{name}.plugin"

[tool.setuptools]
packages = ["eegfound_{name}"]
"""

PLUGIN = """
import dataclasses
from eegfound.models import hookimpl
from eegfound.models.spec import FoundationModel, InputSpec

MODEL = FoundationModel(
    name="theirmodel",
    summary="Somebody else's model",
    input=InputSpec(sfreq=100, patch_samples=100, unit="uV", scale=0.01, default_channel="Cz",
                    vocabulary=("Fz", "Cz", "Pz", "C3", "C4")),
    network="eegfound_theirmodel.network:build",
    sizes={"base": {}},
    default_size="base",
    golden="eegfound_theirmodel.network:reproduce",
    poolings=("mean", "max", "mean_std", "channels"),
)

@hookimpl
def eegfound_models():
    return [MODEL]
"""

NETWORK = """
import torch
from eegfound.models.network import EncoderNetwork, Tokens
from eegfound.testing.golden import fill_network

class Net(EncoderNetwork):
    width, n_layers = 12, 1

    def __init__(self):
        super().__init__()
        self.patch = torch.nn.Linear(100, 12)
        self.place = torch.nn.Embedding(5, 12)

    def forward(self, batch, layer=None):
        n, c, t = batch.signal.shape
        x = self.patch(batch.signal.reshape(n, c, -1, 100)) + self.place(batch.rows)[None, :, None]
        a = x.shape[2]
        x = x if layer == 0 else torch.tanh(x)
        channels, times = torch.arange(c).repeat_interleave(a), torch.arange(a).repeat(c)
        return Tokens(x.flatten(1, 2), channels, times)

    def layer_index(self, name):
        return 0 if name.startswith("patch") else 1

def build(*, pooling):
    return Net()

def reproduce(case):
    from eegfound.models.network import SignalBatch
    net = Net().eval()
    fill_network(net, case.salt)
    x = torch.from_numpy(case.input(case.meta["shape"], case.meta["input_scale"]))
    with torch.inference_mode():
        tokens = net(SignalBatch(x, torch.tensor(case.meta["rows"])))
    return {"tokens": tokens.values.numpy()}
"""


def source(folder, name, plugin, **files):
    """Write a plugin's source tree."""
    package = folder / f"eegfound_{name}"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name))
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(plugin)
    for file, text in files.items():
        (package / f"{file}.py").write_text(text)
    return folder


def install(tree, target):
    """Install a source tree into a folder, with the real installer."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", target, tree],
        check=True, capture_output=True,
    )  # fmt: skip


def command(*arguments, path=(), check=True):
    """Run the command line with folders added to the import path."""
    env = {
        **os.environ,
        "COLUMNS": "220",
        "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])),
    }
    done = subprocess.run(
        [sys.executable, "-m", "eegfound", *map(str, arguments)],
        capture_output=True, text=True, env=env, cwd="/", check=False,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Somebody else's plugin, installed into a folder of its own."""
    base = tmp_path_factory.mktemp("theirs")
    target = base / "site"
    install(source(base / "src", "theirmodel", PLUGIN, network=NETWORK), target)
    return target


def golden(folder, salt="public"):
    """Write golden vectors of the model above, computed with numpy alone."""
    from eegfound.testing.golden import draw_input, fill

    folder.mkdir()
    shape, rows = (2, 3, 300), [4, 0, 2]
    x = draw_input(shape, salt, scale=0.5).reshape(2, 3, 3, 100)
    weight, bias = fill("patch.weight", (12, 100), salt), fill("patch.bias", (12,), salt)
    place = fill("place.weight", (5, 12), salt)
    tokens = np.tanh(x @ weight.T + bias + place[rows][None, :, None]).reshape(2, 9, 12)
    meta = {"salt": salt, "shape": shape, "input_scale": 0.5, "rows": rows}
    np.savez(folder / "tokens.npz", meta=json.dumps(meta), tokens=tokens.astype(np.float32))
    return folder


def test_journey_12_someone_elses_model(theirs, tmp_path):
    assert "theirmodel" in command("models", path=[theirs]).stdout
    folder = golden(tmp_path / "golden", salt="theirs")
    passed = command("conformance", "theirmodel", folder, path=[theirs])
    assert "tokens" in passed.stdout
    with np.load(folder / "tokens.npz") as stored:
        arrays = dict(stored)
    arrays["tokens"][0, 0, 0] += 1e-3
    np.savez(folder / "tokens.npz", **arrays)
    missed = command("conformance", "theirmodel", folder, path=[theirs], check=False)
    assert missed.returncode == 1
    code = """
        import numpy as np, eegfound as ef
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from eegfound.testing import check_model
        check_model("theirmodel", scikit_learn=False)
        info = ef.ChannelInfo(["C3", "Cz"], 100)
        enc = ef.make_transformer("theirmodel", info=info, checkpoint=None)
        X = 1e-5 * np.random.default_rng(0).standard_normal((8, 2, 200))
        make_pipeline(enc, LogisticRegression()).fit(X, list("ababbaab")).predict(X)
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(theirs), str(ROOT)])}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=env)


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit('bye')", "bye"),
        (
            PLUGIN.replace('default_size="base",', 'default_size="base", api_version=99,'),
            "API version",
        ),
    ],
)
def test_a_broken_plugin_changes_one_line_and_nothing_else(theirs, tmp_path, plugin, reason):
    target = tmp_path / "site"
    install(source(tmp_path / "src", "broken", plugin), target)
    before = json.loads(command("plugins", "--json", path=[theirs]).stdout)
    after = json.loads(command("plugins", "--json", path=[theirs, target]).stdout)
    added = [record for record in after if record not in before]
    assert [record for record in after if record in before] == before
    assert len(added) == 1
    assert added[0]["status"] == "broken"
    assert reason in added[0]["reason"]
    assert added[0]["distribution"] == "eegfound-broken"
    listed = [
        json.loads(command("models", "--json", path=p).stdout) for p in ([theirs], [theirs, target])
    ]
    assert listed[0] == listed[1]


def test_without_plugins_the_core_works(tmp_path):
    """The installed packages without those of any plugin."""
    bare = tmp_path / "site"
    bare.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.lower()
        if (
            not name.startswith(("eegfound_", "eegfound-", "__editable__"))
            and entry.suffix != ".pth"
        ):
            (bare / entry.name).symlink_to(entry)
    code = """
        import importlib.util, eegfound as ef
        assert importlib.util.find_spec("eegfound_labram") is None
        assert ef.list_models() == []
        X, y, groups, info = ef.datasets.load_sample()
        ef.baselines.make_baseline("tangent_space", info=info).fit(X[::20], y[::20]).predict(X[:3])
        try:
            ef.make_transformer("labram")
        except KeyError as error:
            assert "pip install eegfound-labram" in str(error), error
        else:
            raise AssertionError("LaBraM is still there")
    """
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env["PYTHONPATH"] = os.pathsep.join([str(bare), str(ROOT)])
    # -S: no site-packages, so nothing is installed but what the folder holds.
    subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)], check=True, env=env, cwd="/"
    )
    listed = subprocess.run(
        [sys.executable, "-S", "-m", "eegfound", "models"],
        check=True, env=env, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert "No model is installed" in listed.stdout
