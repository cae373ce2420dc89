"""The pipelines of an ordinary comparison: models, baselines, guessing."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from eegfound.base import SpecError, as_channel_info
from eegfound.benchmark.identity import seeded


def default_pipelines(
    models: Iterable[str] | str | None = None,
    baselines: Iterable[str] | str = "all",
    *,
    info: Any,
    unit: str = "V",
    band: tuple[float, float] | None = None,
    n_classes: int | None = None,
    seed: int = 0,
    checkpoint: Any = "default",
    size: str | Mapping[str, str | None] | None = None,
    transformer_params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return named pipelines for :func:`run_benchmark`.

    Parameters
    ----------
    models : iterable of str | str | None
        Models by name. None takes all installed models; an empty list takes
        none. For each, ``"<model>+lr"`` is the frozen encoder with a logistic
        regression, ``"<model>+tangent_space"`` the encoder beside the tangent
        space of the covariances, both in front of one logistic regression.
    baselines : "all" | "none" | iterable of str
        Names from :func:`eegfound.baselines.list_baselines`.
    info : ChannelInfo | mne.Info
        Channel facts of the data.
    unit : str
        Unit of the data.
    band : (float, float) | None
        Pass band in Hz of the baselines that filter. Models get the signals
        as they are.
    n_classes : int | None
        Number of classes; with more than two, ``baselines="all"`` leaves out
        those for two classes.
    seed : int
        ``random_state`` of the pipelines (``run_benchmark`` sets it anew).
    checkpoint : str | path-like | None | mapping of str to these
        Weights; None is random weights. A mapping gives them by model.
    size : str | None | mapping of str to these
        Named size, for a single model. A mapping gives sizes by model.
    transformer_params : mapping | None
        Further parameters of the encoders, for instance
        ``{"pooling": "mean"}``.

    Returns
    -------
    dict of str to estimator
        Models first, then baselines, then ``"dummy"``.

    Raises
    ------
    SpecError
        If a baseline or model is not known.

    Examples
    --------
    >>> from eegfound import ChannelInfo
    >>> from eegfound.benchmark import default_pipelines
    >>> info = ChannelInfo(["C3", "Cz", "C4"], 200)
    >>> list(default_pipelines([], ["tangent_space"], info=info))
    ['tangent_space', 'dummy']
    """
    from eegfound.models import list_models

    info = as_channel_info(info)
    if models is None:
        models = list_models()
    names = [models] if isinstance(models, str) else list(models)
    if isinstance(size, str) and len(names) != 1:
        raise SpecError(f"size={size!r} belongs to one model, but there are {names}.")
    data = {"info": info, "unit": unit}
    pipelines: dict[str, Any] = {}
    for name in names:
        weights = checkpoint[name] if isinstance(checkpoint, Mapping) else checkpoint
        of_size = size.get(name) if isinstance(size, Mapping) else size
        options = {**data, "size": of_size, "checkpoint": weights, **(transformer_params or {})}
        pipelines |= model_pipelines(name, band=band, **options)
    pipelines |= baseline_pipelines(baselines, band=band, n_classes=n_classes, **data)
    pipelines["dummy"] = DummyClassifier(strategy="prior")
    return {name: seeded(pipeline, seed) for name, pipeline in pipelines.items()}


def model_pipelines(
    name: str,
    *,
    info: Any,
    unit: str = "V",
    band: tuple[float, float] | None = None,
    **params: Any,
) -> dict[str, Pipeline]:
    """Return the pipelines of one model.

    Parameters
    ----------
    name : str
        Model by name.
    info : ChannelInfo
        Channel facts of the data.
    unit : str
        Unit of the data.
    band : (float, float) | None
        Pass band in Hz of the covariances.
    **params : Any
        Further parameters of :func:`eegfound.make_transformer`.

    Returns
    -------
    dict of str to Pipeline
        ``"<name>+lr"`` and ``"<name>+tangent_space"``.
    """
    from eegfound.baselines import make_baseline
    from eegfound.estimators import make_transformer

    encoder = make_transformer(name, info=info, unit=unit, **params)
    tangent = make_baseline("tangent_space", info=info, unit=unit, band=band)[:-1]
    both = FeatureUnion([(name, encoder), ("tangent_space", tangent)])
    return {
        f"{name}+lr": make_pipeline(encoder, StandardScaler(), LogisticRegression(max_iter=2000)),
        f"{name}+tangent_space": make_pipeline(
            both, StandardScaler(), LogisticRegression(max_iter=2000)
        ),
    }


def baseline_pipelines(
    names: Iterable[str] | str,
    *,
    info: Any,
    unit: str = "V",
    band: tuple[float, float] | None = None,
    n_classes: int | None = None,
) -> dict[str, Any]:
    """Return baselines by name.

    Parameters
    ----------
    names : "all" | "none" | iterable of str
        Names from :func:`eegfound.baselines.list_baselines`.
    info : ChannelInfo
        Channel facts of the data.
    unit : str
        Unit of the data.
    band : (float, float) | None
        Pass band in Hz of those that filter.
    n_classes : int | None
        Number of classes, see :func:`default_pipelines`.

    Returns
    -------
    dict of str to estimator
        In the order of the names.
    """
    from eegfound.baselines import get_baseline, list_baselines
    from eegfound.models import load_object

    every = names == "all"
    if isinstance(names, str):
        names = {"all": list_baselines(), "none": []}.get(names, [names])
    chosen = {}
    for name in names:
        baseline = get_baseline(name)
        if name == "dummy" or (every and baseline.binary_only and (n_classes or 2) > 2):
            continue  # guessing is always the last row
        try:
            takes = inspect.signature(load_object(baseline.factory)).parameters
            options = {k: v for k, v in {"unit": unit, "band": band}.items() if k in takes}
            chosen[name] = baseline.make(info, **options)
        except Exception as error:
            if not every:
                raise
            # Nobody asked for this one by name; a plugin's fault is not the table's.
            warnings.warn(f"The baseline {name!r} is left out: {error}", stacklevel=3)
    return chosen
