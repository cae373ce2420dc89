"""An edited plugin misses, or is not cached: which source code counts with an embedding."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eegfound.cache import CacheWarning, keys, source
from eegfound.cache import place as cache_place
from tests.helpers_cache import counted
from tests.helpers_toy import eeg

ROOT = Path(__file__).parents[1]
#: A network that multiplies by what another module says.
NET = """
import dataclasses
{imports}
from eegfound.testing.toy import ToyEncoder

class Net(ToyEncoder):
    def forward(self, batch, layer=None):
        tokens = super().forward(batch, layer)
        return dataclasses.replace(tokens, values=tokens.values * {factor})

def build(**config):
    return Net(**config)
"""
#: Encodes without and with a cache, once per code that is executed in between.
PROGRAM = """
import json, os, sys, warnings
import numpy as np
from eegfound.cache import CacheWarning
from eegfound.models import registry
from eegfound.testing.toy import toy_model
from tests.helpers_toy import eeg, encoder

network, front_end, cache, edits = sys.argv[1:5]
told = []
for edit in ["", *json.loads(edits)]:
    exec(edit)
    model = toy_model("mine", network=network, front_end=front_end or None)
    with registry.registered(model), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        made = [encoder(model="mine", cache=c).fit_transform(eeg(4)) for c in (None, cache)]
    warned = any(issubclass(w.category, CacheWarning) for w in heard)
    told.append([float(np.abs(made[0]).sum()), bool(np.array_equal(*made)), warned])
print(json.dumps(told))
"""


@pytest.fixture
def encode(tmp_path):
    """Encode in a fresh process: per edit the sum, whether the cache agrees, whether it warned."""

    def run(network, *edits, front_end=""):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, network, front_end,
             str(tmp_path / "cache"), json.dumps(edits)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "code"), str(ROOT)])},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def write(folder, **files):
    for name, text in files.items():
        path = folder / "code" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for parent in path.parents:
            if parent == folder / "code":
                break
            (parent / "__init__.py").touch()


def test_code_that_is_loaded_again_is_not_cached(tmp_path, encode):
    write(tmp_path, hot=NET.format(imports="FACTOR = 2", factor="FACTOR"))
    edit = (
        "import hot, importlib, pathlib; path = pathlib.Path(hot.__file__); "
        "path.write_text(path.read_text().replace('FACTOR = 2', 'FACTOR = 300')); "
        "importlib.reload(hot)"
    )
    first, second = encode("hot:build", edit)
    assert first[1:] == [True, False]
    assert second[1:] == [True, True]
    assert second[0] > 100 * first[0]
    assert encode("hot:build") == [[second[0], True, False]]  # a fresh process caches it


@pytest.mark.parametrize(
    ("network", "imports", "helper"),
    [
        ("pack.nets.net", "from pack.common.ops import scale", "pack__common__ops"),
        ("pack.nets.net", "from ..common.ops import scale", "pack__common__ops"),
        ("net", "from between import scale", "ops"),
    ],
)
def test_a_helper_elsewhere_counts(network, imports, helper, tmp_path, encode):
    net = {network.replace(".", "__"): NET.format(imports=imports, factor="scale()")}
    sums = []
    for factor in (2, 3, 2):
        text = f"def scale():\n    return {factor}\n"
        write(tmp_path, **net, **{helper: text}, between="from ops import scale")
        ((total, agrees, warned),) = encode(f"{network}:build")
        assert (agrees, warned) == (True, False)
        sums.append(total)
    assert sums[0] == sums[2] < sums[1]


def test_what_makes_a_front_end_counts(tmp_path, encode):
    """The module of its factory, and of the functions that it holds."""
    for factor in (2, 3):
        write(
            tmp_path,
            front=f"""
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import steps
def scaled(signal):
    return signal * {factor}
def make(plan):
    return steps.Lasting(scaled)
""",
            steps="""
class Lasting:
    def __init__(self, step):
        self.parts = {"first": [step]}
    def fit(self, signal, groups=None, sample_weight=None):
        return self
    def transform(self, signal):
        return self.parts["first"][0](signal)
""",
        )
        path = "eegfound.testing.toy:ToyEncoder"
        assert encode(path, front_end="front:make")[0][1:] == [True, False]


def test_modules_of_the_same_folder_that_are_not_imported_do_not_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "code")
    write(tmp_path, lonely="import json\nclass Alone: pass\n", train="import lonely\n")
    alone = importlib.import_module("lonely").Alone()
    monkeypatch.setattr(source, "started_at", time.time)  # as a fresh process sees it
    before = source.code_of(alone)
    write(tmp_path, train="import lonely, json\n")
    source._files.cache_clear()
    assert source.code_of(alone) == before


def test_code_that_was_changed_after_the_start_is_not_cached(tmp_path, monkeypatch):
    X = eeg(4)
    plain = counted().fit_transform(X)
    monkeypatch.setattr(source, "started_at", lambda: 0.0)
    cache_place._told.clear()
    with pytest.warns(CacheWarning, match="restart it"):
        made = counted(cache=tmp_path / "c").fit_transform(X)
    np.testing.assert_array_equal(made, plain)
    assert not (tmp_path / "c").exists()


def test_code_without_a_source_is_not_cached():
    typed = type("Typed", (), {"__module__": "__console__"})
    with pytest.raises(keys.NotCacheable, match="source"):
        source.code_of(typed())


def test_what_encodes_counts_with_its_code():
    """A part that is split off a module of the core must be named there too."""
    no_numbers = {"eegfound.estimators._threads"}
    for name in source.CORE:
        tree = ast.parse(Path(importlib.import_module(name).__file__).read_text())
        used = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        own = {m for m in used if m.startswith(("eegfound.estimators.", "eegfound.preprocessing."))}
        assert own <= {*source.CORE, *no_numbers}, name


def test_the_parts_of_the_core_exist():
    for name in (*source.CORE, *source.BLOCKS):
        assert source._files(name), name
