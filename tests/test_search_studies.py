"""Studies that outlive a process: files, databases, killed workers."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score

from eegfound.base import SpecError
from eegfound.search import OptunaSearchCV, open_storage
from eegfound.search.journal import cut_half_line
from eegfound.search.workers import OUTCOME, WORKER, standing
from tests.helpers_search import X, make, y


def places(tmp_path):
    return {
        "sqlite": f"sqlite:///{tmp_path / 'study.db'}",
        "journal": f"journal:{tmp_path / 'study.journal'}",
    }


def start(storage, n_trials, seconds, log, partner=""):
    """Run a worker in a process of its own, which waits in its first fit for the partner's log."""
    code = "from tests.helpers_search import main; main()"
    own = {
        "SLOW_SECONDS": str(seconds),
        "SLOW_LOG": str(log),
        "SLOW_PARTNER": str(partner),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, storage, str(n_trials)],
        env={**os.environ, **own},
        cwd=Path(__file__).parent.parent,
    )


def wait_for(condition, worker, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert worker.poll() is None, "the worker ended by itself"
        assert time.monotonic() < end
        time.sleep(0.02)


def fits(log):
    return log.read_text().splitlines() if log.exists() else []


def values(search):
    return sorted(t.params["a"] for t in search.trials_)


@pytest.mark.parametrize("kind", [pytest.param("sqlite", marks=pytest.mark.slow), "journal"])
def test_killed_half_way_and_started_again(kind, tmp_path, monkeypatch):
    storage, log = places(tmp_path)[kind], tmp_path / "fits"
    whole = make(None, 6, study_name=None).fit(X, y)
    monkeypatch.setenv("SLOW_LOG", str(log))
    worker = start(storage, 6, 0.15, log)
    wait_for(lambda: len(fits(log)) >= 4, worker)  # two trials are finished, a third may run
    worker.kill()  # not waited for: a zombie is not alive
    before = fits(log)
    again = make(storage, 6, grace_period=3.0).fit(X, y)
    worker.wait()
    # One that was killed before it had signed is replaced at the end.
    assert values(again) == values(whole)
    for key in ("mean_test_score", "split1_test_score"):
        assert sorted(again.cv_results_[key]) == sorted(whole.cv_results_[key])
    assert again.best_params_ == whole.best_params_
    finished_before = max(0, len(before) - 1) // 2  # two folds each
    assert len(fits(log)) - len(before) <= 2 * (6 - finished_before + 1)
    states = Counter(t.state.name for t in again.study_.trials)
    assert states["RUNNING"] == 0
    assert states["COMPLETE"] == 6
    count = len(fits(log))
    third = make(storage, 6).fit(X, y)  # nothing is left to do
    assert len(fits(log)) == count
    assert third.best_params_ == whole.best_params_
    loaded = pickle.loads(pickle.dumps(third))
    assert loaded.__dict__["_study"] is None
    assert len(loaded.study_.trials) == len(third.study_.trials)


def test_more_trials_later_are_those_of_one_long_search(tmp_path):
    storage = places(tmp_path)["journal"]
    for n_trials in (3, 14):
        parts = make(storage, n_trials).fit(X, y)
    whole = make(None, 14, study_name=None).fit(X, y)
    assert [t.params for t in parts.trials_] == [t.params for t in whole.trials_]
    assert len({t.params["a"] for t in parts.trials_}) == 14


def test_ctrl_c_leaves_no_running_trial(tmp_path):
    storage = places(tmp_path)["journal"]

    class Stop(list):
        def __call__(self, study, trial):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(storage, 4, callbacks=[Stop()]).fit(X, y)

    class Pressed(LogisticRegression):
        pressed = True

        def fit(self, X, y):
            if Pressed.pressed:
                Pressed.pressed = False
                raise KeyboardInterrupt
            return super().fit(X, y)

    def search():
        return OptunaSearchCV(
            Pressed(), {"C": [1.0, 2.0]}, n_trials=2, cv=2, storage=storage, study_name="pressed"
        )

    with pytest.raises(KeyboardInterrupt):
        search().fit(X, y)
    done = search().fit(X, y)
    assert [t.state.name for t in done.study_.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert len(done.trials_) == 2


def test_another_question_under_the_same_name(tmp_path):
    storage = places(tmp_path)["journal"]
    base = {"n_trials": 1, "cv": 2, "storage": storage, "study_name": "mine", "random_state": 0}

    def search(estimator=None, space=None, **params):
        model = LogisticRegression() if estimator is None else estimator
        return OptunaSearchCV(model, space or {"C": [1.0, 2.0]}, **(base | params))

    search().fit(X, y)
    search(n_jobs=2, verbose=0, n_trials=2).fit(X, y)  # same question
    changed = {
        "X, y": lambda: search().fit(X + 1, y),
        "the folds": lambda: search(cv=3).fit(X, y),
        "the estimator": lambda: search(LogisticRegression(tol=0.1)).fit(X, y),
        "scoring": lambda: search(scoring="roc_auc").fit(X, y),
        "param_distributions": lambda: search(space={"C": [1.0, 3.0]}).fit(X, y),
    }
    for words, call in changed.items():
        with pytest.raises(SpecError, match=f"'mine'.*{words}.*study_name"):
            call()
    with pytest.raises(SpecError, match="nested"):
        cross_val_score(search(error_score="raise"), X, y, cv=2, error_score="raise")
    shuffled = {"cv": KFold(2, shuffle=True), "study_name": "shuffled"}
    search(**shuffled).fit(X, y)
    with pytest.raises(SpecError, match="without random_state"):
        search(**shuffled).fit(X, y)
    fresh = search(study_name=None)
    assert fresh.fit(X, y).study_name_ != fresh.fit(X, y).study_name_


def test_studies_of_others(tmp_path):
    storage = open_storage(places(tmp_path)["journal"])
    optuna.create_study(storage=storage, study_name="killed", direction="minimize")
    with pytest.raises(SpecError, match="MINIMIZE"):
        make(storage, 1).fit(X, y)
    optuna.delete_study(storage=storage, study_name="killed")
    study = optuna.create_study(storage=storage, study_name="killed", direction="maximize")
    study.enqueue_trial({"a": 0.25})
    done = make(storage, 2).fit(X, y)  # the user's own suggestion comes first
    assert done.trials_[0].params == {"a": 0.25}
    optuna.delete_study(storage=storage, study_name="killed")
    study = optuna.create_study(storage=storage, study_name="killed", direction="maximize")
    study.tell(study.ask(), 1.0)
    with pytest.raises(SpecError, match="another program"):
        make(storage, 1).fit(X, y)


def test_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_storage("a.log"), optuna.storages.JournalStorage)
    assert isinstance(open_storage(tmp_path / "deep" / "b.journal"), optuna.storages.JournalStorage)
    for wrong in ("study.db", 3):
        with pytest.raises(SpecError, match="storage="):
            open_storage(wrong)
    with pytest.warns(UserWarning, match="without storage"):
        make(None, 1).fit(X, y)


def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path):
    storage = places(tmp_path)["journal"]
    make(storage, 2).fit(X, y)
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    assert len(make(storage, 3).fit(X, y).trials_) == 3
    path.write_bytes(b"x" * 10_000)
    cut_half_line(str(path))
    assert path.read_bytes() == b""


