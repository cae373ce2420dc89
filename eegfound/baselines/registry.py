"""The list of baselines, and making one by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from eegfound.base import SpecError
from eegfound.models import load_object, registry

_FACTORIES = "eegfound.baselines.factories"


@dataclass(frozen=True)
class Baseline:
    """A classical pipeline that can be made by name.

    Parameters
    ----------
    name : str
        Name for :func:`make_baseline`.
    summary : str
        One line for listings.
    factory : str
        Import path of ``make(info=None, **options) -> estimator``.
    transductive : bool
        True when predictions use all epochs of a test recording together
        (without their labels). Such a number must not stand unmarked beside
        inductive ones.
    binary_only : bool
        True when it separates two classes only.
    """

    name: str
    summary: str
    factory: str
    transductive: bool = False
    binary_only: bool = False

    def make(self, info: Any = None, **options: Any) -> Any:
        """Return a new, unfitted estimator; see :func:`make_baseline`."""
        factory = load_object(self.factory)
        accepted = inspect.signature(factory).parameters
        unknown = [option for option in options if option not in accepted]
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            known = [option for option in accepted if option != "info"]
            raise SpecError(
                f"Baseline {self.name!r} has no option {unknown}; its options are {known}."
            )
        return factory(info=info, **options)


_OWN = (
    Baseline(
        "band_power", "log band power, scaled, logistic regression", f"{_FACTORIES}:band_power"
    ),
    Baseline(
        "csp_lda",
        "common spatial patterns (mne) and linear discriminant analysis; two classes",
        f"{_FACTORIES}:csp_lda",
        binary_only=True,
    ),
    Baseline("dummy", "class frequencies of the training data", f"{_FACTORIES}:dummy"),
    Baseline(
        "fgmdm",
        "Riemannian minimum distance to mean with geodesic filtering (pyriemann)",
        f"{_FACTORIES}:fgmdm",
    ),
    Baseline(
        "log_variance", "log variance, scaled, logistic regression", f"{_FACTORIES}:log_variance"
    ),
    Baseline("mdm", "Riemannian minimum distance to mean (pyriemann)", f"{_FACTORIES}:mdm"),
    Baseline(
        "tangent_space",
        "covariance, Riemannian tangent space (pyriemann), logistic regression",
        f"{_FACTORIES}:tangent_space",
    ),
    Baseline(
        "tangent_space_recentred",
        "TRANSDUCTIVE: tangent space after whitening each recording by its own mean covariance",
        f"{_FACTORIES}:tangent_space_recentred",
        transductive=True,
    ),
)


def _all() -> Mapping[str, Baseline]:
    found = {baseline.name: baseline for baseline in _OWN}
    for name, path in registry.contributions("eegfound_baselines").items():
        found.setdefault(
            name, path if isinstance(path, Baseline) else Baseline(name, f"from {path}", path)
        )
    return dict(sorted(found.items()))


def list_baselines() -> list[str]:
    """Return the names of the baselines, those of plugins included.

    Examples
    --------
    >>> from eegfound.baselines import list_baselines
    >>> "tangent_space" in list_baselines()
    True
    """
    return list(_all())


def get_baseline(name: str) -> Baseline:
    """Return the description of a baseline.

    Parameters
    ----------
    name : str
        One of :func:`list_baselines`.

    Returns
    -------
    Baseline
        Its summary, and whether it is transductive or binary only.

    Raises
    ------
    SpecError
        If there is no baseline of that name.
    """
    known = _all()
    if name not in known:
        close = get_close_matches(str(name), known, n=1)
        raise SpecError(
            f"There is no baseline {name!r}; baselines are {list(known)}."
            + (f" Did you mean {close[0]!r}?" if close else "")
        )
    return known[name]


def make_baseline(name: str, info: Any = None, **options: Any) -> Any:
    """Return a new classical pipeline for epochs.

    It takes ``X`` as arrays ``(n_epochs, n_channels, n_times)`` or as MNE
    Epochs, any labels, and does its own scaling. Rank deficient data (average
    reference, interpolated electrodes) are reduced to their rank, learned
    from the training data. NaN channels are an error: interpolate first.

    Parameters
    ----------
    name : str
        One of :func:`list_baselines`.
    info : ChannelInfo | mne.Info | None
        Names and rate of the epochs; needed for arrays where frequencies are
        (``band=``, ``"band_power"``).
    **options : Any
        Options of the baseline; ``band=(8, 30)`` filters first, ``unit="uV"``
        states the unit of arrays (volts by default). A wrong option is an
        error that lists those there are.

    Returns
    -------
    estimator
        A scikit-learn classifier, usually a ``Pipeline``.

    Raises
    ------
    SpecError
        If name or option are unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.baselines import make_baseline
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(scale=1e-5, size=(20, 3, 200)), np.repeat(["rest", "task"], 10)
    >>> X[y == "task", 0] *= 3
    >>> make_baseline("tangent_space").fit(X, y).score(X, y)
    1.0
    """
    return get_baseline(name).make(info, **options)
