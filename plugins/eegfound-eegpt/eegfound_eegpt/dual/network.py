"""EEGPT's encoder as the suite runs it, with its optional read-out networks."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from eegfound.base import SignalWarning
from eegfound.models.network import SignalBatch, Tokens
from eegfound.nn.slices import UNTRAINED_CHANNELS, VOCABULARY, SliceEncoder
from eegfound_eegpt.dual.readout import READOUTS, build_readout

_UNTRAINED_ROWS = frozenset(VOCABULARY.index(name) for name in UNTRAINED_CHANNELS)


class EEGPT(SliceEncoder):
    """EEGPT's encoder (Wang et al., NeurIPS 2024).

    Parameters
    ----------
    pooling : str
        ``"predictor_mean"``, ``"predictor_cls"``, ``"reconstructor_mean"`` and
        ``"reconstructor_cls"`` add that network with a class token; the mean
        is taken over all other tokens; ``fc_norm`` follows. Any other
        read-out uses the encoder's summary tokens.
    input_scale : float
        Multiplied to millivolts before the encoder: the authors' scripts feed
        tenfold (TUAB, TUEV) or otherwise scaled signals in some places.
    out_proj : bool
        Whether norm and projection end the read-out network.
    **config : Any
        See :class:`eegfound.nn.slices.SliceEncoder`.
    """

    optional_state = ("*.cls_token", "fc_norm.*")
    #: Set when published weights are read: some rows of them are untrained.
    published = False

    def __init__(
        self, *, pooling: str = "mean", input_scale: float = 1.0, out_proj: bool = False,
        **config: Any,
    ) -> None:  # fmt: skip
        super().__init__(pooling=pooling, **config)
        self.input_scale = input_scale
        kind = pooling.partition("_")[0]
        self.readout = kind if kind in READOUTS else None
        self.fc_norm: nn.LayerNorm | None = None
        if self.readout is not None:
            dropout = {key: value for key, value in config.items() if key.endswith("_rate")}
            network = build_readout(
                self.readout, depths=tuple(config["depths"]), width=self.width,
                n_summary=self.n_summary, heads=config["heads"], patch=self.patch,
                n_names=self.chan_embed.num_embeddings, out_proj=out_proj, **dropout,
            )  # fmt: skip
            self.add_module(self.readout, network)
            self.fc_norm = nn.LayerNorm(network.out_width)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`.

        With a read-out network the tokens of ``layer=None`` are its own; any
        ``layer`` is one of the encoder.
        """
        if self.published:
            _warn_untrained(batch)
        if self.input_scale != 1:
            batch = SignalBatch(
                batch.signal * self.input_scale, batch.rows, batch.ch_names, batch.positions,
                batch.presence,
            )  # fmt: skip
        tokens = super().forward(batch, layer)
        if self.readout is None or layer is not None:
            return tokens
        z = tokens.values.unflatten(1, (-1, self.n_summary))
        values = getattr(self, self.readout).read(z)
        times = torch.cat([tokens.times.new_full((1,), -1), tokens.times])
        return Tokens(values, torch.full_like(times, -1), times)

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Compute the read-outs of the class-token networks and those over slices."""
        if self.readout is None:
            return super().pool(tokens, pooling)
        if bool((tokens.times >= 0).all()):  # an earlier layer, of the encoder itself
            own = super().pool(tokens, "mean")
            return tokens.values.mean(dim=1) if own is None else own
        if pooling.endswith("_cls"):
            return tokens.values[:, 0]
        return tokens.values[:, 1:].mean(dim=1)

    def finish_pooling(self, pooled: Tensor) -> Tensor:
        """Apply ``fc_norm`` to what a read-out network gives."""
        return pooled if self.fc_norm is None else self.fc_norm(pooled)

    def readout_parameters(self) -> set[str]:
        """Return what no pretraining has: class token and ``fc_norm``."""
        new = ("cls_token", "fc_norm.weight", "fc_norm.bias")
        return {name for name, _ in self.named_parameters() if name.endswith(new)}

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter; read-outs stand on the output side."""
        outer = ("predictor.", "reconstructor.", "fc_norm.")
        return self.n_layers + 1 if name.startswith(outer) else super().layer_index(name)

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Leave out the read-out networks that this one does not have."""
        own = set(self.state_dict())
        spare = ("predictor.", "reconstructor.", "fc_norm.")
        dropped = tuple(key for key in state if key not in own and key.startswith(spare))
        return {key: value for key, value in state.items() if key not in dropped}, dropped


def _warn_untrained(batch: SignalBatch) -> None:
    """Warn of electrodes whose rows of the published table are as they were drawn."""
    if torch.compiler.is_compiling():
        return  # an exported program has nobody to tell
    found = sorted(_UNTRAINED_ROWS.intersection(batch.rows.tolist()))
    if found:
        names = [VOCABULARY[row] for row in found]
        warnings.warn(
            f"EEGPT saw no {', '.join(names)} in pretraining: their rows of the table of channels "
            "are still random. Leave these channels out.",
            SignalWarning,
            stacklevel=3,
        )


def build_encoder(**config: Any) -> EEGPT:
    """Build the encoder; see :class:`EEGPT` for the options."""
    return EEGPT(**config)
