"""What a study is about: going on with another question is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
import optuna
from optuna.trial import TrialState

from eegfound.base import SpecError
from eegfound.benchmark.functions import functions_in
from eegfound.benchmark.identity import describe, digest
from eegfound.search.space import Sampler

QUESTION = "eegfound:question"
#: Parameters that change how long a fit takes, not what it gives.
_PRACTICAL = frozenset({"n_jobs", "verbose", "memory", "pre_dispatch"})
#: Those of the suite's own estimators; elsewhere ``batch_size`` may be that of a training.
_OURS = frozenset(
    {"cache", "device", "n_threads", "batch_size", "compile", "resume_dir", "activation_memory_mb"}
)
_WORDS = {
    "data": "X, y or the fit parameters",
    "folds": "the folds (groups, or a shuffling cv without random_state)",
    "estimator": "the estimator",
    "scoring": "scoring, or the score that refit names",
    "space": "param_distributions",
}


def _practical(estimator: Any) -> frozenset[str]:
    """Return the names of parameters that do not count."""
    base = ("eegfound.estimators._base", "FoundationEstimator")  # importing it imports torch
    ours = any((kind.__module__, kind.__name__) == base for kind in type(estimator).__mro__)
    return _PRACTICAL | _OURS if ours else _PRACTICAL


def _tell(value: Any) -> Any:
    return describe(value, leave_out=_practical)


def _hash(value: Any) -> str:
    if hasattr(value, "get_data") and hasattr(value, "events"):  # mne.Epochs
        info = value.info
        where = [channel["loc"] for channel in info["chs"]]
        facts = [info["sfreq"], list(info["bads"]), value.get_channel_types(), where]
        return digest(_hash(value.get_data(copy=False)), list(value.ch_names), _hash(facts))
    if isinstance(value, np.ndarray):  # not how it lies in memory, or on disk
        value = np.ascontiguousarray(value).view(np.ndarray)
    return str(joblib.hash(value))


def question(
    *,
    X: Any,
    y: Any,
    fit_params: Any,
    splits: Sequence[tuple[Any, Any]],
    estimator: Any,
    scoring: Any,
    sampler: Sampler,
) -> dict[str, str]:
    """Return digests of everything that a trial's score depends on.

    Parameters
    ----------
    X, y : array-like
        Data.
    fit_params : dict
        What is passed to ``fit`` beside them.
    splits : sequence of (train, test)
        Indices of the folds.
    estimator : estimator
        The estimator before its parameters are set.
    scoring : object
        What is maximized and scored.
    sampler : Sampler
        The space.

    Returns
    -------
    dict of str to str
        One digest per part.
    """
    indices = [[np.asarray(train), np.asarray(test)] for train, test in splits]
    return {
        "data": digest(_hash(X), _hash(y), _hash(sorted((fit_params or {}).items()))),
        "folds": digest(_hash(indices)),
        "estimator": digest(
            _tell(estimator),
            functions_in(estimator.get_params(deep=True)),
        ),
        "scoring": digest(describe(scoring)),
        "space": digest(sampler.describe(_tell)),
    }


def check_question(study: optuna.Study, asked: dict[str, str], place: str) -> None:
    """Write down what a study is about, or compare with what it is about.

    Parameters
    ----------
    study : optuna.Study
        New or reopened.
    asked : dict of str to str
        From :func:`question`.
    place : str
        The storage, for the message.

    Raises
    ------
    SpecError
        If the study's trials answer another question.
    """
    known = study.user_attrs.get(QUESTION)
    if known is None:
        states = tuple(s for s in TrialState if s != TrialState.WAITING)
        if study.get_trials(deepcopy=False, states=states):
            raise SpecError(
                f"The study {study.study_name!r} in {place} has trials of another program, of "
                "which nothing is known: choose another study_name."
            )
        study.set_user_attr(QUESTION, asked)
        return
    other = [part for part in _WORDS if known.get(part) != asked.get(part)]
    if other:
        raise SpecError(
            f"The study {study.study_name!r} in {place} was made with other values of: "
            f"{'; '.join(_WORDS[part] for part in other)}. Its scores cannot stand beside new "
            "ones. Choose another study_name, or study_name=None for a study of each fit (nested "
            "cross-validation needs that)."
        )
