"""Estimators by model name."""

from __future__ import annotations

from typing import Any

from eegfound.estimators.classifier import FoundationClassifier
from eegfound.estimators.regressor import FoundationRegressor
from eegfound.estimators.transformer import FoundationTransformer
from eegfound.models import get_model, load_object


def _make(name: str, role: str, generic: type, params: dict[str, Any]) -> Any:
    model = get_model(name)
    path = getattr(model, role)
    if path is None:
        return generic(model.name, **params)
    return load_object(path)(**params)


def make_transformer(name: str, **params: Any) -> FoundationTransformer:
    """Return the frozen encoder of a model as a Transformer.

    Parameters
    ----------
    name : str
        Name or alias of an installed model.
    **params : Any
        Parameters of :class:`FoundationTransformer`.

    Returns
    -------
    FoundationTransformer
        The plugin's named class, unfitted.

    Raises
    ------
    ModelNotFoundError
        If no installed plugin offers the model.
    """
    return _make(name, "transformer", FoundationTransformer, params)


def make_classifier(name: str, **params: Any) -> FoundationClassifier:
    """Return a model with a trainable head as a Classifier.

    Parameters
    ----------
    name : str
        Name or alias of an installed model.
    **params : Any
        Parameters of :class:`FoundationClassifier`.

    Returns
    -------
    FoundationClassifier
        The plugin's named class, unfitted.
    """
    return _make(name, "classifier", FoundationClassifier, params)


def make_regressor(name: str, **params: Any) -> FoundationRegressor:
    """Return a model with a trainable head as a Regressor.

    Parameters
    ----------
    name : str
        Name or alias of an installed model.
    **params : Any
        Parameters of :class:`FoundationRegressor`.

    Returns
    -------
    FoundationRegressor
        The plugin's named class, unfitted.
    """
    return _make(name, "regressor", FoundationRegressor, params)
