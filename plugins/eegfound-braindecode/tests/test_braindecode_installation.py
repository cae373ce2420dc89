"""Listing without importing, and what a user is told when braindecode does not work.

Each scenario runs in a process of its own with a made-up ``braindecode`` (and
``torchaudio``) first on the path, so these tests need neither.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import pytest

HIDE = """
    import importlib.abc, importlib.metadata, sys

    class Hide(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "braindecode":
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Hide())
"""


class World:
    """A folder of made-up packages, first on the path of a new process."""

    def __init__(self, folder):
        self.folder = folder

    def package(self, name, version, files):
        info = self.folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for path, text in files.items():
            place = self.folder / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(textwrap.dedent(text))

    def braindecode(self, version="1.8.1", models=("cbramod", "biot"), body=""):
        files = {f"models/{name}.py": "" for name in models}
        uses = "from torchaudio.functional import lfilter\nimport torchaudio.transforms as ta\n"
        self.package(
            "braindecode", version,
            {"__init__.py": "", "models/__init__.py": uses + textwrap.dedent(body), **files},
        )  # fmt: skip

    def torchaudio(self, version="2.11.0", *, body):
        self.package("torchaudio", version, {"__init__.py": body})

    def run(self, code, *, hide=False, **environ):
        path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
        others = [e.name for e in entry_points(group="eegfound") if e.name != "braindecode"]
        environ["EEGFOUND_DISABLE_PLUGINS"] = ",".join(others)
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HIDE if hide else "") + textwrap.dedent(code)],
            env={**os.environ, "PYTHONPATH": path, **environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


BROKEN = """
    raise OSError("Could not load this library: /there/torchaudio/lib/_torchaudio.abi3.so")
"""
LISTING = """
    import json, sys
    from eegfound.models import registry
    print(json.dumps({
        "models": list(registry.models()),
        "records": {r.name: [r.status, r.reason] for r in registry.records()},
        "notes": {n: list(m.notes) for n, m in registry.models().items()},
        "loaded": [n for n in ("torch", "braindecode", "torchaudio") if n in sys.modules],
    }))
"""
ASKING = """
    import json
    import eegfound
    try:
        eegfound.make_transformer("bd-cbramod")
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
FIRST_USE = """
    import json, sys, warnings
    from eegfound_braindecode.importing import braindecode_models
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            module, error = braindecode_models(), None
        except Exception as fault:
            module, error = None, fault
    told = {
        "error": error and [type(error).__name__, str(error)],
        "warnings": [[w.category.__name__, str(w.message)] for w in caught],
        "left": [n for n in sys.modules if n.split(".")[0] in ("torchaudio", "braindecode")],
    }
    if module is not None:
        try:
            module.lfilter(1)
        except Exception as fault:
            told["used"] = [type(fault).__name__, str(fault)]
        told["again"] = braindecode_models() is module
    print(json.dumps(told))
"""


def test_without_braindecode_nothing_is_listed_and_the_reason_is_known(world):
    told = world.run(LISTING, hide=True)
    assert not [name for name in told["models"] if name.startswith("bd-")]
    status, reason = told["records"]["braindecode"]
    assert status == "broken"
    assert "pip install 'eegfound-braindecode[braindecode]'" in reason
    assert "bd-cbramod" in reason
    assert told["loaded"] == []


def test_asking_for_a_model_without_braindecode_says_what_to_type(world):
    kind, text = world.run(ASKING, hide=True)
    assert kind == "ModelNotFoundError"
    assert "pip install 'eegfound-braindecode[braindecode]'" in text


def test_the_installed_release_decides_what_is_listed_and_is_not_imported(world):
    world.braindecode(models=("cbramod", "biot", "brand_new"), body="raise SystemExit('imported')")
    told = world.run(LISTING)
    listed = [name for name in told["models"] if name.startswith("bd-")]
    assert listed == ["bd-biot", "bd-biot-16", "bd-cbramod"]
    assert told["records"]["braindecode"] == ["ok", ""]
    assert told["loaded"] == []