def test_parameters_that_kill_two_workers_count_as_failed():
    def trial(number, a, state, **attrs):
        return optuna.trial.create_trial(
            state=state, params={"a": a}, user_attrs=attrs,
            value=0.0 if state == optuna.trial.TrialState.COMPLETE else None,
            distributions={"a": optuna.distributions.FloatDistribution(0, 1)},
        )  # fmt: skip

    state = optuna.trial.TrialState
    trials = [
        trial(0, 0.1, state.FAIL, **{WORKER: {"pid": 1}}),
        trial(1, 0.1, state.FAIL, **{WORKER: {"pid": 2}}),
        trial(2, 0.2, state.COMPLETE),
        trial(3, 0.3, state.FAIL, **{WORKER: {"pid": 2}}),
        trial(4, 0.4, state.FAIL, **{WORKER: {"pid": 2}, OUTCOME: "interrupted"}),
        trial(5, 0.5, state.FAIL, **{WORKER: {"pid": 2}, OUTCOME: "error"}),
    ]
    for number, each in enumerate(trials):
        each.number = number
    assert [t.number for t in standing(trials)] == [1, 2, 5]


def test_a_silent_worker_elsewhere_is_given_up(tmp_path):
    storage = open_storage(places(tmp_path)["journal"])
    make(storage, 1).fit(X, y)
    study = optuna.load_study(storage=storage, study_name="killed")
    trial = study.ask()
    trial.set_user_attr(WORKER, {"machine": "another", "pid": 1, "started": "0", "run": "x"})
    began = time.monotonic()
    done = make(storage, 2, grace_period=1.0).fit(X, y)
    assert len(done.trials_) == 2
    assert time.monotonic() - began >= 1.0  # it had its time to give a sign of life
    assert study.trials[1].state.name == "FAIL"


