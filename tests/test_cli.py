"""The commands, on the toy model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from eegfound.base import SpecError
from eegfound.cli import main
from eegfound.cli.app import app
from eegfound.cli.benchmark import names, numbers

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def run(monkeypatch):
    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)

    monkeypatch.setenv("COLUMNS", "200")
    return call


@pytest.fixture
def recordings(tmp_path):
    """Two recordings; the second has an electrode the toy does not know."""
    mne = pytest.importorskip("mne")
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, channels in (("a", ["C3", "Cz"]), ("b", ["C3", "POO9h", "EOG"])):
        info = mne.create_info(channels, 125.0, ["eog" if c == "EOG" else "eeg" for c in channels])
        raw = mne.io.RawArray(
            1e-5 * rng.standard_normal((len(channels), 1300)), info, verbose="error"
        )
        raw.save(folder / f"{name}_raw.fif", verbose="error")
    return folder


def test_models_and_info(run):
    assert "toy" in run("models").output
    listed = json.loads(run("models", "--json").output)
    assert {"name", "sfreq", "checkpoints"} <= set(listed[0])
    shown = run("info", "toy").output
    assert "100 Hz" in shown
    assert "1 s to 4 s" in shown
    assert json.loads(run("info", "toy", "--json").output)["name"] == "toy"


def test_unknown_model_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["eegfound", "info", "nothing"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "No installed plugin offers the model 'nothing'" in told
    assert "Traceback" not in told


def test_plugins(run):
    assert any(r["status"] == "ok" for r in json.loads(run("plugins", "--json").output))


def test_doctor(run, recordings):
    told = run("doctor", recordings / "b_raw.fif", "--model", "toy").output
    assert "toy: can take it" in told
    assert "POO9h" in told
    facts = json.loads(run("doctor", recordings / "a_raw.fif", "--json", "--window", "0.5").output)
    assert facts["sfreq"] == 125
    assert facts["unit_ok"]
    toy = next(m for m in facts["models"] if m["model"] == "toy")
    assert not toy["ok"]
    assert "too short" in toy["problems"][0]


def test_doctor_sees_a_wrong_unit(run, tmp_path):
    import mne

    raw = mne.io.RawArray(
        10 * np.random.default_rng(0).standard_normal((2, 500)),
        mne.create_info(["C3", "C4"], 100.0, "eeg"), verbose="error",
    )  # fmt: skip
    raw.save(tmp_path / "uv_raw.fif", verbose="error", fmt="double")
    told = run("doctor", tmp_path / "uv_raw.fif").output
    assert "it looks like uV" in told


def test_embed_skips_what_fails_and_goes_on(run, recordings, tmp_path):
    import pandas as pd

    (recordings / "c_raw.fif").write_bytes(b"nothing")
    out = tmp_path / "emb.parquet"
    options = ["--model", "toy", "--checkpoint", "none", "--window", "2", "--out", out]
    done = run("embed", recordings, *options)
    assert done.exit_code == 1
    assert "c_raw.fif" in done.stderr
    table = pd.read_parquet(out)
    assert table["file"].nunique() == 2
    assert list(table["onset"][:5]) == [0, 2, 4, 6, 8]
    strict = run("embed", recordings / "b_raw.fif", *options, "--on-unknown", "raise")
    assert "POO9h" in strict.stderr
    assert strict.exit_code == 1


def test_an_interrupted_embedding_goes_on(run, recordings, tmp_path, monkeypatch):
    from eegfound.cli import embed as module

    out = tmp_path / "emb.csv"
    options = ["--model", "toy", "--checkpoint", "none", "--window", "2", "--out", out]
    real, seen = module._embed_one, []

    def stop_at_the_second(recording, *rest):
        if seen:
            raise KeyboardInterrupt
        seen.append(recording.name)
        real(recording, *rest)

    monkeypatch.setattr(module, "_embed_one", stop_at_the_second)
    run("embed", recordings, *options)
    assert seen == ["a_raw.fif"]
    assert not out.exists()
    monkeypatch.setattr(
        module, "_embed_one", lambda r, *rest: (seen.append(r.name), real(r, *rest))
    )
    assert run("embed", recordings, *options).exit_code == 0
    assert seen == ["a_raw.fif", "b_raw.fif"]
    assert len(out.read_text().splitlines()) == 11
    assert not list(tmp_path.glob("*.parts"))


def test_caps_that_differ_share_a_table(run, recordings, tmp_path):
    import pandas as pd

    for name in ("emb.parquet", "emb.csv"):
        done = run(
            "embed", recordings, "--model", "toy", "--checkpoint", "none", "--window", "2",
            "--pooling", "channels", "--out", tmp_path / name,
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
        table = read(tmp_path / name)
        of_cz = table.filter(like=".Cz.")
        assert of_cz.shape == (10, 16)
        assert of_cz[:5].notna().all(axis=None)
        assert of_cz[5:].isna().all(axis=None)


def test_embed_wants_a_table(recordings, run, tmp_path):
    result = run("embed", recordings, "--model", "toy", "--out", tmp_path / "emb.xlsx")
    assert isinstance(result.exception, SpecError)
    assert ".parquet" in str(result.exception)


def test_benchmark(run, tmp_path):
    done = run(
        "benchmark", "--subjects", "0-3", "--models", "none", "--baselines", "log_variance",
        "--cv", "2", "--seeds", "2", "--json", "--out", tmp_path,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert {"log_variance", "dummy"} <= {row["pipeline"] for row in rows}
    with pytest.raises(SpecError, match="no such choice"):
        raise run("benchmark", "--task", "left_right").exception
    with pytest.raises(SpecError, match="are not among"):
        raise run("benchmark", "--models", "none", "--pipelines", "lda").exception


def test_lists_on_the_command_line():
    assert numbers("1-3, 7") == [1, 2, 3, 7]
    assert names(" a, b ,") == ["a", "b"]
    with pytest.raises(SpecError, match="1-70,75"):
        numbers("one")


def test_conformance_of_a_model_without_goldens(run, tmp_path):
    result = run("conformance", "toy", tmp_path)
    assert isinstance(result.exception, SpecError)