def test_an_old_release_is_refused_with_the_command(world):
    world.braindecode(version="1.4.0")
    status, reason = world.run(LISTING)["records"]["braindecode"]
    assert status == "broken"
    assert "braindecode 1.4.0 is installed but 1.8 or newer" in reason
    assert "pip install -U 'braindecode>=1.8,<2'" in reason


def test_a_torchaudio_that_will_not_load_is_noted_in_the_listing(world):
    world.braindecode()
    world.torchaudio(body=BROKEN)
    world.package("torch", "2.13.0+cpu", {})
    note = world.run(LISTING)["notes"]["bd-cbramod"][-1]
    assert "torchaudio 2.11.0 is not a CPU build but torch 2.13.0+cpu is" in note
    assert (
        "pip install --force-reinstall --no-deps torchaudio==2.11.0 "
        "--index-url https://download.pytorch.org/whl/cpu" in note
    )
    assert "does not need it" in note


def test_a_fitting_torchaudio_is_not_mentioned(world):
    world.braindecode()
    world.torchaudio("2.13.0+cpu", body="")
    world.package("torch", "2.13.0+cpu", {})
    assert not any("torchaudio" in note for note in world.run(LISTING)["notes"]["bd-cbramod"])


def test_a_broken_torchaudio_is_stood_in_for_and_announced(world):
    world.braindecode()
    world.torchaudio(body=BROKEN)
    told = world.run(FIRST_USE)
    assert told["error"] is None
    [[category, text]] = told["warnings"]
    assert category == "TorchaudioWarning"
    for part in ("_torchaudio.abi3.so", "same numbers", "--index-url https://download.pytorch.org"):
        assert part in text
    # The placeholder is gone: whoever needs torchaudio gets the real error, not an empty module.
    assert not [name for name in told["left"] if name.startswith("torchaudio")]
    kind, text = told["used"]
    assert kind == "BraindecodeUnavailableError"
    assert "torchaudio.functional.lfilter was called" in text
    assert "_torchaudio.abi3.so" in text
    assert told["again"]


def test_the_stand_in_can_be_refused(world):
    world.braindecode()
    world.torchaudio(body=BROKEN)
    told = world.run(FIRST_USE, EEGFOUND_BRAINDECODE_TORCHAUDIO="require")
    kind, text = told["error"]
    assert kind == "BraindecodeUnavailableError"
    assert "_torchaudio.abi3.so" in text
    assert "pip install --force-reinstall --no-deps torchaudio==2.11.0" in text
    assert told["left"] == []


def test_a_working_torchaudio_is_used(world):
    world.braindecode()
    world.torchaudio(body="")
    (world.folder / "torchaudio" / "functional.py").write_text("def lfilter(x): return x + 1\n")
    (world.folder / "torchaudio" / "transforms.py").write_text("")
    told = world.run(FIRST_USE)
    assert told["error"] is None
    assert told["warnings"] == []
    assert "used" not in told
    assert "torchaudio.functional" in told["left"]


@pytest.mark.parametrize(
    ("body", "reason", "remedy"),
    [
        ("import no_such_package", "No module named 'no_such_package'", "pip install no_such_"),
        ("raise RuntimeError('numpy is too new')", "numpy is too new", "pip install 'eegfound-"),
    ],
)
def test_any_other_fault_is_told_with_a_remedy(world, body, reason, remedy):
    world.braindecode(body=body)
    world.torchaudio(body="")
    (world.folder / "torchaudio" / "functional.py").write_text("lfilter = None\n")
    (world.folder / "torchaudio" / "transforms.py").write_text("")
    told = world.run(FIRST_USE)
    kind, text = told["error"]
    assert kind == "BraindecodeUnavailableError"
    assert reason in text
    assert remedy in text
    assert not [name for name in told["left"] if name.startswith("braindecode")]
