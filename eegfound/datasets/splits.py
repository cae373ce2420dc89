"""Published splits: who was trained on, and who must not be.

Each split keeps subjects apart. Results on a published test set can be
compared with papers; grouped cross-validation says more where the test set
is small (EEGMAT's has four people).
"""

from __future__ import annotations

from collections.abc import Mapping

from eegfound.base import SpecError

SPLITS: dict[str, dict[str, tuple[int, ...]]] = {
    "eegmmidb": {
        "train": tuple(range(1, 71)),
        "validation": tuple(range(71, 90)),
        "test": tuple(range(90, 110)),
    },
    "eegmat": {
        "train": tuple(range(28)),
        "validation": tuple(range(28, 32)),
        "test": tuple(range(32, 36)),
    },
}


def published_split(dataset: str) -> Mapping[str, tuple[int, ...]]:
    """Return the subjects of the published split of a dataset.

    Parameters
    ----------
    dataset : str
        ``"eegmmidb"`` or ``"eegmat"``.

    Returns
    -------
    mapping of str to tuple of int
        ``"train"``, ``"validation"`` and ``"test"`` subjects, disjoint.

    Raises
    ------
    SpecError
        If no split is published.

    Examples
    --------
    >>> from eegfound.datasets import published_split
    >>> published_split("eegmat")["test"]
    (32, 33, 34, 35)
    """
    if dataset not in SPLITS:
        raise SpecError(
            f"No split is published for {dataset!r}; there is one for {sorted(SPLITS)}."
        )
    return SPLITS[dataset]
