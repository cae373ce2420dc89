"""All datasets by name: the suite's own and those of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.datasets.cards import CARDS, DatasetCard
from eegfound.models import load_object, registry


def _loaders() -> Mapping[str, str]:
    own = {name: card.loader for name, card in CARDS.items()}
    return {**registry.contributions("eegfound_datasets"), **own}


def list_datasets() -> list[str]:
    """Return the names that :func:`load_dataset` knows, sorted.

    Returns
    -------
    list of str
        Own datasets and those offered by plugins.

    Examples
    --------
    >>> from eegfound.datasets import list_datasets
    >>> "sample" in list_datasets()
    True
    """
    return sorted(_loaders())


def get_card(name: str) -> DatasetCard:
    """Return what is known about a dataset.

    Parameters
    ----------
    name : str
        Name of a dataset. A plugin's dataset, or one that nobody registered,
        gets a card that says its terms are unknown.

    Returns
    -------
    DatasetCard
        Title, licence, citation, aliases.
    """
    if name in CARDS:
        return CARDS[name]
    return DatasetCard(
        name=name, title=name, task="", loader=_loaders().get(name, ""), licence="unknown",
        citation=(), url="",
    )  # fmt: skip


def load_dataset(
    name: str, **options: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load a dataset by name.

    Parameters
    ----------
    name : str
        One of :func:`list_datasets`.
    **options : Any
        Options of the loader, for instance ``subjects=`` or ``task=``.

    Returns
    -------
    X : ndarray of float32, shape (n_epochs, n_channels, n_times)
        Volts.
    y : ndarray of str, shape (n_epochs,)
        Labels.
    groups : ndarray, shape (n_epochs,)
        Subject of each epoch.
    info : ChannelInfo
        Names and rate.

    Raises
    ------
    SpecError
        If nobody offers the dataset, or the loader does not take an option.

    Examples
    --------
    >>> from eegfound.datasets import load_dataset
    >>> X, y, groups, info = load_dataset("sample", subjects=[3])
    >>> X.shape
    (24, 19, 800)
    """
    loaders = _loaders()
    if name not in loaders:
        close = get_close_matches(str(name), loaders, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"No dataset is called {name!r}; there are {sorted(loaders)}.{hint}")
    loader = load_object(loaders[name])
    try:
        return loader(**options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise SpecError(f"Dataset {name!r} does not take that option: {error}.") from error
