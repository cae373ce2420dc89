"""``eegfound prepare``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from eegfound.base import SpecError
from eegfound.cli.app import app
from eegfound.corpus import Corpus
from tests.helpers_corpus import signals, write_edf


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 8):
        write_edf(tmp_path / "in" / f"S{number}.edf", signals(seed=number))
    return tmp_path / "in"


def run(*args, code=0):
    result = CliRunner().invoke(app, ["prepare", *map(str, args)])
    if isinstance(result.exception, SpecError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_it_prepares_tells_and_goes_on(folder, tmp_path):
    out = tmp_path / "store"
    options = (
        folder, "--out", out, "--dataset", "lab", "--subject", r"S(\d)", "--sfreq", 50, "--band",
        "0.5-20", "--notch", "60", "--licence", "CC0", "--exclude-subjects", "S8-S8",
    )  # fmt: skip
    assert "2 of 3 files prepared, 1 of excluded subjects" in run(*options)
    corpus = Corpus(out)
    assert corpus.subjects == ["lab/1", "lab/2"]
    assert set(corpus.index["sfreq"]) == {50.0}
    assert "2 done before" in run(*options)
    told = json.loads(run("--info", out, "--json"))
    assert told["record"]["datasets"][0]["licence"] == "CC0"
    assert told["summary"][0]["recordings"] == 2


def test_an_exclusion_that_matches_nobody_is_an_error(folder, tmp_path):
    options = (folder, "--out", tmp_path / "store", "--dataset", "lab", "--subject", r"S(\d)")
    with pytest.raises(SpecError, match=r"\['7', '9'\] match nobody in 'lab', where 1, 2 are"):
        run(*options, "--exclude-subjects", "7-9")
    assert Corpus(tmp_path / "store").subjects == ["lab/1", "lab/2"]
    run(*options, "--exclude-subjects", "S2,8")
    assert Corpus(tmp_path / "store").subjects == ["lab/1"]


def test_failures_are_named_and_make_the_exit_code(folder, tmp_path):
    (folder / "S3.edf").write_bytes(b"garbage")
    out = tmp_path / "store"
    said = run(folder, "--out", out, "--dataset", "lab", code=1)
    assert "S3.edf" in said
    assert "1 failed" in said
    shown = run("--info", out)
    assert "not prepared" in shown
    assert "lab" in shown


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "--info"),
        (("{in}",), "--out"),
        (("{in}", "--out", "x"), "--dataset"),
        (("{in}", "--out", "x", "--dataset", "d", "--band", "low"), "--band"),
        (("{in}", "--out", "x", "--dataset", "d", "--notch", "fifty"), "--notch"),
        (("{in}", "--out", "x", "--dataset", "d", "--max-abs", "high"), "--max-abs"),
        (("{in}", "--out", "x", "--dataset", "d", "--rename", "{in}"), "--rename"),
        (("--info", "{in}"), "no prepared corpus"),
    ],
)
def test_mistakes(folder, options, word):
    with pytest.raises(SpecError, match=word):
        run(*(str(folder) if o == "{in}" else o for o in options))


def test_units_and_names_by_option(folder, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"Fp1": "Fpz"}))
    out = tmp_path / "store"
    run(folder, "--out", out, "--dataset", "d", "--rename", tmp_path / "names.json",
        "--unit", "1", "--max-abs", "none", "--flat-seconds", "none")  # fmt: skip
    assert Corpus(out).index["ch_names"][0][0] == "Fpz"
    assert Corpus(out).index["unit"][0] == "1 V per unit"


def test_listing_commands_and_opening_a_store_load_no_torch(folder, tmp_path):
    run(folder, "--out", tmp_path / "store", "--dataset", "d")
    code = (
        "import sys; from eegfound.corpus import Corpus; import eegfound.cli.app; "
        f"Corpus({str(tmp_path / 'store')!r}).summary(); "
        "assert not {'torch', 'mne', 'sklearn'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
