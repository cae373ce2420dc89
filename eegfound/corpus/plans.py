"""How the recordings of one montage enter a model, decided once per montage."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, SignalWarning, SpecError
from eegfound.estimators._batches import Electrodes
from eegfound.estimators._inputs import InputPlan, plan_input
from eegfound.models import FoundationModel


@dataclass(frozen=True)
class MontagePlan:
    """The way from a window of a shard to the network's signal.

    Attributes
    ----------
    plan : InputPlan
        The suite's own, for one montage.
    electrodes : Electrodes
        What the network is told about it.
    mapping : ndarray | None, shape (n_vocabulary, n_channels)
        Interpolation before the plan, where it was asked for.
    key : tuple
        Equal for montages whose windows may stand in one batch.
    """

    plan: InputPlan
    electrodes: Electrodes
    mapping: np.ndarray | None
    key: tuple[Any, ...]

    def apply(self, window: np.ndarray) -> np.ndarray:
        """Return the network's signal of one window.

        Parameters
        ----------
        window : ndarray of float32, shape (n_channels, n_times)
            Volts.

        Returns
        -------
        ndarray of float32, shape (n_used, n_model_times)
            In the model's rate and unit.
        """
        if self.mapping is not None:
            window = self.mapping @ window.astype(np.float64)
        # One by one: the numbers of a window must not depend on its neighbours.
        everything = np.ones((1, len(self.plan.picks)), dtype=bool)
        return self.plan.apply(window[np.newaxis], everything)[0]


def plan_montage_of(
    model: FoundationModel, info: ChannelInfo, *, on_unknown: str, missing: str
) -> MontagePlan:
    """Decide how recordings of one montage enter a model.

    Parameters
    ----------
    model : FoundationModel
        The model.
    info : ChannelInfo
        The montage.
    on_unknown : {"drop", "raise"}
        Electrodes the model does not know.
    missing : {"skip", "interpolate", "raise"}
        Electrodes that a model with a fixed layout lacks.

    Returns
    -------
    MontagePlan
        The plan.

    Raises
    ------
    SpecError
        If recordings of this montage cannot be used.
    """
    mapping = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SignalWarning)  # the preparation said it
        if missing == "interpolate" and not model.input.accepts_missing:
            mapping, info = _interpolation(model, info)
        plan = plan_input(
            model, info, n_channels=info.n_channels, unit="V", on_unknown=on_unknown,
            on_short="raise",
        )  # fmt: skip
    if not model.input.ordered_channels:
        plan = _in_one_order(plan)
    electrodes = Electrodes.of(plan, np.ones(len(plan.picks), dtype=bool))
    where = b"" if electrodes.positions is None else electrodes.positions.tobytes()
    place = hashlib.sha256(where).hexdigest()[:16] if where else ""
    key = (len(electrodes.names), electrodes.names, electrodes.rows, place)
    return MontagePlan(plan, electrodes, mapping, key)


def _in_one_order(plan: InputPlan) -> InputPlan:
    """Bring electrodes into the vocabulary's order: files that differ in theirs share batches."""
    order = sorted(range(len(plan.picks)), key=lambda i: (plan.rows[i], plan.names[i]))
    return replace(
        plan,
        picks=tuple(plan.picks[i] for i in order),
        rows=tuple(plan.rows[i] for i in order),
        names=tuple(plan.names[i] for i in order),
        positions=None if plan.positions is None else plan.positions[order],
    )


def _interpolation(model: FoundationModel, info: ChannelInfo) -> tuple[np.ndarray, ChannelInfo]:
    from eegfound.montage.planning import plan_montage

    target = model.input.vocabulary
    found = plan_montage(info, target, missing="interpolate", on_unknown="drop")
    gone = ~np.isfinite(found.mapping).all(axis=1)
    if gone.any():
        names = [n for n, is_gone in zip(found.info_out.ch_names, gone) if is_gone]
        raise SpecError(f"{names} have no place on the head and cannot be interpolated.")
    return found.mapping, found.info_out
