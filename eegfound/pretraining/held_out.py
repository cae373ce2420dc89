"""What a Pretrainer is given, as a source of windows, and what of it is held out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from eegfound.base import SignalWarning, SpecError
from eegfound.pretraining.contamination import trained_on

#: What a source must offer (see :class:`eegfound.pretraining.source.WindowSource`).
_OFFERS = ("jobs", "digest", "record", "__len__")


def is_source(X: Any) -> bool:
    """Say whether ``X`` is a source of windows."""
    return all(hasattr(X, name) for name in _OFFERS)


def recorded(source: Any) -> np.ndarray:
    """Return the group of every window as a contamination record names it."""
    names = np.asarray(source.groups).astype(str)
    name = getattr(source, "terms", {}).get("name")
    return names if name is None else np.char.add(f"{name}/", names)


def recorded_held_out(source: Any, held_out: np.ndarray) -> list[str]:
    """Return who is held out, under every name that the record of a source has for them."""
    groups = np.asarray(source.groups)
    _, first = np.unique(groups[held_out], return_index=True)
    names = recorded(source)[held_out][first].tolist()
    aliases = getattr(source, "aliases", {})
    return [*names, *sorted(alias for alias, group in aliases.items() if group in names)]


def hold_out_of(
    source: Any, *, fraction: Any, seed: int, needed: bool, record: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of windows of a source for training and of those held out.

    Parameters
    ----------
    source : WindowSource
        The windows.
    fraction, seed, needed
        See :func:`hold_out`.
    record : dict
        What was trained on so far, if this goes on: who was held out stays so, and
        nobody is held out who was trained on.
    """
    groups, avoid = source.groups, None
    if record and groups is not None and isinstance(fraction, int | float) and 0 < fraction < 1:
        names = recorded(source)
        out = np.isin(names, record.get("held_out", []))
        if out.any() and not out.all():
            return np.flatnonzero(~out), np.flatnonzero(out)
        avoid = np.isin(names, sorted(trained_on(record)))
    return hold_out(
        len(source), groups, fraction=fraction, seed=seed, needed=needed, avoid=avoid,
        aliases=getattr(source, "aliases", {}),
    )  # fmt: skip


def hold_out(
    count: int, groups: Any, *, fraction: Any, seed: int, needed: bool, avoid: Any = None,
    aliases: Mapping[str, str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
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
    avoid : ndarray of bool, shape (count,) | None
        Windows whose groups were trained on before: no share of them is drawn.
    aliases : mapping of str to str | None
        Other names of groups.

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
        return _by_name(count, groups, fraction, aliases or {})
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
        n_groups = len(np.unique(groups))
        if avoid is not None and avoid.any():
            free = np.unique(groups[~avoid])
            n_out = min(int(np.ceil(float(fraction) * n_groups)), len(free), n_groups - 1)
            if n_out:
                drawn = np.random.default_rng(seed).permutation(free)[:n_out]
                out = np.isin(groups, drawn)
                return np.flatnonzero(~out), np.flatnonzero(out)
            why = "X holds only groups that were trained on before"
        elif n_groups > 1:
            n_out = min(int(np.ceil(float(fraction) * n_groups)), n_groups - 1)
            split = GroupShuffleSplit(1, test_size=n_out, random_state=seed % 2**32)
            train, held = next(split.split(everything, groups=groups))
            return np.sort(train), np.sort(held)
        else:
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


def _by_name(
    count: int, groups: Any, wanted: Any, aliases: Mapping[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the groups with the given names."""
    names = [aliases.get(str(name), str(name)) for name in wanted]
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
