"""Had the model seen the data? The contamination record of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from eegfound.base import ModelNotFoundError, SpecError
from eegfound.benchmark.routing import nested
from eegfound.datasets.cards import DatasetCard


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


def pretraining_status(weights: Iterable[dict[str, str]], card: DatasetCard | None) -> str:
    """Say whether a dataset was among the pretraining data of some weights.

    Parameters
    ----------
    weights : iterable of dict
        ``model`` and ``weights`` of each encoder (:func:`cells.weights`).
    card : DatasetCard | None
        The dataset; None when nobody named it.

    Returns
    -------
    str
        ``""`` without encoders, otherwise ``"random weights"``, ``"seen in
        pretraining"``, ``"not in the pretraining record"`` or ``"unknown"``.
        With several encoders, the most serious of these.
    """
    found = {_status(item["model"], item["weights"], card) for item in weights}
    for status in ("seen in pretraining", "unknown", "not in the pretraining record"):
        if status in found:
            return status
    return "random weights" if found else ""


def _status(model: str, weights: str, card: DatasetCard | None) -> str:
    from eegfound.models import get_model

    if weights == "random":
        return "random weights"
    try:
        record = get_model(model).checkpoint(weights).pretraining_datasets
    except (ModelNotFoundError, SpecError):  # somebody's own file
        return "unknown"
    if card is None or not record:
        return "unknown"
    ours = {_plain(name) for name in (card.name, card.title, *card.aliases)}
    seen = any(_plain(name) in ours for name in record)
    return "seen in pretraining" if seen else "not in the pretraining record"
