"""Networks through ``torch.compile``, which fall back to themselves."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import torch

from eegfound.base import SignalWarning
from eegfound.models.network import SignalBatch, Tokens

#: Largest difference from the network itself, relative to the largest token.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}


class CompiledNetwork:
    """A network whose forward pass is compiled for each shape it meets.

    The first result of every shape is compared with the network's own. Where
    there is no compiler, compiling fails or the numbers differ, the network
    itself runs, after one warning.

    Parameters
    ----------
    network : EncoderNetwork
        In evaluation mode.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._fast = torch.compile(network, dynamic=False)
        self._checked: set[Any] = set()
        self._lock = threading.Lock()
        self.failed = False

    def __call__(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`."""
        if self.failed:
            return self._network(batch, layer=layer)
        key = (tuple(batch.signal.shape), batch.signal.dtype, layer)
        if key in self._checked:
            return self._fast(batch, layer=layer)
        with self._lock:  # compile once, whoever comes first
            return self._first(batch, layer, key)

    def _first(self, batch: SignalBatch, layer: int | None, key: Any) -> Tokens:
        mine = SignalBatch(
            batch.signal.clone(), batch.rows, batch.ch_names, batch.positions, batch.presence
        )
        exact = self._network(mine, layer=layer)
        if self.failed:
            return exact
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tokens = self._fast(batch, layer=layer)
        except Exception as error:  # whatever a compiler may say
            return self._give_up(f"failed ({str(error).strip().splitlines()[0][:200]})", exact)
        scale = float(exact.values.abs().max())
        apart = float((tokens.values.float() - exact.values.float()).abs().max())
        if not apart <= TOLERANCE.get(batch.signal.dtype, 1e-3) * scale:
            return self._give_up(f"changed tokens by {apart:.2g} of {scale:.2g}", exact)
        self._checked.add(key)
        return tokens

    def _give_up(self, told: str, exact: Tokens) -> Tokens:
        self.failed = True
        warnings.warn(
            f"compile=True: torch.compile {told}; the network runs as it is. It needs a C++ "
            "compiler (g++ or clang) on the CPU.",
            SignalWarning,
            stacklevel=2,
        )
        return exact

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._network, name)
