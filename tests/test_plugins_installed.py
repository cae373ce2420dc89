"""Plugins as distributions: installed, broken, taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "eegfound-tinymae"

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
    """Somebody else's plugin, the documented example, in a folder of its own."""
    base = tmp_path_factory.mktemp("theirs")
    # Building writes into the source tree: build a copy.
    tree = shutil.copytree(
        EXAMPLE, base / "src", ignore=shutil.ignore_patterns("build", "*.egg-info")
    )
    install(tree, base / "site")
    return base / "site"


def run_python(code, path):
    """Run a few lines with folders added to the import path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)])}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=env, cwd="/")


def test_the_example_is_short():
    lines = [
        line for file in EXAMPLE.glob("eegfound_*/*.py") for line in file.read_text().splitlines()
    ]
    assert len(lines) < 100


def test_new_plugin_writes_the_example(tmp_path):
    command("new-plugin", "tinymae", "--folder", tmp_path / "tinymae")
    written = [p.relative_to(tmp_path / "tinymae") for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) == 5
    for place in written:
        assert (tmp_path / "tinymae" / place).read_text() == (EXAMPLE / place).read_text(), place
    again = command("new-plugin", "tinymae", "--folder", tmp_path / "tinymae", check=False)
    assert again.returncode == 2
    assert "--folder" in again.stderr
    assert "lower-case" in command("new-plugin", "Mine", check=False).stderr


def test_new_plugin_works_under_its_new_name(tmp_path):
    command("new-plugin", "my-model", "--folder", tmp_path / "src")
    install(tmp_path / "src", tmp_path / "site")
    listed = json.loads(command("models", "--json", path=[tmp_path / "site"]).stdout)
    assert "my-model" in {model["name"] for model in listed}
    code = """
        import numpy as np, eegfound as ef
        X = 1e-5 * np.random.default_rng(0).standard_normal((4, 256))
        print(ef.make_transformer("my-model", checkpoint=None).fit_transform(X).shape)
    """
    run_python(code, [tmp_path / "site"])


def test_journey_12_someone_elses_model(theirs, tmp_path):
    assert "tinymae" in command("models", path=[theirs]).stdout
    passed = command("conformance", "tinymae", EXAMPLE / "golden", path=[theirs])
    assert "tokens" in passed.stdout
    with np.load(EXAMPLE / "golden" / "width32.npz") as stored:
        arrays = dict(stored)
    arrays["tokens"][0, 0, 0] += 1e-3
    np.savez(tmp_path / "width32.npz", **arrays)
    missed = command("conformance", "tinymae", tmp_path, path=[theirs], check=False)
    assert missed.returncode == 1
    code = """
        import numpy as np, eegfound as ef
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        X, y, groups, info = ef.datasets.load_sample()
        X, y, groups = X[::12], y[::12], groups[::12]
        enc = ef.make_transformer("tinymae", info=info, checkpoint=None)
        pipe = make_pipeline(enc, StandardScaler(), LogisticRegression())
        scores = cross_val_score(pipe, X, y, groups=groups, cv=GroupKFold(3))
        assert scores.shape == (3,) and np.isfinite(scores).all(), scores
        clf = ef.make_classifier("tinymae", info=info, checkpoint=None, tuning="full", max_epochs=2)
        assert set(clf.fit(X, y).predict(X)) <= set(y)
    """
    run_python(code, [theirs])


@pytest.mark.parametrize("scikit_learn", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_example_conforms(theirs, scikit_learn):
    code = f"""
        import warnings
        from eegfound.testing import check_model
        warnings.simplefilter("ignore")
        done = check_model("tinymae", scikit_learn={scikit_learn})
        assert len(done) > (150 if {scikit_learn} else 15)
    """
    run_python(code, [theirs])


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
