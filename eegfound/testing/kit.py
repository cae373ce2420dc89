"""The conformance kit for plugin authors.

A plugin's test file needs one line: ``check_model("theirmodel")``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from eegfound.base import RandomWeightsWarning, SignalWarning
from eegfound.models import FoundationModel, get_model
from eegfound.testing import checks, checks_training  # noqa: F401  (they fill CHECKS)
from eegfound.testing.subject import CHECKS, Subject


def scikit_learn_checks(subject: Subject) -> Iterator[tuple[Any, Callable[[Any], None]]]:
    """Yield scikit-learn's own checks of the three estimators.

    Yields
    ------
    estimator : estimator
        Unfitted.
    check : callable
        To be called with the estimator.
    """
    from sklearn.utils.estimator_checks import estimator_checks_generator

    for estimator in (
        subject.transformer(),
        subject.classifier(),
        subject.regressor(),
    ):
        yield from estimator_checks_generator(estimator)


def check_model(
    model: str | FoundationModel, *, size: str | None = None, scikit_learn: bool = True
) -> list[str]:
    """Check that a model does all that the suite promises.

    Parameters
    ----------
    model : str | FoundationModel
        An installed (or registered) model.
    size : str | None
        Size to check; None takes the model's default. Small sizes are quick.
    scikit_learn : bool
        Whether scikit-learn's own estimator checks run too.

    Returns
    -------
    list of str
        Names of the checks that passed.

    Raises
    ------
    AssertionError
        With one line for each check that failed.

    Examples
    --------
    >>> from eegfound.models import registry
    >>> from eegfound.testing import check_model
    >>> from eegfound.testing.toy import toy_model
    >>> with registry.registered(toy_model("mine")):
    ...     len(check_model("mine", scikit_learn=False)) > 10
    True
    """
    from unittest import SkipTest

    description = get_model(model) if isinstance(model, str) else model
    subject = Subject(description, size or description.default_size)
    passed, failed = [], []
    jobs: list[tuple[str, Callable[[], None]]] = [
        (name, partial(check, subject)) for name, check in CHECKS.items()
    ]
    if scikit_learn:
        for estimator, test in scikit_learn_checks(subject):
            name = getattr(test, "func", test).__name__
            jobs.append((f"{type(estimator).__name__}: {name}", partial(test, estimator)))
    for name, job in jobs:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RandomWeightsWarning)
                warnings.simplefilter("ignore", SignalWarning)
                job()
        except SkipTest:
            continue
        except Exception as error:  # a check may fail in any way
            text = " ".join(str(error).split())[:300]
            failed.append(f"{name}: {type(error).__name__}: {text}")
        else:
            passed.append(name)
    if failed:
        raise AssertionError(
            f"{description.name}: {len(failed)} of {len(failed) + len(passed)} checks failed\n"
            + "\n".join(f"- {line}" for line in failed)
        )
    return passed
