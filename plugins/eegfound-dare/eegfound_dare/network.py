"""DARE-EEG's encoder as the suite runs it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch

from eegfound.base import SignalWarning, SpecError
from eegfound.models.network import SignalBatch, Tokens
from eegfound.nn.slices import UNTRAINED_CHANNELS, VOCABULARY, SliceEncoder

_UNTRAINED_ROWS = frozenset(VOCABULARY.index(name) for name in UNTRAINED_CHANNELS)


class DARE(SliceEncoder):
    """DARE-EEG's encoder (Shao et al., arXiv 2605.18298), the one of EEGPT (2024).

    Parameters
    ----------
    pooling : str
        Read-out.
    input_scale : float
        Multiplied to millivolts: the authors' TUH scripts feed tenfold values
        (microvolt / 100).
    virtual_ids : {"named", "first"}
        ``"named"``: a channel's row is that of its name. ``"first"``: channels
        take rows 0, 1, 2, … whatever they are called, as in the authors' TUH
        scripts; their order then matters.
    **config : Any
        See :class:`eegfound.nn.slices.SliceEncoder`. ``heads`` cannot be read
        from a file: the authors use 8 for a width of 512, else 4, but contradict
        themselves for ``base`` and ``deep``.
    """

    #: Set when published weights are read: some rows of them are untrained.
    published = False

    def __init__(
        self, *, pooling: str = "mean", input_scale: float = 1.0, virtual_ids: str = "named",
        **config: Any,
    ) -> None:  # fmt: skip
        if virtual_ids not in ("named", "first"):
            raise SpecError(f"virtual_ids={virtual_ids!r} is not one of ('named', 'first').")
        super().__init__(pooling=pooling, **config)
        self.input_scale, self.virtual_ids = input_scale, virtual_ids

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.nn.slices.SliceEncoder`."""
        if self.virtual_ids == "first":
            n_channels, n_rows = batch.signal.shape[1], self.chan_embed.num_embeddings
            if n_channels > n_rows:
                raise SpecError(
                    f"virtual_ids='first' has {n_rows} rows for {n_channels} channels: use "
                    "virtual_ids='named', or tuning='conv_linear'."
                )
            batch = replace(batch, rows=torch.arange(n_channels, device=batch.signal.device))
        if self.published:
            _warn_untrained(batch)
        if self.input_scale != 1:
            batch = replace(batch, signal=batch.signal * self.input_scale)
        return super().forward(batch, layer)


def _warn_untrained(batch: SignalBatch) -> None:
    """Warn of electrodes whose rows of the trained table are as they were drawn."""
    found = sorted(_UNTRAINED_ROWS.intersection(batch.rows.tolist()))
    if found:
        names = ", ".join(VOCABULARY[row] for row in found)
        warnings.warn(
            f"DARE-EEG saw no {names} in pretraining: their rows of the table of channels are "
            "still random. Leave these channels out.",
            SignalWarning,
            stacklevel=3,
        )


def build_encoder(**config: Any) -> DARE:
    """Build the encoder; see :class:`DARE` for the options."""
    return DARE(**config)
