"""A fitted encoder as one module, from the user's windows to embeddings, for tracing.

It holds everything that torch can express: picking channels, unit, reference,
resampling, network, read-out and head.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError, unit_factor
from eegfound.estimators._batches import Electrodes
from eegfound.estimators._encode import pieces_of
from eegfound.estimators._inputs import InputPlan
from eegfound.estimators._pooling import concatenate, pool
from eegfound.models.network import SignalBatch, Tokens
from eegfound.preprocessing.resampling import resample

#: Largest matrix, in numbers, that resampling may become.
MOST_RESAMPLING = 2**24


class Mask(list):
    """Positions of true entries that answer like a mask and index a tensor like a list."""

    def __init__(self, flags: Any) -> None:
        self.flags = np.asarray(flags, dtype=bool)
        super().__init__(np.flatnonzero(self.flags).tolist())

    def all(self) -> bool:
        """Say whether all entries are true."""
        return bool(self.flags.all())

    def any(self) -> bool:
        """Say whether some entry is true."""
        return bool(self.flags.any())

    def __invert__(self) -> Mask:
        return Mask(~self.flags)

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.flags & other.flags)


class Places(np.ndarray):
    """Whole numbers whose comparisons are :class:`Mask`.

    Which token stands where does not depend on the signal. While a program is
    traced, that must be known to Python: a tensor would be a quantity of the
    program, on which nothing can be decided.
    """

    @classmethod
    def of(cls, tensor: Tensor) -> Places:
        """Take the numbers of a tensor."""
        return tensor.cpu().numpy().view(cls)

    def __eq__(self, other: Any) -> Mask:  # type: ignore[override]
        return Mask(np.asarray(self) == other)

    def __lt__(self, other: Any) -> Mask:  # type: ignore[override]
        return Mask(np.asarray(self) < other)

    def __ge__(self, other: Any) -> Mask:  # type: ignore[override]
        return Mask(np.asarray(self) >= other)

    __hash__ = None


class Program(nn.Module):
    """From the user's windows to embeddings or scores, for tracing.

    Parameters
    ----------
    plan : InputPlan
        How windows enter the model.
    network : EncoderNetwork
        In float32 on the CPU; is copied.
    n_times : int
        Samples of a window.
    pooling : str
        Read-out.
    layer : int | None
        Layer to read.
    head : Module | None
        From embeddings to scores.
    """

    rows: Tensor
    positions: Tensor | None
    rate: Tensor | None

    def __init__(
        self, plan: InputPlan, network: Any, *, n_times: int, pooling: str, layer: int | None,
        head: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval()
        self.head = None if head is None else copy.deepcopy(head).cpu().float().eval()
        self.pooling, self.layer, self.plan = pooling, layer, plan
        spec = plan.spec
        self.picks = list(plan.picks)
        self.factor = unit_factor(plan.unit) * spec.volts_to_model
        self.length = plan.n_model_times(n_times)
        self.electrodes = Electrodes.of(plan, np.ones(len(plan.picks), dtype=bool))
        self.pieces = pieces_of(self.length, plan)
        self.average = spec.reference == "average" and len(self.picks) > 1
        self.nearest = spec.resampling == "nearest"
        self.register_buffer("rows", torch.tensor(self.electrodes.rows))
        positions = self.electrodes.positions
        self.register_buffer("positions", None if positions is None else torch.tensor(positions))
        self.register_buffer("rate", _rate_change(plan, n_times))
        with torch.no_grad():
            pieces = self._pieces(torch.zeros(1, len(self.picks), self.length))
            self.tokens = _static(concatenate(pieces))
        self.requires_grad_(False)

    def forward(self, X: Tensor) -> Tensor:
        """Return embeddings or scores, ``(n_epochs, n_features)``."""
        x = X[:, self.picks] * self.factor
        if self.average:
            x = x - x.mean(dim=1, keepdim=True)
        if self.rate is not None and self.nearest:
            x = x[..., self.rate]
        elif self.rate is not None:
            mean = x.mean(dim=-1, keepdim=True)  # goes around the filter, as in `resample`
            x = (x - mean) @ self.rate + mean
        x = nn.functional.pad(x, (0, self.length - x.shape[-1]))  # negative: cut
        values = torch.cat([tokens.values for tokens, _ in self._pieces(x)], dim=1)
        static: Any = self.tokens
        tokens = Tokens(values, static.channels, static.times, static.summary)
        slots: Any = np.arange(len(self.picks)).view(Places)
        out = pool(
            self.network, tokens, self.pooling, layer=self.layer, slots=slots,
            n_slots=len(self.picks),
        ).float()  # fmt: skip
        return out if self.head is None else self.head(out)

    def _pieces(self, x: Tensor) -> list[tuple[Tokens, int]]:
        found = []
        for start, stop, first in self.pieces:
            part = x if len(self.pieces) == 1 else x[..., start:stop]
            batch = SignalBatch(part, self.rows, self.electrodes.names, self.positions)
            found.append((self.network(batch, layer=self.layer), first))
        return found


def _static(tokens: Tokens) -> Any:
    """Return tokens whose places are known to Python."""
    summary: Any = Mask(tokens.is_summary.cpu().numpy())
    places: Any = Places.of
    return Tokens(tokens.values, places(tokens.channels), places(tokens.times), summary)


def _rate_change(plan: InputPlan, n_times: int) -> Tensor | None:
    """Return the indices or the matrix that bring a window to the model's rate."""
    spec, rate = plan.spec, plan.info.sfreq
    if rate == spec.sfreq:
        return None
    if spec.resampling == "nearest":
        index = resample(np.arange(n_times, dtype=np.float64), rate, spec.sfreq, method="nearest")
        return torch.from_numpy(index.astype(np.int64))
    n_out = round(n_times * spec.sfreq / rate)
    if n_times * n_out > MOST_RESAMPLING:
        raise SpecError(
            f"Resampling windows of {n_times} samples from {rate:g} to {spec.sfreq:g} Hz would be "
            "a matrix of more than 64 MB in the program: put Resample before the encoder and fit "
            f"it with windows at {spec.sfreq:g} Hz."
        )
    # Each output is a weighted sum of inputs: the response to unit impulses.
    matrix = np.empty((n_times, n_out), dtype=np.float32)
    for first in range(0, n_times, 128):
        impulses = np.eye(min(128, n_times - first), n_times, first)
        matrix[first : first + 128] = resample(impulses, rate, spec.sfreq, method=spec.resampling)
    return torch.from_numpy(matrix)
