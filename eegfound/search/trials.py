"""The loop of a search: ask for parameters, evaluate them, tell the score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from eegfound.search.folds import FoldRunner, Record, keep, mean_score
from eegfound.search.pruning import Judge
from eegfound.search.space import Sampler
from eegfound.search.workers import OUTCOME, LostTrials, before, fail, signs_of_life, standing

#: Seconds between two looks at a study whose last trials others work on.
POLL = 0.2


class TrialLoop:
    """Runs trials of one study until it has enough.

    Parameters
    ----------
    study : optuna.Study
        Perhaps shared with other workers.
    sampler : Sampler
        The space.
    runner : FoldRunner
        Fits and scores.
    metric : callable
        Given the records of a trial, the name of the score that counts.
    n_trials : int
        Trials of the study, those of other workers included.
    deadline : float
        Of ``time.monotonic()``.
    worker : dict | None
        This worker, for shared studies.
    grace_period : float
        See :class:`LostTrials`.
    callbacks : sequence of callable
        Called as ``callback(study, trial)``; True ends the loop.
    """

    def __init__(
        self,
        study: optuna.Study,
        sampler: Sampler,
        runner: FoldRunner,
        metric: Callable[[Sequence[Record]], str],
        *,
        n_trials: int,
        deadline: float,
        worker: dict[str, Any] | None,
        grace_period: float,
        callbacks: Sequence[Callable[[optuna.Study, FrozenTrial], Any]],
    ) -> None:
        self.study, self.sampler, self.runner, self.metric = study, sampler, runner, metric
        self.n_trials, self.deadline, self.worker = n_trials, deadline, worker
        self.every = grace_period / 6
        self.lost = LostTrials(study, grace_period)
        self.callbacks = callbacks
        self.verbose = runner.search.verbose

    def left(self) -> int:
        """Return how many trials are still to be run."""
        return max(0, self.n_trials - len(standing(self.study.get_trials(deepcopy=False))))

    def run(self) -> None:
        """Run trials; returns when the study is complete or time is over."""
        while time.monotonic() < self.deadline:
            if self.worker is not None:
                for number in self.lost.sweep():
                    self._say(f"trial {number} lost its worker; another one takes its place")
            trials = self.study.get_trials(deepcopy=False)
            if len(standing(trials)) >= self.n_trials:
                return
            running = sum(t.state == TrialState.RUNNING for t in trials)
            if len(standing(trials)) + running >= self.n_trials:
                time.sleep(POLL)  # others work on the last ones
                continue
            trial = self.study.ask()
            # Two workers that ask at once: the later one may be one too many.
            if len(before(trial.number, self.study.get_trials(deepcopy=False))) >= self.n_trials:
                self._end(trial, "surplus")
                continue
            if self._one(trial):
                return

    def _one(self, trial: optuna.Trial) -> bool:
        """Run a trial; True if a callback ends the search."""
        try:
            if self.worker is None:
                self._evaluate(trial)
            else:
                with signs_of_life(trial, self.worker, self.every):
                    self._evaluate(trial)
        except BaseException:
            # Ctrl-C, or an error with error_score="raise", perhaps of the day (a full disk):
            # another trial takes its place, and raises again if the error is there to stay.
            self._end(trial, "interrupted")
            raise
        trials = self.study.get_trials(deepcopy=False)
        finished = next(t for t in trials if t.number == trial.number)
        self._report(finished)
        return any([callback(self.study, finished) is True for callback in self.callbacks])

    def _evaluate(self, trial: optuna.Trial) -> None:
        params = self.sampler(trial)
        judge = Judge(self.study, trial)
        n_folds = len(self.runner.splits)
        step = self.runner.n_workers if judge.active else n_folds
        # With a pruner the first fold runs here, for every n_jobs, so that
        # nets can report; then the decisions do not depend on n_jobs.
        chunks = [range(n_folds)] if step == n_folds and not judge.active else [
            range(1), *(range(k, min(k + step, n_folds)) for k in range(1, n_folds, step))
        ]  # fmt: skip
        records: list[Record] = []
        for chunk in chunks:
            first = judge.active and chunk.start == 0
            try:
                found = self.runner.run(params, chunk, judge if first else None)
            except optuna.TrialPruned:
                found = []  # error_score="raise" lets it through
            if judge.pruned:
                self._tell(trial, TrialState.PRUNED)
                return
            stop = False
            for fold, record in zip(chunk, found):
                records.append(record)
                mean = mean_score(records, self.metric(records), self.runner.search.error_score)
                stop = judge.after_fold(fold, mean) and fold + 1 < n_folds
                if stop:
                    break
            keep(trial, records)
            if stop:
                self._tell(trial, TrialState.PRUNED)
                return
        if math.isnan(mean):
            self._end(trial, "error")
        else:
            self._tell(trial, TrialState.COMPLETE, mean)

    def _tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        try:
            self.study.tell(trial, value, state=state)
        except (ValueError, RuntimeError):
            self._say(f"trial {trial.number} was taken for lost meanwhile; its score is not used")

    def _end(self, trial: optuna.Trial, outcome: str) -> None:
        try:
            trial.set_user_attr(OUTCOME, outcome)
        except RuntimeError:  # finished by somebody else
            return
        fail(self.study, trial.number)

    def _say(self, text: str) -> None:
        if self.verbose > 0:
            print(f"[{self.study.study_name}] {text}")

    def _report(self, trial: FrozenTrial) -> None:
        if self.verbose > 0:
            value = "" if trial.value is None else f" {trial.value:.4f}"
            self._say(f"trial {trial.number}: {trial.state.name}{value} {trial.params}")
