"""``eegfound pretrain``, on a toy model with two stages."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from eegfound.base import SpecError
from eegfound.cli.app import app
from eegfound.cli.pretrain import epochs_of, hold_out_of, setting_of, subjects_of
from eegfound.models import list_models, registry
from eegfound.models.files import read_metadata
from eegfound.pretraining.session import prepare_folder
from eegfound.testing.toy_pretraining import staged_toy_model
from tests.helpers_corpus import signals, write_fif

#: Five subjects with 24 windows each.
FEW = ("--exclude-subjects", "5-27", "--epochs", "2", "--set", "n_threads=1")


@pytest.fixture(scope="module", autouse=True)
def _model():
    with contextlib.ExitStack() as stack:
        if "staged-toy" not in list_models():  # other tests of pretraining have it too
            stack.enter_context(registry.registered(staged_toy_model()))
        yield


def run(*arguments):
    """Run the command as from a shell."""
    given = ["pretrain", "staged-toy", *map(str, arguments)]
    return CliRunner().invoke(app, given, env={"COLUMNS": "160"})


def tensors(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "staged-toy-small.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that nobody disturbed."""
    out = tmp_path_factory.mktemp("run")
    return out, run("--out", out, "--hold-out", "3", *FEW)


def test_what_options_mean():
    assert epochs_of("") is None
    assert epochs_of("50") == 50
    assert epochs_of("tokenizer=20, masked=5") == {"tokenizer": 20, "masked": 5}
    assert setting_of("betas=(0.9, 0.98)") == ("betas", (0.9, 0.98))
    assert setting_of("optimizer=adamw") == ("optimizer", "adamw")
    assert subjects_of("1-3,S07, 08-10") == ["1", "2", "3", "S07", "08", "09", "10"]
    assert subjects_of("S009-S011,sub-1-sub-2") == ["S009", "S010", "S011", "sub-1", "sub-2"]
    assert subjects_of("sub-01, P3-Q4, 7-3") == ["sub-01", "P3-Q4", "7-3"]
    assert hold_out_of("0.25") == 0.25
    assert hold_out_of("0") == 0
    assert hold_out_of("3") == ["3"]
    assert hold_out_of("3,7-8") == ["3", "7", "8"]
    for wrong in ("many", "a=b"):
        with pytest.raises(SpecError, match="--epochs"):
            epochs_of(wrong)
    for wrong in ("lr", "=3", "a b=3"):
        with pytest.raises(SpecError, match="--set"):
            setting_of(wrong)


def test_it_trains_and_tells_what_was_reached(trained):
    out, done = trained
    assert done.exit_code == 0, done.output
    assert "1 subject(s) held out (sample/3)" in done.output
    assert "tokenizer: epoch 1/1" in done.stderr
    assert "masked: epoch 1/1" in done.stderr
    assert "staged-toy-small.safetensors" in done.output
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {"tokenizer", "masked"}
    assert {row["split"] for row in rows} == {"train", "valid"}
    page = (out / "report.html").read_text()
    for expected in ("Pretraining of staged-toy", "ODC-BY 1.0", "Zyma", "Held out", "Excluded"):
        assert expected in page
    assert page.count("<svg") >= 3


def test_the_weights_know_what_they_were_trained_on_and_are_used_like_others(trained):
    import eegfound as ef
    from eegfound.datasets import load_sample

    out, _ = trained
    path = out / "staged-toy-small.safetensors"
    record = read_metadata(path)["record"]
    assert record["held_out"] == ["sample/3"]
    assert record["datasets"][0]["name"] == "sample"
    assert set(record["datasets"][0]["subjects"]) == {"0", "1", "2", "3", "4"}
    assert "27" in record["excluded"]
    X, _, _, info = load_sample(subjects=[9])
    encoder = ef.make_transformer("staged-toy", checkpoint=path, info=info, on_unknown="drop")
    assert encoder.fit_transform(X[:2]).shape == (2, 16)


