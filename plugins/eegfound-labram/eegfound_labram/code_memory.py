"""Codes of windows that a frozen tokenizer has seen before."""

from __future__ import annotations

from itertools import chain

import torch
import xxhash
from torch import Tensor

from eegfound.models.network import SignalBatch
from eegfound_labram.tokenizer import VQNSP

#: Windows that are tokenized together. A window's codes are then the same to the bit
#: whatever stands beside it, so that what is remembered is what would be computed.
TOGETHER = 8
#: Most bytes of codes that are kept; windows beyond are tokenized in every pass.
MOST_BYTES = 256 * 2**20


class CodeMemory:
    """Tokenizes every window once: masked modelling sees it in every pass.

    On the CPU only; a GPU computes codes faster than the signal can be read back.
    Copies begin anew, and so does the memory itself when the tokenizer changes.

    Parameters
    ----------
    most_bytes : int
        Of what is kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.known: dict[bytes, Tensor] = {}
        self._n_bytes = 0
        self._state: tuple[tuple[int, int], ...] = ()

    def __reduce__(self) -> tuple[type[CodeMemory], tuple[int]]:
        return CodeMemory, (self.most_bytes,)

    def codes(self, batch: SignalBatch, tokenizer: VQNSP) -> Tensor:
        """Return the codes of a batch.

        Parameters
        ----------
        batch : SignalBatch
            Signals.
        tokenizer : VQNSP
            In evaluation mode.

        Returns
        -------
        Tensor of int64, shape (n, n_channels * n_patches)
            As ``tokenizer.codes(batch)``, up to ties within rounding.
        """
        signal = batch.signal
        uncounted = any(p.is_inference() for p in tokenizer.parameters())
        if signal.device.type != "cpu" or torch.is_autocast_enabled("cpu") or uncounted:
            return tokenizer.codes(batch)
        self._forget_of_another(tokenizer)
        place = batch.rows.numpy().tobytes()
        keys = [_digest(window) + place for window in signal]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        found: dict[bytes, Tensor] = {}
        for at in range(0, len(new), TOGETHER):
            chosen = new[at : at + TOGETHER]
            filled = [chosen[i % len(chosen)] for i in range(TOGETHER)]
            codes = tokenizer.codes(SignalBatch(signal[filled], batch.rows, batch.ch_names))
            found |= {keys[i]: codes[k].to(torch.int32) for k, i in enumerate(chosen)}
        answer = torch.stack([found[k] if k in found else self.known[k] for k in keys]).long()
        for key, codes in found.items():
            size = 4 * codes.numel() + len(key) + 200
            if self._n_bytes + size <= self.most_bytes:
                self.known[key], self._n_bytes = codes.clone(), self._n_bytes + size
        return answer

    def _forget_of_another(self, tokenizer: VQNSP) -> None:
        # Torch counts what is written into a tensor: loading weights shows here.
        tensors = chain(tokenizer.parameters(), tokenizer.buffers())
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        if state != self._state:
            self.known.clear()
            self._n_bytes, self._state = 0, state


def _digest(window: Tensor) -> bytes:
    return xxhash.xxh3_128_digest(window.numpy().tobytes())
