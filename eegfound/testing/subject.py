"""What the conformance kit checks: a model, its data, and the list of checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo
from eegfound.models import FoundationModel

#: A 10-20 montage, front to back, as MNE writes the names.
TEN_TWENTY = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8",
    "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What is checked: a model in one size with random weights.

    Attributes
    ----------
    model : FoundationModel
        The model.
    size : str
        The size used for the checks.
    """

    model: FoundationModel
    size: str

    def transformer(self, **params: Any) -> Any:
        """Return an unfitted Transformer with random weights."""
        from eegfound.estimators import make_transformer

        return make_transformer(self.model.name, size=self.size, checkpoint=None, **params)

    def classifier(self, **params: Any) -> Any:
        """Return an unfitted Classifier with random weights."""
        from eegfound.estimators import make_classifier

        return make_classifier(self.model.name, size=self.size, checkpoint=None, **params)

    def regressor(self, **params: Any) -> Any:
        """Return an unfitted Regressor with random weights."""
        from eegfound.estimators import make_regressor

        return make_regressor(self.model.name, size=self.size, checkpoint=None, **params)

    @property
    def info(self) -> ChannelInfo:
        """A montage the model takes, at the model's rate."""
        from eegfound.montage import match_vocabulary

        spec = self.model.input
        if spec.vocabulary is None:
            names = list(TEN_TWENTY)
        elif not spec.accepts_missing:
            names = list(spec.vocabulary)
        else:
            rows = match_vocabulary(TEN_TWENTY, spec.vocabulary).rows
            names = [name for name, row in zip(TEN_TWENTY, rows) if row >= 0]
            names = names or list(spec.vocabulary[:8])
        return ChannelInfo(names, spec.sfreq)

    @property
    def n_times(self) -> int:
        """A window of two to four patches that one pass takes."""
        spec = self.model.input
        wanted = max(spec.shortest, 2 * spec.stride + spec.patch_samples)
        return wanted if spec.max_samples is None else min(wanted, spec.max_samples)

    def eeg(self, n: int = 5, *, n_times: int | None = None, n_channels: int | None = None) -> Any:
        """Return noise the size of EEG, in volts."""
        shape = (n, n_channels or self.info.n_channels, n_times or self.n_times)
        return 1e-5 * np.random.default_rng(7).standard_normal(shape)

    def batch(self, n: int = 4) -> Any:
        """Return epochs as the network and its objective take them."""
        import torch

        from eegfound.estimators._encode import Electrodes
        from eegfound.models.network import SignalBatch

        X = self.eeg(n)
        enc = self.transformer(info=self.info).fit(X)
        presence = enc.plan_.check(X)
        signal = enc.plan_.apply(X, presence)
        if enc.front_end_ is not None:
            signal = np.ascontiguousarray(enc.front_end_.transform(signal), dtype=np.float32)
        there = Electrodes.of(enc.plan_, presence[0])
        places = None if there.positions is None else torch.as_tensor(there.positions)
        return SignalBatch(torch.from_numpy(signal), torch.tensor(there.rows), there.names, places)


CHECKS: dict[str, Callable[[Subject], None]] = {}


def check(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Add a function to the kit under its name."""
    CHECKS[function.__name__.removeprefix("_")] = function
    return function
