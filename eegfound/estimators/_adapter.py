"""Which electrodes of a model an adapter writes to, and what it may be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch

from eegfound.base import SpecError
from eegfound.estimators._encode import Electrodes
from eegfound.models import FoundationModel

PADDINGS = ("same", "valid")


#: What ``adapter_options`` may name, and what each value must fulfil.
_OPTIONS: dict[str, tuple[str, Any]] = {
    "n_layers": ("a positive integer", lambda v: _whole(v) and v >= 1),
    "bias": ("True or False", lambda v: isinstance(v, bool)),
    "max_norm": ("a positive number", lambda v: v > 0),
    "batch_norm": ("True or False", lambda v: isinstance(v, bool)),
    "gelu": ("True or False", lambda v: isinstance(v, bool)),
    "temporal_kernel": (
        "None or a positive integer",
        lambda v: v is None or (_whole(v) and v >= 1),
    ),
    "temporal_padding": (f"one of {PADDINGS}", lambda v: v in PADDINGS),
    "dropout": ("a number from 0 up to 1", lambda v: 0 <= v < 1),
}


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_adapter_options(options: Any) -> dict[str, Any]:
    """Return ``adapter_options`` as arguments of :class:`eegfound.nn.SpatialAdapter`.

    Raises
    ------
    SpecError
        If an option is unknown or its value impossible.
    """
    options = {} if options is None else options
    if not isinstance(options, dict) or not set(options) <= set(_OPTIONS):
        raise SpecError(
            f"adapter_options={options!r} must be a dict with some of {sorted(_OPTIONS)}."
        )
    for name, value in options.items():
        wanted, fits = _OPTIONS[name]
        try:
            good = fits(value)
        except TypeError:
            good = False
        if not good:
            raise SpecError(f"adapter_options: {name}={value!r} must be {wanted}.")
    return dict(options)


def any_electrodes(model: FoundationModel) -> FoundationModel:
    """Return the declaration with an input that takes any electrodes.

    What is left of the contract is rate, unit, reference and length.
    """
    spec = replace(model.input, vocabulary=None, accepts_missing=True, needs_positions=False)
    return replace(model, input=spec)


def target_electrodes(model: FoundationModel, adapter_channels: Any = None) -> Electrodes:
    """Return the electrodes of the model that an adapter writes to.

    Parameters
    ----------
    model : FoundationModel
        The model.
    adapter_channels : None | "all" | int | sequence of str
        None: the whole layout of a model that needs it, else the electrodes of
        the 10-20 system that the model knows. ``"all"``: its whole
        vocabulary. A number: the first electrodes of its vocabulary, or
        as many channels without a name. A list: these electrodes.

    Returns
    -------
    Electrodes
        Their rows, names and positions.

    Raises
    ------
    SpecError
        If the model has no such electrodes.
    """
    from eegfound.montage import electrode_positions, get_layout

    wanted = adapter_channels.tolist() if hasattr(adapter_channels, "tolist") else adapter_channels
    if not (
        wanted is None
        or wanted == "all"
        or (_whole(wanted) and wanted >= 1)
        or (_is_names(wanted) and len(wanted))
    ):
        raise SpecError(
            f"adapter_channels={wanted!r} must be None, 'all', a positive integer or a list of "
            "electrode names."
        )
    if model.input.vocabulary is not None:
        rows = _rows(model, wanted)
        names = tuple(model.input.vocabulary[row] for row in rows)
    else:
        names = _free_names(model, wanted, get_layout("1020-19").ch_names)
        rows = (-1,) * len(names)
    positions = None
    if model.input.needs_positions:
        found = electrode_positions(list(names), info=None)
        positions = torch.tensor([tuple(found[name]) for name in names]).float().numpy()
    return Electrodes(tuple(range(len(names))), rows, names, positions)


def _is_names(wanted: Any) -> bool:
    return (
        isinstance(wanted, Sequence)
        and not isinstance(wanted, str)
        and all(isinstance(name, str) for name in wanted)
    )


def _rows(model: FoundationModel, wanted: Any) -> tuple[int, ...]:
    """Find the wanted electrodes in the model's vocabulary."""
    from eegfound.montage import get_layout, match_vocabulary

    vocabulary = model.input.vocabulary or ()
    count, whole = len(vocabulary), tuple(range(len(vocabulary)))
    if wanted is None:
        if not model.input.accepts_missing:
            return whole
        known = match_vocabulary(get_layout("1020-19").ch_names, vocabulary).rows
        return tuple(row for row in known if row >= 0) or whole
    if isinstance(wanted, str):
        return whole
    if _whole(wanted):
        if wanted > count:
            raise SpecError(
                f"adapter_channels={wanted}: {model.name} has {count} electrodes; 'all' takes them."
            )
        rows = whole[:wanted]
    else:
        rows = tuple(int(match_vocabulary([name], vocabulary).rows[0]) for name in wanted)
        absent = [name for name, row in zip(wanted, rows) if row < 0]
        if absent:
            raise SpecError(
                f"adapter_channels: {model.name} does not know {absent}; it knows "
                f"{list(vocabulary[:8])}{'…' if count > 8 else ''}."
            )
        if len(set(rows)) < len(rows):
            raise SpecError(f"adapter_channels={list(wanted)} names an electrode twice.")
    if not model.input.accepts_missing:
        if len(rows) < count:
            raise SpecError(
                f"adapter_channels={wanted!r} has {len(rows)} of the {count} electrodes of "
                f"{model.name}, which needs them all: use adapter_channels=None."
            )
        return whole
    return rows


def _free_names(model: FoundationModel, wanted: Any, standard: Sequence[str]) -> tuple[str, ...]:
    """Name the channels of a model that has no vocabulary."""
    if wanted is None:
        return tuple(standard)
    if isinstance(wanted, str):
        raise SpecError(
            f"adapter_channels='all': {model.name} has no list of electrodes; give a number or "
            "a list of names."
        )
    if not _whole(wanted):
        if len(set(wanted)) < len(wanted):
            raise SpecError(f"adapter_channels={list(wanted)} names an electrode twice.")
        return tuple(wanted)
    if model.input.needs_positions:
        raise SpecError(
            f"adapter_channels={wanted}: {model.name} needs positions of its electrodes; give a "
            "list of names."
        )
    return tuple(f"virtual{index + 1}" for index in range(wanted))
