"""What a Pretrainer is given, as a source of windows, and what of it is held out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from eegfound.base import SignalWarning, SpecError

#: What a source must offer (see :class:`eegfound.pretraining.source.WindowSource`).
_OFFERS = ("jobs", "digest", "record", "__len__")


def is_source(X: Any) -> bool:
    """Say whether ``X`` is a source of windows."""
    return all(hasattr(X, name) for name in _OFFERS)


def hold_out(
    count: int, groups: Any, *, fraction: Any, seed: int, needed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of windows for training and of those held out.

    Parameters
    ----------
    count : int
        Windows.
    groups : array-like, shape (count,) | None
        Subject or recording of each. No group stands on both sides.
    fraction : float | sequence | None
        Share of groups (of windows without groups) that is held out, or the names of
        the groups; None or 0 holds out nothing.
    seed : int
        Seed of the draw.
    needed : bool
        Whether early stopping needs held-out windows.

    Returns
    -------
    train, held_out : ndarray of int
        Disjoint, in order.

    Raises
    ------
    SpecError
        If there is nothing to train on, or nothing to hold out where it is needed.
    """
    everything, nothing = np.arange(count), np.zeros(0, dtype=np.int64)
    if count == 0:
        raise SpecError("X has no window to train on.")
    if isinstance(fraction, list | tuple | set | np.ndarray) and len(fraction):
        return _by_name(count, groups, fraction)
    if fraction is None or (not isinstance(fraction, bool) and fraction == 0):
        why = "validation_fraction=0 holds out none"
    elif (
        isinstance(fraction, bool)
        or not isinstance(fraction, int | float | np.number)
        or not 0 < fraction < 1
    ):
        raise SpecError(f"validation_fraction={fraction!r} must lie in [0, 1).")
    elif groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (count,):
            raise SpecError(f"groups has shape {groups.shape} for {count} windows.")
        if (n_groups := len(np.unique(groups))) > 1:
            n_out = min(int(np.ceil(float(fraction) * n_groups)), n_groups - 1)
            split = GroupShuffleSplit(1, test_size=n_out, random_state=seed % 2**32)
            train, held = next(split.split(everything, groups=groups))
            return np.sort(train), np.sort(held)
        why = "groups names only one group, of which none can be held out"
        if not needed:
            warnings.warn(
                f"{why}: nothing is measured on windows that were not trained on.",
                SignalWarning,
                stacklevel=4,
            )
    elif count > 1:
        warnings.warn(
            "No groups= were given: the held-out windows come from subjects that are also "
            "trained on, so their losses are optimistic.",
            SignalWarning,
            stacklevel=4,
        )
        order = np.random.default_rng(seed).permutation(count)
        n_held = min(count - 1, max(1, round(float(fraction) * count)))
        return np.sort(order[n_held:]), np.sort(order[:n_held])
    else:
        why = "there is only one window"
    if needed:
        raise SpecError(
            f"early_stopping=True needs held-out windows, but {why}: pass groups of several "
            "subjects, validation_fraction, or early_stopping=False."
        )
    return everything, nothing


def _by_name(count: int, groups: Any, wanted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the groups with the given names."""
    names = [str(name) for name in wanted]
    if groups is None:
        raise SpecError(f"validation_fraction={names!r} names groups, but there are no groups=.")
    known = np.asarray(groups).astype(str)
    if known.shape != (count,):
        raise SpecError(f"groups has shape {known.shape} for {count} windows.")
    unknown = [name for name in names if name not in set(known)]
    if unknown:
        raise SpecError(
            f"validation_fraction names {unknown[:6]}, which are no groups; groups are "
            f"{list(np.unique(known)[:12])}."
        )
    held = np.isin(known, names)
    if held.all():
        raise SpecError("validation_fraction holds out all groups: nothing is left to train on.")
    return np.flatnonzero(~held), np.flatnonzero(held)