def two_workers(storage, tmp_path):
    """Two workers on one study, one of which is killed; then nothing is lost."""
    logs = [tmp_path / "one", tmp_path / "two"]
    first = start(storage, 9, 0.1, logs[0], partner=logs[1])
    second = start(storage, 9, 0.1, logs[1], partner=logs[0])
    wait_for(lambda: all(len(fits(log)) >= 3 for log in logs), first, 120)
    first.send_signal(signal.SIGKILL)
    finished = {
        t.number: t.value
        for t in optuna.load_study(storage=open_storage(storage), study_name="killed").trials
        if t.state.name == "COMPLETE"
    }
    assert second.wait(120) == 0
    first.wait()
    done = make(storage, 9, grace_period=3.0).fit(X, y)
    assert len(finished) >= 2
    after = {t.number: t.value for t in done.trials_}
    assert finished.items() <= after.items()
    assert len(done.trials_) == 9
    assert len({t.params["a"] for t in done.trials_}) == 9  # nobody repeats another's trial
    assert all(t.state.is_finished() for t in done.study_.trials)
    assert np.isfinite(done.cv_results_["split1_test_score"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_workers_on_a_file(kind, tmp_path):
    two_workers(places(tmp_path)[kind], tmp_path)


def _programs():
    """Return the folder of PostgreSQL's programs; skip where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    try:
        from importlib.util import find_spec

        spec = find_spec("pgserver")
        if spec is not None and spec.origin:
            folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    except ImportError:
        pass
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    pytest.skip("no PostgreSQL here (apt install postgresql, or pip install pgserver)")


@pytest.fixture
def postgres(tmp_path_factory):
    """A server of our own on a free port; its URL."""
    pytest.importorskip("psycopg2")
    programs = _programs()
    user = None
    if os.name == "posix" and os.geteuid() == 0:  # PostgreSQL does not run as root
        import pwd

        known = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in known), None)
        if user is None:
            pytest.skip("PostgreSQL refuses root, and there is no user to run it as")
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pg") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        if user is not None:
            shutil.chown(folder, user)
        options = {"user": user, "cwd": folder, "capture_output": True, "text": True}
        options["env"] = {**os.environ, "LC_ALL": "C", "HOME": folder}

        def call(name, *arguments):
            done = subprocess.run([programs / name, *arguments], **options)
            if done.returncode:
                pytest.skip(f"PostgreSQL does not start here: {done.stdout} {done.stderr}")

        place = f"{folder}/data"
        call("initdb", "-D", place, "-U", "eeg", "-A", "trust", "--no-sync", "-E", "UTF8")
        flags = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        # With its output in a pipe the server would keep the pipe open.
        call("pg_ctl", "-D", place, "-w", "-o", flags, "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql://eeg@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([programs / "pg_ctl", "-D", place, "-m", "immediate", "stop"], **options)


def test_two_workers_on_postgresql(postgres, tmp_path):
    two_workers(postgres, tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_who_is_gone():
    from eegfound.search.workers import _started, is_gone, this_worker

    me = this_worker()
    assert not is_gone(me)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = {**me, "pid": child.pid, "started": _started(child.pid)}
    assert not is_gone(worker)
    assert not is_gone({**worker, "machine": "another"})
    assert is_gone({**worker, "started": "1"})  # the number was given to a new process
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    assert is_gone(worker)
    child.communicate()
    assert is_gone(worker)
