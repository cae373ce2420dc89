"""Who is at work on which trial, and which trials lost their worker.

Optuna's heartbeats exist for databases only and run in ``Study.optimize``
only. The signs of life here are attributes of trials, so that every storage
has them; no clock of another computer is read.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

WORKER = "eegfound:worker"
BEAT = "eegfound:beat"
PLACE = "eegfound:place"
#: Seconds after which a trial without any worker's sign counts as lost.
UNSIGNED = 20.0
#: How a trial ended that has no score: "error", "surplus" or "interrupted".
#: A failed trial without an outcome lost its worker.
OUTCOME = "eegfound:outcome"


def _machine() -> str | None:
    """Return what processes must share to see each other's ids; None if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Return when a process started; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]  # a zombie works no more


def this_worker() -> dict[str, Any]:
    """Return what tells this process from all others."""
    return {
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "run": uuid.uuid4().hex,
    }


def is_gone(worker: Any) -> bool:
    """Say whether a worker of this computer surely no longer lives."""
    if not isinstance(worker, dict) or not worker.get("machine"):
        return False
    return worker["machine"] == _machine() and _started(worker["pid"]) != worker["started"]


@contextmanager
def signs_of_life(trial: optuna.Trial, worker: dict[str, Any], every: float) -> Iterator[None]:
    """Mark a trial as being worked on, again and again while the block runs.

    Parameters
    ----------
    trial : optuna.Trial
        A running trial.
    worker : dict
        From :func:`this_worker`.
    every : float
        Seconds between two signs.
    """
    trial.set_user_attr(WORKER, worker)
    done = Event()

    def beat() -> None:
        count = 0
        while not done.wait(every):
            count += 1
            try:
                trial.set_user_attr(BEAT, count)
            except Exception:  # a database that is away for a moment, or the trial's end
                continue

    thread = Thread(target=beat, name=f"eegfound-trial-{trial.number}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class LostTrials:
    """Finds running trials whose worker is gone and fails them.

    Parameters
    ----------
    study : optuna.Study
        Shared with other workers.
    grace_period : float
        Seconds without a sign of life after which a worker of another
        computer counts as gone. Workers of this one are looked up.
    """

    def __init__(self, study: optuna.Study, grace_period: float) -> None:
        self.study, self.grace_period = study, grace_period
        self._seen: dict[int, tuple[Any, float]] = {}

    def sweep(self) -> list[int]:
        """Fail lost trials.

        Returns
        -------
        list of int
            Their numbers.
        """
        lost = []
        now = time.monotonic()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            sign = (None if worker is None else worker.get("run"), trial.user_attrs.get(BEAT))
            last, since = self._seen.get(trial.number, (None, now))
            if sign != last:
                since = now
            self._seen[trial.number] = (sign, since)
            # A worker signs right after it has asked for parameters.
            grace = min(self.grace_period, UNSIGNED) if worker is None else self.grace_period
            if (is_gone(worker) or now - since > grace) and fail(self.study, trial.number):
                lost.append(trial.number)
        return lost


def fail(study: optuna.Study, number: int) -> bool:
    """Fail a running trial; False if another worker was faster."""
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):  # it is finished
        return False
    return True


def standing(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials that count, ordered by number.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        All trials of a study.

    Returns
    -------
    list of FrozenTrial
        Completed and pruned trials, and those that failed by an error. A
        trial that lost its worker does not count, another one takes its place;
        but parameters that lost two workers (out of memory?) count as failed.
    """
    counted = []
    losses: dict[str, int] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            counted.append(trial)
        elif trial.state == TrialState.FAIL:
            outcome = trial.user_attrs.get(OUTCOME)
            if outcome == "error":
                counted.append(trial)
            elif outcome is None and trial.user_attrs.get(WORKER):
                key = repr(sorted(trial.params.items()))
                losses[key] = losses.get(key, 0) + 1
                if losses[key] == 2:
                    counted.append(trial)
    return counted


def before(number: int, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials before a given one that count or may still count."""
    earlier = [t for t in trials if t.number < number]
    running = [t for t in earlier if t.state == TrialState.RUNNING]
    return sorted([*standing(earlier), *running], key=lambda t: t.number)


def free_place(number: int, trials: Sequence[FrozenTrial]) -> int:
    """Return the place of a new trial in its study.

    Parameters
    ----------
    number : int
        Of the new trial.
    trials : sequence of FrozenTrial
        All trials of the study.

    Returns
    -------
    int
        The least place that no trial before it has. The place of a trial that
        lost its worker is free again.
    """
    earlier = before(number, trials)
    taken = {t.user_attrs[PLACE] for t in earlier if PLACE in t.user_attrs}
    # One that has just been asked for has not written its place down yet, but
    # it counts the same way.
    for _ in range(sum(PLACE not in t.user_attrs for t in earlier) + 1):
        place = next(p for p in range(len(earlier) + 1) if p not in taken)
        taken.add(place)
    return place
