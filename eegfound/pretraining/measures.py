"""Means of what an objective says, over windows, parts and processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from eegfound.pretraining.batches import Part, Purpose, Windows, seed_torch, seeds
from eegfound.pretraining.batches import Pass as OnePass
from eegfound.pretraining.processes import gathered


class Means:
    """Weighted means of named numbers.

    Attributes
    ----------
    sums, weights : dict of str to float
        Sum of weight times value, and of weights.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.weights: dict[str, float] = {}

    def add(self, weight: float, values: Mapping[str, float]) -> None:
        """Take in numbers that ``weight`` windows have in common."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * value
            self.weights[name] = self.weights.get(name, 0.0) + weight

    def values(self) -> dict[str, float]:
        """Return the means."""
        return {name: self.sums[name] / self.weights[name] for name in self.sums}

    def clear(self) -> None:
        """Begin anew."""
        self.sums.clear()
        self.weights.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"sums": dict(self.sums), "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.sums, self.weights = dict(state["sums"]), dict(state["weights"])


def named_losses(losses: Any) -> dict[str, Tensor]:
    """Return the scalars among an objective's losses, ``total`` among them."""
    values = {**vars(losses), "total": losses.total}
    return {
        name: value.detach()
        for name, value in values.items()
        if torch.is_tensor(value) and value.ndim == 0 and value.is_floating_point()
    }


def as_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return scalars as numbers, fetched from the device at once."""
    tensors = {name: torch.as_tensor(value).detach() for name, value in values.items()}
    if not tensors:
        return {}
    device = next(iter(tensors.values())).device
    rows = torch.stack([t.reshape(()).to(device, torch.float32) for t in tensors.values()])
    return dict(zip(tensors, rows.tolist(), strict=True))


def combined(
    parts: Iterable[tuple[int, int, Mapping[str, float]]], accelerator: Any
) -> dict[str, float]:
    """Return means over the parts of a batch in all processes, in the parts' order."""
    means = Means()
    for _, weight, values in sorted(gathered(list(parts), accelerator), key=lambda part: part[0]):
        means.add(weight, values)
    return means.values()


class Alone:
    """Stands in for an Accelerator where one process computes in float32."""

    num_processes = 1
    process_index = 0

    def autocast(self) -> Any:
        """Change nothing."""
        return nullcontext()


def measured(
    objective: Any,
    windows: Windows,
    *,
    device: Any,
    random_state: int,
    stage: int,
    accelerator: Any = None,
    n_workers: int = 0,
) -> dict[str, float]:
    """Return what an objective measures on windows: the same numbers at every call.

    Parameters
    ----------
    objective : Objective
        Trained; its mode is as before afterwards.
    windows : Windows
        What is measured.
    device : torch.device | str
        Where the objective is.
    random_state, stage : int
        What masks and the like are drawn from.
    accelerator : Accelerator | None
        Whose processes share the work.
    n_workers : int
        Processes that read ahead.

    Returns
    -------
    dict of str to float
        Means over windows; ``total`` is among them.
    """
    accelerator = accelerator or Alone()
    rank, world = accelerator.process_index, accelerator.num_processes
    was_training = objective.training
    objective.eval()
    means = Means()
    try:
        for batch in OnePass(windows, windows.batches(None), rank, world).steps(0, n_workers):
            found = []
            for part in batch.parts:
                place = seeds(random_state, Purpose.MEASURE, stage, batch.number, part.number)
                with torch.no_grad(), accelerator.autocast():
                    values = measure_part(objective, part, place, device)
                found.append((part.number, len(part), as_numbers(values)))
            for _, weight, values in sorted(gathered(found, accelerator), key=lambda p: p[0]):
                # A part may have nothing that a measure speaks of; a loss it always has.
                told = {k: v for k, v in values.items() if k == "total" or math.isfinite(v)}
                means.add(weight, told)
    finally:
        objective.train(was_training)
    return means.values()


def measure_part(objective: Any, part: Part, place: tuple[int, int], device: Any) -> Any:
    """Return what an objective measures on one part."""
    seed_torch(place[1], device)
    generator = torch.Generator().manual_seed(place[0])
    return objective.measure(part.batch(device), generator=generator)
