"""Is the difference more than luck? Statistics over subjects and folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

#: Fewest pairs of subjects for which a test is computed.
MIN_PAIRS = 6


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p-values for the number of comparisons.

    Parameters
    ----------
    p_values : sequence of float
        Raw p-values; NaN entries stay NaN and do not count.

    Returns
    -------
    ndarray of float
        Adjusted p-values [1]_.

    References
    ----------
    .. [1] Holm S (1979). A simple sequentially rejective multiple test
       procedure. Scand J Stat 6:65-70.

    Examples
    --------
    >>> from eegfound.benchmark.stats import holm
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def corrected_t(differences: np.ndarray, test_to_train: float) -> float:
    """Return the p-value of the corrected resampled t-test.

    Folds share training data, so that their scores are correlated; the
    correction [1]_ widens the variance accordingly.

    Parameters
    ----------
    differences : ndarray, shape (n_folds,)
        Paired differences, over folds and seeds.
    test_to_train : float
        Size of the test part over the size of the training part.

    Returns
    -------
    float
        Two-sided p-value; NaN with fewer than two folds or no variance.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error.
       Machine Learning 52:239-281.
    """
    n = len(differences)
    variance = float(np.var(differences, ddof=1)) if n > 1 else 0.0
    if variance == 0.0:
        return float("nan")
    t = float(np.mean(differences)) / np.sqrt((1 / n + test_to_train) * variance)
    return float(2 * stats.t.sf(abs(t), df=n - 1))


def signed_rank(differences: np.ndarray) -> float:
    """Return the p-value of Wilcoxon's signed-rank test.

    Parameters
    ----------
    differences : ndarray, shape (n_subjects,)
        Paired differences.

    Returns
    -------
    float
        Two-sided p-value; NaN with fewer than six subjects that differ.
    """
    if np.count_nonzero(differences) < MIN_PAIRS:
        return float("nan")
    return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)


def interval(differences: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return a bootstrap confidence interval (percentiles) of a mean.

    Parameters
    ----------
    differences : ndarray, shape (n_subjects,)
        One value per subject; subjects are resampled.
    level : float
        Coverage.

    Returns
    -------
    low, high : float
        Bounds.
    """
    rng = np.random.default_rng(0)
    draws = rng.choice(differences, size=(4000, len(differences))).mean(axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def effect_size(differences: np.ndarray) -> float:
    """Return Cohen's d of paired values: mean over standard deviation."""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(np.mean(differences)) / spread if spread else float("nan")


def summarize(folds: pd.DataFrame, subjects: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pipeline: means, spreads and costs, best first.

    Parameters
    ----------
    folds : DataFrame
        One row per pipeline, seed and fold (see ``BenchmarkResults.folds``).
    subjects : DataFrame
        One row per pipeline, seed and subject.

    Returns
    -------
    DataFrame
        ``score`` is the mean over folds (of the means over seeds), ``sd_folds``
        the spread over all folds, ``subject_score`` and ``sd_subjects`` the
        mean and spread over subjects (each averaged over seeds).
    """
    rows = []
    for name, own in folds.groupby("pipeline", sort=False):
        done = own[own["error"].isna()]
        people = _per_subject(subjects, name)
        rows.append(
            {
                "pipeline": name,
                "kind": own["kind"].iloc[0],
                "transductive": bool(own["transductive"].iloc[0]),
                "score": done["score"].mean(),
                "sd_folds": done["score"].std(ddof=1),
                "subject_score": people.mean(),
                "sd_subjects": people.std(ddof=1),
                "fit_seconds": done["fit_seconds"].mean(),
                "predict_ms_per_epoch": 1e3 * (done["predict_seconds"] / done["n_test"]).mean(),
                "memory_mb": done["memory_mb"].max(),
                "folds_done": len(done),
                "folds": len(own),
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def choose_reference(summary: pd.DataFrame) -> str | None:
    """Return the best baseline that sees no test epochs while it learns.

    Choosing the *strongest* baseline by its score favours that baseline, so
    that the comparison is, if anything, too hard on the others.
    """
    fair = summary[
        (summary["kind"] == "baseline")
        & ~summary["transductive"]
        & (summary["folds_done"] == summary["folds"])
    ]
    return None if fair.empty else str(fair.iloc[0]["pipeline"])


def compare(folds: pd.DataFrame, subjects: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare every pipeline with one of them, subject by subject.

    Parameters
    ----------
    folds, subjects : DataFrame
        As for :func:`summarize`.
    reference : str
        Name of the pipeline to compare with.

    Returns
    -------
    DataFrame
        One row per other pipeline that finished all folds (guessing is no
        contestant, and does not count for the correction): mean difference
        over subjects with its bootstrap interval, effect size d, Wilcoxon
        test over subjects, corrected t-test over folds, both also after
        Holm's correction for the number of pipelines.
    """
    base = _per_subject(subjects, reference)
    unfit = set(folds.loc[folds["error"].notna() | (folds["kind"] == "chance"), "pipeline"])
    rows = []
    for name in (n for n in folds["pipeline"].unique() if n != reference and n not in unfit):
        difference = (_per_subject(subjects, name) - base).dropna().to_numpy()
        per_fold, ratio = _fold_differences(folds, str(name), reference)
        low, high = interval(difference) if len(difference) else (np.nan, np.nan)
        rows.append(
            {
                "pipeline": name,
                "reference": reference,
                "difference": difference.mean() if len(difference) else np.nan,
                "ci_low": low,
                "ci_high": high,
                "effect_size": effect_size(difference),
                "better_subjects": int((difference > 0).sum()),
                "n_subjects": len(difference),
                "p_subjects": signed_rank(difference),
                "p_folds": corrected_t(per_fold, ratio),
            }
        )
    columns = [
        "pipeline", "reference", "difference", "ci_low", "ci_high", "effect_size",
        "better_subjects", "n_subjects", "p_subjects", "p_folds",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    for column in ("p_subjects", "p_folds"):
        table[f"{column}_holm"] = holm(table[column].to_numpy(dtype=float))
    return table


def _per_subject(subjects: pd.DataFrame, pipeline: object) -> pd.Series:
    own = subjects[subjects["pipeline"] == pipeline]
    return own.groupby("subject")["score"].mean()


def _fold_differences(folds: pd.DataFrame, one: str, other: str) -> tuple[np.ndarray, float]:
    wide = folds.pivot(index=["seed", "fold"], columns="pipeline", values="score")
    pair = wide[[one, other]].dropna()
    sizes = folds.drop_duplicates(["seed", "fold"])
    ratio = float((sizes["n_test"] / sizes["n_train"]).mean())
    return (pair[one] - pair[other]).to_numpy(), ratio
