"""Datasets of MOABB as ``(X, y, groups, info)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, SpecError, as_channel_info, epochs_to_array, is_epochs


def moabb_to_arrays(
    X: Any,
    labels: Sequence[Any],
    meta: Any,
    *,
    info: Any = None,
    unit_factor: float = 1e6,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Turn what ``paradigm.get_data`` returns into the suite's arrays.

    MOABB multiplies arrays by ``dataset.unit_factor`` (1e6: microvolts) but
    leaves Epochs in volts.

    Parameters
    ----------
    X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
        Signals as MOABB returned them.
    labels : sequence
        One label per epoch.
    meta : pandas.DataFrame
        MOABB's metadata with a column ``subject``.
    info : ChannelInfo | mne.Info | None
        Names and rate; needed when ``X`` is an array.
    unit_factor : float
        ``dataset.unit_factor``; only used for arrays.

    Returns
    -------
    X : ndarray of float32, shape (n_epochs, n_channels, n_times)
        Volts.
    y : ndarray of str, shape (n_epochs,)
        Labels.
    groups : ndarray, shape (n_epochs,)
        Subject.
    info : ChannelInfo
        Names and rate.

    Raises
    ------
    SpecError
        If lengths differ, the subject is not in ``meta``, or ``info`` is missing.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from eegfound import ChannelInfo
    >>> from eegfound.datasets import moabb_to_arrays
    >>> meta = pd.DataFrame({"subject": [1, 2]})
    >>> microvolts = np.full((2, 1, 50), 20.0)
    >>> X, y, groups, info = moabb_to_arrays(
    ...     microvolts, ["left", "right"], meta, info=ChannelInfo(["Cz"], 100))
    >>> float(X[0, 0, 0]), groups.tolist()
    (1.9999999494757503e-05, [1, 2])
    """
    if is_epochs(X):
        volts, facts = epochs_to_array(X)
    else:
        if info is None:
            raise SpecError(
                "info is needed with arrays: paradigm.get_data(..., return_epochs=True) keeps "
                "names and rate, or pass info=ChannelInfo(ch_names, sfreq)."
            )
        volts, facts = np.asarray(X) / unit_factor, as_channel_info(info)
    if "subject" not in meta:
        raise SpecError(f"meta needs the column 'subject', it has {list(meta)}.")
    if not len(volts) == len(labels) == len(meta):
        raise SpecError(
            f"X, labels and meta disagree: {len(volts)}, {len(labels)} and {len(meta)} rows."
        )
    y = np.array([str(label) for label in labels])
    return volts.astype(np.float32), y, np.asarray(meta["subject"]), facts


def load_moabb(
    dataset: Any, paradigm: Any, *, subjects: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load a MOABB dataset through a MOABB paradigm.

    Parameters
    ----------
    dataset : moabb.datasets.base.BaseDataset | str
        Dataset, or the name of its class (``"BNCI2014_001"``).
    paradigm : moabb.paradigms.base.BaseParadigm | str
        Paradigm, or the name of its class (``"LeftRightImagery"``).
    subjects : sequence of int | None
        Subjects; None means all.

    Returns
    -------
    X, y, groups, info
        As :func:`moabb_to_arrays`: volts, labels, subjects, names and rate.

    Raises
    ------
    ImportError
        If MOABB is needed to find a class by its name and is not installed.
    """
    dataset = _by_name(dataset, "moabb.datasets")
    paradigm = _by_name(paradigm, "moabb.paradigms")
    chosen = None if subjects is None else list(subjects)
    # Epochs keep names, rate and volts, which MOABB's arrays do not.
    epochs, labels, meta = paradigm.get_data(dataset, subjects=chosen, return_epochs=True)
    return moabb_to_arrays(epochs, labels, meta)


def _by_name(thing: Any, module: str) -> Any:
    if not isinstance(thing, str):
        return thing
    import importlib

    try:
        return getattr(importlib.import_module(module), thing)()
    except ImportError as error:
        raise ImportError(f"{thing!r} is looked up in {module}: pip install moabb.") from error
    except AttributeError as error:
        raise SpecError(f"{module} has no class {thing!r}.") from error
