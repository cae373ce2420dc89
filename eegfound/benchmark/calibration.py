"""Do probabilities mean what they say? Calibration errors and reliability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from eegfound.base import SpecError

BINS = ("width", "mass")
NORMS = ("l1", "max")


def calibration_error(
    y_true: Any,
    y_prob: Any,
    *,
    labels: Any = None,
    n_bins: int = 15,
    bins: str = "width",
    norm: str = "l1",
) -> float:
    r"""Return the expected calibration error of the predicted class.

    With the confidence :math:`c_i = \max_k p_{ik}` of each epoch, sorted into
    bins :math:`B_1 \dots B_M`, it is the mean distance of accuracy and
    confidence [1]_, [2]_,

    .. math:: \sum_m \frac{|B_m|}{n} \left|
        \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right| .

    Parameters
    ----------
    y_true : array-like, shape (n_epochs,)
        Labels.
    y_prob : array-like, shape (n_epochs, n_classes) or (n_epochs,)
        Probabilities; 1-D for the second of two classes.
    labels : array-like, shape (n_classes,) | None
        Classes in the order of the columns (``classes_``). None: the sorted
        labels of ``y_true``, which must then show all classes.
    n_bins : int
        Number of bins, 15 as in [2]_.
    bins : {"width", "mass"}
        ``"width"``: bins :math:`((m-1)/M, m/M]` of equal width. ``"mass"``:
        between quantiles of the confidence, with equal numbers of epochs [3]_;
        epochs of the same confidence share a bin.
    norm : {"l1", "max"}
        ``"l1"`` is the sum above (ECE), ``"max"`` the largest distance of any
        bin (MCE).

    Returns
    -------
    float
        Between 0 and 1; smaller is better.

    Notes
    -----
    The error of perfect probabilities is above zero with finitely many epochs:
    see :func:`calibration_floor`. It also says nothing about how well classes
    are told apart (constant probabilities can be perfectly calibrated): report
    it beside the log loss or the Brier score.

    References
    ----------
    .. [1] Naeini MP, Cooper GF, Hauskrecht M (2015). Obtaining well calibrated
       probabilities using Bayesian binning. AAAI.
    .. [2] Guo C, Pleiss G, Sun Y, Weinberger KQ (2017). On calibration of
       modern neural networks. ICML.
    .. [3] Nguyen K, O'Connor B (2015). Posterior calibration and exploratory
       analysis for natural language processing models. EMNLP.

    Examples
    --------
    >>> from eegfound.benchmark.calibration import calibration_error
    >>> round(calibration_error(["a", "a", "b", "b"], [0.2, 0.2, 0.2, 0.8]), 3)
    0.05
    """
    codes, prob = _checked(y_true, y_prob, labels)
    return _error(prob, codes, *_options(n_bins, bins, norm))


def calibration_floor(
    y_prob: Any,
    *,
    n_bins: int = 15,
    bins: str = "width",
    norm: str = "l1",
    n_draws: int = 200,
    random_state: int = 0,
) -> float:
    """Return the calibration error that these probabilities had if they were right.

    Labels are drawn from the probabilities themselves [1]_ and the error is
    averaged over the draws. An error near this value is no sign of bad
    calibration; with few epochs it can be large.

    Parameters
    ----------
    y_prob : array-like, shape (n_epochs, n_classes) or (n_epochs,)
        Probabilities; 1-D for the second of two classes.
    n_bins, bins, norm
        As in :func:`calibration_error`.
    n_draws : int
        Number of draws.
    random_state : int
        Their seed.

    Returns
    -------
    float
        Mean error under perfect calibration.

    References
    ----------
    .. [1] Broecker J, Smith LA (2007). Increasing the reliability of
       reliability diagrams. Weather and Forecasting 22:651-661.
    """
    prob = _probabilities(y_prob)
    options = _options(n_bins, bins, norm)
    rng = np.random.default_rng(random_state)
    below = prob.cumsum(axis=1)[:, :-1]
    draws = rng.random((n_draws, len(prob), 1))
    return float(np.mean([_error(prob, (u > below).sum(axis=1), *options) for u in draws]))


def reliability_table(
    y_true: Any, y_prob: Any, *, labels: Any = None, n_bins: int = 15, bins: str = "width"
) -> pd.DataFrame:
    """Return the bins behind :func:`calibration_error`, as for a reliability diagram.

    Parameters
    ----------
    y_true, y_prob, labels, n_bins, bins
        As in :func:`calibration_error`.

    Returns
    -------
    DataFrame
        One row per bin that has epochs: ``n_epochs``, mean ``confidence``,
        ``accuracy``, and ``gap`` = accuracy - confidence (negative:
        overconfident).
    """
    codes, prob = _checked(y_true, y_prob, labels)
    n_bins, bins, _ = _options(n_bins, bins, "l1")
    count, confidence, accuracy = _binned(prob, codes, n_bins, bins)
    return pd.DataFrame(
        {
            "n_epochs": count,
            "confidence": confidence,
            "accuracy": accuracy,
            "gap": accuracy - confidence,
        }
    )


def neg_calibration_error(estimator: Any, X: Any, y: Any, **options: Any) -> float:
    """Score an estimator by its calibration error, negated (greater is better).

    A scorer for ``cross_val_score(scoring=neg_calibration_error)`` and searches;
    ``functools.partial(neg_calibration_error, bins="mass")`` sets options.

    Parameters
    ----------
    estimator : classifier
        Fitted, with ``predict_proba``.
    X : ndarray, shape (n_epochs, ...)
        Windows.
    y : array-like, shape (n_epochs,)
        Labels.
    **options : Any
        ``n_bins``, ``bins`` and ``norm`` of :func:`calibration_error`.

    Returns
    -------
    float
        Between -1 and 0.
    """
    prob = estimator.predict_proba(X)
    return -calibration_error(y, prob, labels=estimator.classes_, **options)


def _options(n_bins: int, bins: str, norm: str) -> tuple[int, str, str]:
    if not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise SpecError(f"n_bins={n_bins!r} must be a positive whole number.")
    if bins not in BINS:
        raise SpecError(f"bins={bins!r} is not one of {BINS}.")
    if norm not in NORMS:
        raise SpecError(f"norm={norm!r} is not one of {NORMS}.")
    return int(n_bins), bins, norm


def _probabilities(y_prob: Any) -> np.ndarray:
    prob = np.asarray(y_prob, dtype=float)
    if prob.ndim == 1:
        prob = np.column_stack([1 - prob, prob])
    if prob.ndim != 2 or not len(prob) or prob.shape[1] < 2:
        raise SpecError(
            f"y_prob has shape {prob.shape}: pass (n_epochs, n_classes), or (n_epochs,) for two "
            "classes."
        )
    # float32 probabilities of an encoder's head sum to 1 within 1e-6 or so.
    if not ((prob >= 0).all() and np.allclose(prob.sum(axis=1), 1, atol=1e-4)):
        raise SpecError(
            "y_prob is no table of probabilities (0 to 1, rows that sum to 1): pass "
            "predict_proba(X), not decision values."
        )
    return prob


def _checked(y_true: Any, y_prob: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    prob, y = _probabilities(y_prob), np.asarray(y_true)
    classes = np.unique(y) if labels is None else np.asarray(labels)
    if len(classes) != prob.shape[1]:
        raise SpecError(
            f"y_prob has {prob.shape[1]} columns for {len(classes)} classes: pass "
            "labels=estimator.classes_."
        )
    if y.shape != (len(prob),):
        raise SpecError(f"y_true has shape {y.shape} for {len(prob)} epochs.")
    place = {label: code for code, label in enumerate(classes.tolist())}
    unknown = sorted(set(y.tolist()) - set(place), key=str)
    if unknown:
        raise SpecError(f"y_true has {unknown[:5]}, which labels does not: {classes.tolist()}.")
    return np.array([place[label] for label in y.tolist()]), prob


def _binned(
    prob: np.ndarray, codes: np.ndarray, n_bins: int, bins: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return number, mean confidence and accuracy of every bin with epochs."""
    confidence = prob.max(axis=1)
    hit = (prob.argmax(axis=1) == codes).astype(float)
    inner = np.arange(1, n_bins) / n_bins
    edges = inner if bins == "width" else np.unique(np.quantile(confidence, inner))
    place = np.digitize(confidence, edges, right=True)
    count = np.bincount(place)
    kept = count > 0
    count = count[kept]
    total, hits = (np.bincount(place, weights=v)[kept] for v in (confidence, hit))
    return count, total / count, hits / count


def _error(prob: np.ndarray, codes: np.ndarray, n_bins: int, bins: str, norm: str) -> float:
    count, confidence, accuracy = _binned(prob, codes, n_bins, bins)
    gap = np.abs(accuracy - confidence)
    return float(gap.max() if norm == "max" else count @ gap / count.sum())
