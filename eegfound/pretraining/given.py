"""What a Pretrainer is given, as a source of windows, and what its front end learned."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from eegfound.base import SpecError, as_channel_info
from eegfound.pretraining.arrays import ArraySource
from eegfound.pretraining.held_out import is_source


def source_of(estimator: Any, X: Any, groups: Any, *, reset: bool) -> Any:
    """Return whatever the user passed as a source of windows.

    Parameters
    ----------
    estimator : FoundationPretrainer
        Says how arrays are read.
    X, groups
        See its ``fit``.
    reset : bool
        Whether the plan is made anew.
    """
    if isinstance(X, str | os.PathLike):
        from eegfound.corpus import Corpus

        X = Corpus(X)
    if hasattr(X, "source") and not is_source(X):
        X = X.source(
            estimator._model(),
            window_seconds=estimator.window_seconds,
            front_end_params=estimator._params_for(front_end=True),
        )
    if is_source(X):
        if groups is not None:
            raise SpecError("groups= goes with arrays; a corpus knows its subjects.")
        made_for = getattr(X, "model", None)
        if made_for not in (None, estimator._model().name):
            raise SpecError(
                f"X is a source of windows for {made_for!r}, not for {estimator._model().name!r}: "
                "pass the corpus itself."
            )
        asked, cut = estimator.window_seconds, getattr(X, "window_seconds", None)
        if None not in (asked, cut) and asked != cut:
            raise SpecError(
                f"window_seconds={asked!r}, but X is cut into windows of {cut:g} s: leave "
                "window_seconds out, or pass the corpus itself."
            )
        if reset:
            estimator.plan_, estimator.ch_names_ = None, None
        return copy.copy(X)  # the front end it is given here is ours
    reset = reset or estimator.plan_ is None  # fitted on a source: this is the first array
    if not reset and estimator.info is not None:
        stated, known = as_channel_info(estimator.info), estimator.plan_.info
        if (stated.ch_names, stated.sfreq) != (known.ch_names, known.sfreq):
            raise SpecError("info= is another one than in fit: windows must have its channels.")
    X = estimator._read(X, reset=reset)
    if groups is not None and len(groups) != len(X):
        raise SpecError(f"groups has {len(groups)} entries for {len(X)} windows.")
    whole = estimator._model().front_end is not None
    presence, terms = estimator._presence(X), estimator._terms
    return ArraySource(X, presence, estimator.plan_, whole, groups, terms)


def teach_front_end(estimator: Any, source: Any, index: np.ndarray) -> None:
    """Let the model's front end, if it has one, learn from the windows of training.

    Sets ``front_end_``, and ``front_end_names_``, the electrodes it learned from: nothing
    teaches it again, for its features are what the weights know.
    """
    estimator.front_end_ = estimator.front_end_names_ = None
    if estimator._model().front_end is None:
        return
    if isinstance(source, ArraySource):
        # With a front end no window is cut: windows of the source are those of X.
        groups = None if source.groups is None else source.groups[index]
        estimator._fit_front_end(source.X[index], source.presence[index], groups)
        estimator.front_end_names_ = source.electrodes
    elif hasattr(source, "fit_front_end"):
        source.fit_front_end(index)
        estimator.front_end_ = source.front_end
        estimator.front_end_names_ = source.electrodes


def hand_front_end(estimator: Any, source: Any) -> None:
    """Give a source the front end as it was learned in training."""
    learned = estimator.front_end_
    if learned is None or not hasattr(source, "electrodes"):
        return
    names, own = estimator.front_end_names_, source.electrodes
    source.front_end = learned if names == own else OtherRows(learned, names, own)


class OtherRows:
    """A front end for signals whose electrodes stand in other rows than it learned from.

    Parameters
    ----------
    front_end : Transformer
        Fitted.
    learned, given : sequence of str
        Electrodes of the signals it was fitted on, and of those it will be given.

    Raises
    ------
    SpecError
        If it does not know an electrode.
    """

    def __init__(self, front_end: Any, learned: Sequence[str], given: Sequence[str]) -> None:
        unknown = [name for name in given if name not in learned]
        if unknown:
            raise SpecError(
                f"The front end has not learned from the electrode(s) {unknown[:8]}: X must have "
                f"electrodes of those in fit, {list(learned)}."
            )
        self.front_end, self.n_rows = front_end, len(learned)
        self.rows = [list(learned).index(name) for name in given]

    def transform(self, signal: np.ndarray) -> np.ndarray:
        """Return the features of signals, electrodes as given."""
        wide = np.full((len(signal), self.n_rows, signal.shape[-1]), np.nan, dtype=signal.dtype)
        wide[:, self.rows] = signal
        return self.front_end.transform(wide)[:, self.rows]
