"""What the README and the docs say is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_readme_runs():
    pytest.importorskip("eegfound_labram", reason="the README uses the LaBraM plugin")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    done = subprocess.run(
        [sys.executable, "-c", blocks[0]], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert "RandomWeightsWarning" not in done.stderr  # pretrained weights ship with the plugin
    lines = [line for line in done.stdout.splitlines() if "±" in line]
    assert [line.split("  ")[0] for line in lines] == ["LaBraM + LR", "tangent space"]


def test_docs_build_without_warnings(tmp_path):
    pytest.importorskip("sphinx", reason="install the docs extra")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html",
         "-d", tmp_path / "trees", ROOT / "docs", tmp_path / "html"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    api = (tmp_path / "html" / "api.html").read_text()
    assert "FoundationTransformer" in api
    assert (tmp_path / "html" / "plugins.html").exists()


def test_every_hook_and_command_is_documented():
    from eegfound.cli.app import app
    from eegfound.models.hookspecs import HOOKS

    plugins = (ROOT / "docs" / "plugins.md").read_text()
    assert not [hook for hook in HOOKS if f"`{hook}()`" not in plugins]
    start = (ROOT / "docs" / "start.md").read_text()
    assert not [c.name for c in app.registered_commands if f"eegfound {c.name}" not in start]


def test_every_public_name_is_in_the_api_page():
    import eegfound

    api = (ROOT / "docs" / "api.md").read_text()
    names = [n for n in eegfound.__all__ if not n.startswith("_") and n not in eegfound._MODULES]
    assert not [name for name in names if f"eegfound.{name}\n" not in api]


def test_doctests_of_public_docstrings():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--doctest-modules", "-q", "-p", "no:cacheprovider",
         "--pyargs", "eegfound"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30


def test_imports_are_light():
    code = (
        "import sys, eegfound; "
        "heavy = {'torch', 'mne', 'sklearn', 'pandas', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