def test_what_a_checkpoint_has_seen_stays_in_the_record(tmp_path, no_report):
    import numpy as np

    import eegfound as ef

    info = ef.ChannelInfo(("C3", "Cz", "C4"), 200.0)
    X = 1e-5 * np.random.default_rng(0).standard_normal((8, 3, 400))
    pre = ef.make_pretrainer("staged-toy", info=info, max_epochs=2, validation_fraction=["3"])
    path = pre.fit(X, groups=[0, 0, 1, 1, 2, 2, 3, 3]).save(tmp_path / "before.safetensors")
    done = run("--out", tmp_path / "o", "--checkpoint", path, "--hold-out", "2,3", *FEW)
    assert done.exit_code == 0, done.output
    record = read_metadata(tmp_path / "o" / "staged-toy-small.safetensors")["record"]
    seen = {each["name"]: each for each in record["datasets"]}
    assert list(seen) == ["array", "sample"]
    assert seen["array"]["subjects"] == ["0", "1", "2", "3"]
    assert (seen["array"]["licence"], seen["sample"]["licence"]) == ("", "ODC-BY 1.0")
    assert record["held_out"] == ["3", "sample/2", "sample/3"]


def test_other_data_in_a_finished_folder_are_refused(tmp_path, no_report):
    def prepare(*people):
        for person in people:
            write_fif(tmp_path / "raw" / f"sub-{person}_raw.fif", signals(seed=person))
        store = ["--out", str(tmp_path / "store"), "--dataset", "mine"]
        assert CliRunner().invoke(app, ["prepare", str(tmp_path / "raw"), *store]).exit_code == 0

    prepare(1, 2)
    command = ("--data", tmp_path / "store", "--out", tmp_path / "o", "--window", "2",
               "--epochs", "2", "--set", "n_threads=1")  # fmt: skip
    assert run(*command).exit_code == 0
    written = tensors(tmp_path / "o")
    asked = json.loads((tmp_path / "o" / "run.json").read_text())
    prepare(3)
    again = run(*command)
    assert isinstance(again.exception, SpecError)
    assert "the data have changed since" in str(again.exception)
    assert all((value == written[name]).all() for name, value in tensors(tmp_path / "o").items())
    # A folder of an earlier version knows no digest: it goes on, and has one from then on.
    digest = asked.pop("digest")
    (tmp_path / "o" / "run.json").write_text(json.dumps(asked))
    prepare_folder(tmp_path / "o", asked | {"digest": digest}, fresh=False)
    assert json.loads((tmp_path / "o" / "run.json").read_text())["digest"] == digest


def test_from_a_folder_of_recordings_to_weights(tmp_path, no_report):
    for subject in range(4):
        write_fif(tmp_path / "raw" / f"sub-{subject:02}_raw.fif", signals(seed=subject))
    (tmp_path / "raw" / "sub-09_raw.fif").write_bytes(b"no recording")
    store, out = tmp_path / "store", tmp_path / "run"
    made = CliRunner().invoke(
        app, ["prepare", str(tmp_path / "raw"), "--out", str(store), "--dataset", "mine"]
    )
    assert "sub-09" in made.output
    options = ("--data", store, "--out", out, "--window", "2", "--hold-out", "mine/3")
    done = run(*options, "--exclude-subjects", "mine/2", "--epochs", "2", "--set", "n_threads=1")
    assert done.exit_code == 0, done.output
    record = read_metadata(out / "staged-toy-small.safetensors")["record"]
    (mine,) = record["datasets"]
    assert (mine["name"], sorted(mine["subjects"])) == ("mine", ["0", "1", "3"])
    assert record["held_out"] == ["mine/3"]
    assert "mine/2" in record["excluded"]
    assert mine["hours"] == pytest.approx(60 / 3600, rel=0.15)
    again = run(*options, "--exclude-subjects", "mine/2", "--epochs", "2", "--set", "n_threads=1")
    assert again.exit_code == 0, again.output


@pytest.fixture
def no_report(monkeypatch):
    """Leave the report out where it is not looked at: its figures take a second or two."""
    monkeypatch.setattr("eegfound.pretraining.session.write_report", lambda path, *_, **__: path)


@pytest.mark.usefixtures("no_report")
def test_a_finished_training_is_read_back(trained):
    out, _ = trained
    before = tensors(out), (out / "metrics.jsonl").read_bytes()
    done = run("--out", out, "--hold-out", "3", *FEW, "--json")
    told = json.loads(done.stdout)
    assert {(row["stage"], row["measure"]) for row in told["reached"]} >= {("masked", "total")}
    assert (out / "metrics.jsonl").read_bytes() == before[1]
    assert all((value == before[0][name]).all() for name, value in tensors(out).items())


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_training_goes_on_to_the_same_weights(trained, tmp_path):
    from skorch.callbacks import Callback

    from eegfound.estimators._observers import watching

    class Stop(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if net.stage == "masked" and net.position_.step == 3:
                raise KeyboardInterrupt

    command = ("--out", tmp_path, "--hold-out", "3", *FEW, "--set", "save_every=2")
    with watching(Stop()):
        stopped = run(*command)
    assert stopped.exit_code != 0
    assert not list(tmp_path.glob("*.safetensors"))
    done = run(*command)
    assert done.exit_code == 0, done.output
    whole = tensors(trained[0])
    assert all((value == whole[name]).all() for name, value in tensors(tmp_path).items())

    def losses(folder):
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]

    assert losses(tmp_path) == losses(trained[0])


