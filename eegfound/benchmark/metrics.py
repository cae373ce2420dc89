"""Scores of predicted labels, and what guessing would score.

All scores but the area under the ROC curve are functions of the confusion
matrix. That makes chance exact and cheap: the confusion matrix of a guesser is
a draw from a multinomial distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eegfound.base import SpecError

#: Highest share of guessers that may score above the "chance limit".
CHANCE_LEVEL = 0.05


def confusion(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> np.ndarray:
    """Count predictions.

    Parameters
    ----------
    y_true, y_pred : ndarray of int, shape (n_epochs,)
        Class indices.
    n_classes : int
        Number of classes.

    Returns
    -------
    ndarray of int, shape (n_classes, n_classes)
        Rows are true classes, columns predicted ones.
    """
    flat = np.bincount(y_true * n_classes + y_pred, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0)


def _accuracy(c: np.ndarray) -> np.ndarray:
    return _divide(np.trace(c, axis1=-2, axis2=-1).astype(float), c.sum((-2, -1)))


def _balanced_accuracy(c: np.ndarray) -> np.ndarray:
    recall = _divide(np.diagonal(c, axis1=-2, axis2=-1).astype(float), c.sum(-1))
    return np.nanmean(recall, axis=-1)  # over the classes that are there


def _f1(c: np.ndarray) -> np.ndarray:
    hits = np.diagonal(c, axis1=-2, axis2=-1).astype(float)
    return _divide(2 * hits, c.sum(-1) + c.sum(-2))


def _f1_macro(c: np.ndarray) -> np.ndarray:
    return np.nanmean(_f1(c), axis=-1)


def _f1_weighted(c: np.ndarray) -> np.ndarray:
    support = c.sum(-1)
    return np.nansum(_f1(c) * support, axis=-1) / support.sum(-1)


def _cohen_kappa(c: np.ndarray) -> np.ndarray:
    total = c.sum((-2, -1)).astype(float)
    expected = (c.sum(-1) * c.sum(-2)).sum(-1) / total**2
    return _divide(_accuracy(c) - expected, 1 - expected)


#: Name of a score to its function of confusion matrices (..., n_classes, n_classes).
METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "balanced_accuracy": _balanced_accuracy,
    "accuracy": _accuracy,
    "f1_macro": _f1_macro,
    "f1_weighted": _f1_weighted,
    "cohen_kappa": _cohen_kappa,
}
#: The score that needs decision values instead of labels.
RANKING = "roc_auc"


def check_scoring(scoring: str, n_classes: int) -> None:
    """Refuse a score that is not known or does not fit the number of classes."""
    if scoring not in (*METRICS, RANKING):
        raise SpecError(f"scoring={scoring!r} is not one of {[*METRICS, RANKING]}.")
    if scoring == RANKING and n_classes != 2:
        raise SpecError(
            f"scoring='roc_auc' is for two classes, there are {n_classes}: use "
            "'balanced_accuracy' or 'cohen_kappa'."
        )


def score(
    scoring: str,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    n_classes: int,
    values: np.ndarray | None = None,
) -> float:
    """Score the predictions for some epochs.

    Parameters
    ----------
    scoring : str
        A key of :data:`METRICS`, or ``"roc_auc"``.
    y_true, y_pred : ndarray of int, shape (n_epochs,)
        Class indices.
    n_classes : int
        Number of classes of the whole problem.
    values : ndarray, shape (n_epochs,) | None
        Decision values for class 1; only used by ``"roc_auc"``.

    Returns
    -------
    float
        NaN where the score is not defined (one class only).
    """
    if scoring == RANKING:
        if values is None or len(set(y_true.tolist())) < 2:
            return float("nan")
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(y_true, values))
    return float(METRICS[scoring](confusion(y_true, y_pred, n_classes)))


def chance(
    scoring: str,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    n_classes: int,
    n_draws: int = 2000,
) -> tuple[float, float]:
    """Return what guessing scores on average over the folds, and its limit.

    A guesser draws labels with the class frequencies of the training part,
    without looking at the signals.

    Parameters
    ----------
    scoring : str
        Name of the score.
    folds : sequence of (y_train, y_test)
        Class indices of both parts of each fold.
    n_classes : int
        Number of classes.
    n_draws : int
        Number of guessers.

    Returns
    -------
    mean : float
        Expected score of a guesser.
    limit : float
        Score that 95 % of the guessers do not exceed. It takes epochs as
        independent, so that it is a lower bound for what deserves attention
        [1]_; the tests over subjects do not need that assumption.

    References
    ----------
    .. [1] Mueller-Putz G, et al. (2008). Better than random: a closer look on
       BCI results. Int J Bioelectromagn 10(1):52-55.
    """
    rng = np.random.default_rng(0)
    draws = np.empty((len(folds), n_draws))
    for i, (train, test) in enumerate(folds):
        counts = np.bincount(test, minlength=n_classes)
        if scoring == RANKING:
            pairs = max(1, int(counts.prod()))
            spread = np.sqrt((len(test) + 1) / (12 * pairs))  # of the Mann-Whitney statistic
            draws[i] = np.clip(rng.normal(0.5, spread, n_draws), 0, 1)
            continue
        prior = np.bincount(train, minlength=n_classes) / len(train)
        guessed = np.stack([rng.multinomial(count, prior, n_draws) for count in counts], axis=1)
        draws[i] = METRICS[scoring](guessed)
    means = np.nanmean(draws, axis=0)
    return float(np.nanmean(means)), float(np.nanquantile(means, 1 - CHANCE_LEVEL))
