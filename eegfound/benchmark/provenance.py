"""Had the model seen the data? The contamination record of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from eegfound.base import ModelNotFoundError, SpecError
from eegfound.benchmark.routing import nested
from eegfound.corpus.subjects import person
from eegfound.datasets.cards import CARDS, DatasetCard


def kind_of(estimator: Any) -> str:
    """Return ``"foundation"``, ``"chance"`` or ``"baseline"``.

    Parameters
    ----------
    estimator : estimator
        A pipeline.

    Returns
    -------
    str
        Foundation pipelines have a step of the suite's estimators.
    """
    from sklearn.dummy import DummyClassifier

    steps = list(nested(estimator))
    if any(getattr(s, "is_frozen_encoder", False) or _is_foundation(s) for s in steps):
        return "foundation"
    return "chance" if any(isinstance(s, DummyClassifier) for s in steps) else "baseline"


def _is_foundation(step: Any) -> bool:
    return any(base.__name__ == "FoundationEstimator" for base in type(step).__mro__)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _names(card: DatasetCard) -> set[str]:
    return {_plain(name) for name in (card.name, card.title, *card.aliases)}


def _recorded_names(name: str) -> set[str]:
    """Return the names of a data set in a record, with those that its card knows."""
    plain = _plain(name)
    return {plain}.union(*(_names(card) for card in CARDS.values() if plain in _names(card)))


def pretraining_status(
    weights: Iterable[dict[str, Any]],
    card: DatasetCard | None,
    subjects: Iterable[Any] | None = None,
) -> str:
    """Say whether a dataset was among the pretraining data of some weights.

    Parameters
    ----------
    weights : iterable of dict
        ``model``, ``weights`` and ``seen`` of each encoder (:func:`cells.weights`).
    card : DatasetCard | None
        The dataset; None when nobody named it.
    subjects : iterable | None
        Subjects that are used; None where they have no names.

    Returns
    -------
    str
        ``""`` without encoders, otherwise ``"random weights"``, ``"seen in
        pretraining"``, ``"other subjects seen in pretraining"``, ``"not in the
        pretraining record"`` or ``"unknown"``. With several encoders, the most
        serious of these.
    """
    named = None if subjects is None else {person(subject) for subject in subjects}
    found = {_status(item, card, named) for item in weights}
    for status in (
        "seen in pretraining",
        "unknown",
        "other subjects seen in pretraining",
        "not in the pretraining record",
    ):
        if status in found:
            return status
    return "random weights" if found else ""


def _status(item: dict[str, Any], card: DatasetCard | None, subjects: set[str] | None) -> str:
    from eegfound.models import get_model

    if item["weights"] == "random":
        return "random weights"
    record = item.get("seen")
    if not record:
        try:
            names = get_model(item["model"]).checkpoint(item["weights"]).pretraining_datasets
        except (ModelNotFoundError, SpecError):  # somebody's own file
            return "unknown"
        record = dict.fromkeys(names)
    if card is None or not record:
        return "unknown"
    ours = _names(card)
    mine = [who for name, who in record.items() if _recorded_names(name) & ours]
    if not mine:
        # Arrays have no name: nobody can tell what they hold.
        return "unknown" if {"array", "unknown"} & set(record) else "not in the pretraining record"
    seen = {person(subject) for who in mine for subject in who or ()}
    told = all(mine) and bool(subjects)  # else nobody can tell people apart
    return (
        "other subjects seen in pretraining"
        if told and subjects is not None and not subjects & seen
        else "seen in pretraining"
    )