def test_a_folder_is_for_one_training(trained):
    out, _ = trained
    other = run("--out", out, "--hold-out", "3", *FEW, "--lr", "0.5")
    assert isinstance(other.exception, SpecError)
    assert "lr was None, is 0.5" in str(other.exception)
    # What cannot change the result may change.
    asked = json.loads((out / "run.json").read_text())
    prepare_folder(out, asked | {"device": "cuda:1", "n_workers": 3}, fresh=False)
    with pytest.raises(SpecError, match="random_state was 0, is 1"):
        prepare_folder(out, asked | {"random_state": 1}, fresh=False)


def test_a_fresh_start_forgets_the_state(tmp_path):
    (tmp_path / "state").mkdir()
    for name in ("state/a.pretraining.pt", "metrics.jsonl", "mine.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(SpecError, match="damaged"):
        prepare_folder(tmp_path, {"lr": 1}, fresh=False)
    prepare_folder(tmp_path, {"lr": 1}, fresh=True)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["mine.txt", "run.json"]
    with pytest.raises(SpecError, match="written to"):
        prepare_folder(tmp_path / "mine.txt", {"lr": 1}, fresh=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "weight_decy=1"), "Did you mean 'weight_decay'"),
        (("--set", "metrics_file=x"), "not for the command line"),
        (("--data", "smple"), "sample"),
        (("--data", __file__), "eegfound prepare"),
        (("--exclude-subjects", "99"), "99"),
        (("--hold-out", "77"), "77"),
        (("--stages", "third"), "third"),
    ],
)
def test_mistakes_name_the_option(tmp_path, options, words):
    done = run("--out", tmp_path / "o", *options)
    assert isinstance(done.exception, SpecError), done.output
    assert words in str(done.exception)


def test_only_the_first_process_speaks(tmp_path, monkeypatch, capsys):
    from eegfound.cli import _output, main

    for console in (_output.console, _output.errors):
        monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setenv("RANK", "1")
    arguments = ["pretrain", "staged-toy", "--out", str(tmp_path / "o"), "--data", "nothing"]
    monkeypatch.setattr("sys.argv", ["eegfound", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "o").exists()


def test_a_loss_that_is_no_number_ends_in_one_line(tmp_path):
    done = run("--out", tmp_path / "o", *FEW, "--lr", "1e30", "--set", "lr_schedule=constant")
    assert done.exit_code == 1
    assert "Error: The loss is" in done.stderr or "Error: The gradient" in done.stderr
    assert "Traceback" not in done.output


def test_somebody_who_launched_one_process_is_told(monkeypatch):
    from eegfound.cli.pretrain import _say_alone

    told = []
    monkeypatch.setattr("eegfound.cli.pretrain.say", lambda text, **_: told.append(text))
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("WORLD_SIZE", "2")
    _say_alone()
    assert not told
    monkeypatch.delenv("WORLD_SIZE")
    _say_alone()
    assert "--multi_gpu" in told[0]


SCRIPT = """
from eegfound.cli import main
from eegfound.models import registry
from eegfound.testing.toy_pretraining import staged_toy_model
registry.register(staged_toy_model())
main()
"""


@pytest.mark.slow
def test_two_processes_train_as_one(trained, tmp_path):
    """Under ``accelerate launch``, on CPUs."""
    import numpy as np

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    few = ("--hold-out", "3", *FEW, "--micro-batch-size", "8", "--device", "cpu")
    alone = run("--out", tmp_path / "one", *few)
    assert alone.exit_code == 0, alone.output
    launch = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    launch += " --dynamo_backend no --main_process_port 29643"
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch.split(), str(script),
         "pretrain", "staged-toy", "--out", str(tmp_path / "two"), *few],
        capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Report in") == 1
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert max(np.abs(one[name] - two[name]).max() for name in one) < 1e-4
