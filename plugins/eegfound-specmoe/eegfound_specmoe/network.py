"""SpecMoE: experts side by side, and how their features become one vector.

Darankoum, Habermacher, Volle, Grudinin: "SpecMoE: Spectral Mixture-of-Experts
Foundation Model for Cross-Species EEG Decoding", arXiv 2603.16739.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound_specmoe.attention import MODES, Mode
from eegfound_specmoe.channels import Order, order_of
from eegfound_specmoe.encoder import PARTS, STAGES, WIDTH, Encoder
from eegfound_specmoe.spectrum import decades, n_bins, welch
from eegfound_specmoe.times import PooledTimes, Stamps, padded_length, time_stamps

Reduce = Literal["mean", "max"]
#: Parts of the published networks that this one does without.
_NOT_ENCODER = ("classifier.",)


class SpecMoE(EncoderNetwork):
    """Experts that all see the signal; their features stand side by side.

    Parameters
    ----------
    pooling : str
        ``"reference"``, ``"per_feature"``, ``"fused"``, or one of the suite's.
    n_experts : int
        Experts; the published model has three.
    heads : int
        Heads of the transformer blocks.
    dropout : float
        Dropout while training.
    attention : {"auto", "dense", "chunked"}
        See :func:`eegfound_specmoe.attention.attend`.
    time_pool, channel_pool : {"mean", "max"}
        Reductions of ``"reference"`` and ``"fused"``.
    positions : {"finetuning", "pretraining"}
        Time stamps; see :func:`eegfound_specmoe.times.time_stamps`.
    channel_order : {"given", "pretraining"}
        ``"pretraining"`` puts the 19 electrodes of the pretraining data first,
        in their order there; the others follow as given.
    psd_seconds : {1, 2}
        Frames of the gates' spectra; see
        :func:`eegfound_specmoe.spectrum.welch`. Published practice: 2, and 1
        for windows of one second.
    log_psd : bool
        Give the gates decades of power instead of power.
    features : int
        Features of each expert's output, a multiple of ``4 * heads``; 128 as
        published.

    Notes
    -----
    The experts are convolved and attend across the borders of channels: the
    result depends on the order of channels.
    """

    optional_state = ("gate_LinearT_*",)

    def __init__(
        self, *, pooling: str = "reference", n_experts: int = 3, heads: int = 8,
        dropout: float = 0.2, attention: Mode = "auto", time_pool: Reduce = "mean",
        channel_pool: Reduce = "mean", positions: Stamps = "finetuning",
        channel_order: Order = "given", psd_seconds: int = 2, log_psd: bool = False,
        features: int = WIDTH,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, allowed in (
            ("attention", attention, MODES),
            ("time_pool", time_pool, ("mean", "max")),
            ("channel_pool", channel_pool, ("mean", "max")),
            ("positions", positions, ("finetuning", "pretraining")),
            ("channel_order", channel_order, ("given", "pretraining")),
        ):
            if value not in allowed:
                raise SpecError(f"{name}={value!r} is not one of {tuple(allowed)}.")
        if n_experts < 1:
            raise SpecError(f"n_experts={n_experts!r} must be at least 1.")
        self.pooling, self.time_pool, self.channel_pool = pooling, time_pool, channel_pool
        self.positions, self.channel_order = positions, channel_order
        self.psd_seconds, self.log_psd = psd_seconds, log_psd
        self.width, self.n_layers = n_experts * features, len(PARTS) - 1
        self.experts = nn.ModuleList(
            Encoder(heads=heads, dropout=dropout, attention=attention, width=features)
            for _ in range(n_experts)
        )
        bins = n_bins(psd_seconds)
        if pooling == "fused":
            for i in range(n_experts):
                self.add_module(_gate(i), nn.Linear(bins, features))

    def prepare(self, signal: Tensor, ch_names: tuple[str, ...]) -> tuple[Tensor, list[int]]:
        """Order the channels and fill the end with zeros.

        Parameters
        ----------
        signal : Tensor, shape (n, n_channels, n_times)
            In units of 0.1 mV at 200 Hz.
        ch_names : tuple of str
            Names of the channels.

        Returns
        -------
        x : Tensor, shape (n, n_channels, n_padded)
            What the experts take.
        order : list of int
            Place among the given channels of each row of ``x``.
        """
        _, n_channels, n_times = signal.shape
        order = order_of(ch_names, n_channels, self.channel_order)
        if order != list(range(n_channels)):
            signal = signal[:, order]
        return F.pad(signal, (0, padded_length(n_channels, n_times) - n_times)), order

    def times(self, x: Tensor, n_times: int, segments: Tensor | None = None) -> PooledTimes:
        """Return positions for a padded signal.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels, n_padded)
            From :meth:`prepare`.
        n_times : int
            Samples before the zeros.
        segments : Tensor of int64 | None, shape (n,)
            See :func:`eegfound_specmoe.times.time_stamps`.

        Returns
        -------
        PooledTimes
            On the signal's device.
        """
        stamps = time_stamps(n_times, stamps=self.positions, segments=segments)
        stamps = F.pad(stamps, (0, x.shape[-1] - n_times)).to(x.device)
        return PooledTimes.of(stamps, x.shape[1])

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`.

        With ``pooling="fused"`` the tokens are the gated rows; see
        :meth:`gated_rows`.
        """
        n_times = batch.signal.shape[-1]
        x, order = self.prepare(batch.signal, batch.ch_names)
        times = self.times(x, n_times)
        if self.pooling == "fused":
            if layer not in (None, self.n_layers):
                raise SpecError("pooling='fused' reads the experts' output: leave out layer=.")
            rows = self.gated_rows([expert(x, times) for expert in self.experts], x, n_times)
            nowhere = torch.full((rows.shape[1],), -1, device=x.device)
            return Tokens(rows, nowhere, nowhere)
        last = STAGES[-1 if layer is None else layer]
        maps = [_stage(expert, x, times, last) for expert in self.experts]
        values = torch.cat(maps, dim=1)
        length = values.shape[-1]
        channels = torch.tensor(order, device=x.device).repeat_interleave(length)
        moments = torch.arange(length, device=x.device).repeat(len(order))
        return Tokens(values.flatten(2).transpose(1, 2), channels, moments)

    def spectrum(self, x: Tensor, n_times: int) -> Tensor:
        """Return what the gates look at, ``(n, n_channels, n_bins)``."""
        psd = welch(x, n_times=n_times, seconds=self.psd_seconds)
        return (decades(psd) if self.log_psd else psd).to(x.dtype)

    def gates(self, spectrum: Tensor) -> list[Tensor]:
        """Return the weight of every feature, ``(n, n_channels, 128)`` per expert."""
        layers = [getattr(self, _gate(i)) for i in range(len(self.experts))]
        return [torch.sigmoid(layer(spectrum)) for layer in layers]

    def gated_rows(self, outputs: list[Tensor], x: Tensor, n_times: int) -> Tensor:
        """Weigh the experts' rows by what the spectrum of each channel says.

        Parameters
        ----------
        outputs : list of Tensor, shape (n, 128, n_channels * n_padded / 60)
            The experts' outputs.
        x : Tensor, shape (n, n_channels, n_padded)
            The signal they come from.
        n_times : int
            Samples before the zeros.

        Returns
        -------
        Tensor, shape (n, n_channels, n_experts * 128)
            Rows times gates. A row is not one electrode's; see :func:`rows_of`.
        """
        rows = [rows_of(out, x.shape[1], self.time_pool) for out in outputs]
        gates = self.gates(self.spectrum(x, n_times))
        return torch.cat([row * gate for row, gate in zip(rows, gates)], dim=-1)

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Compute ``"reference"``, ``"per_feature"`` or ``"fused"``; None for others."""
        values = tokens.values
        if pooling == "per_feature":
            return values.mean(dim=1)
        if pooling == "fused":
            return reduce(values, self.channel_pool, dim=1)
        if pooling != "reference":
            return None
        length = int(tokens.times.max()) + 1
        n_channels = values.shape[1] // length
        rows = [
            rows_of(part.transpose(1, 2), n_channels, self.time_pool)
            for part in values.chunk(len(self.experts), dim=-1)
        ]
        return reduce(torch.cat(rows, dim=-1), self.channel_pool, dim=1)

    def readout_parameters(self) -> set[str]:
        """Return the gates, which no pretraining has seen."""
        return {name for name, _ in self.named_parameters() if name.startswith("gate_")}

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Leave out gates that this read-out does not have, and the reference's head."""
        own = set(self.state_dict())
        dropped = tuple(
            key for key in state
            if key.startswith(_NOT_ENCODER) or (key.startswith("gate_") and key not in own)
        )  # fmt: skip
        return {key: value for key, value in state.items() if key not in dropped}, dropped

    def lora_targets(self) -> tuple[str, ...]:
        """Return the projections of both transformer blocks; ``lin_1`` makes the queries."""
        block = "experts.*.TransformerEnc?"
        return (
            f"{block}.lin_1",
            *(f"{block}.MultiH_Attn.{part}_proj" for part in ("k", "v", "out")),
        )

    def layer_index(self, name: str) -> int:
        """Return the number of a parameter's stage; gates stand on the output side."""
        part = name.split(".")[2] if name.startswith("experts.") else ""
        return PARTS.index(part) if part in PARTS else self.n_layers + 1


def _gate(expert: int) -> str:
    return f"gate_LinearT_{expert + 1}"


def _stage(expert: nn.Module, x: Tensor, times: PooledTimes, last: str) -> Tensor:
    """Return an expert's features after a stage, ``(n, features, n_channels, length)``."""
    assert isinstance(expert, Encoder)
    n, n_channels, _ = x.shape
    seen: dict[str, Tensor] = {}
    for name, value in expert.stages(x, times):
        seen[name] = value
        if name == last:
            break
    if last.startswith("attention"):
        value = value.transpose(1, 2)
    parts = [seen["fine"], value] if last == "coarse" else [value]
    return torch.cat([part.reshape(n, part.shape[1], n_channels, -1) for part in parts], dim=-1)


def rows_of(output: Tensor, n_channels: int, how: str) -> Tensor:
    """Reduce an expert's output over time, and re-read it as one row per channel.

    Parameters
    ----------
    output : Tensor, shape (n, features, n_channels * length)
        An expert's output.
    n_channels : int
        Channels.
    how : {"mean", "max"}
        Reduction over time.

    Returns
    -------
    Tensor, shape (n, n_channels, features)
        The memory of ``(features, n_channels)`` re-read, not transposed: with
        more than one channel a row mixes channels and features. The published
        weights were fine-tuned so.
    """
    n, features, _ = output.shape
    reduced = reduce(output.reshape(n, features, n_channels, -1), how, dim=-1)
    return reduced.reshape(n, n_channels, features)


def reduce(x: Tensor, how: str, *, dim: int) -> Tensor:
    """Return the mean or the maximum over an axis."""
    return x.mean(dim=dim) if how == "mean" else x.amax(dim=dim)


def build_encoder(**config: Any) -> SpecMoE:
    """Build the network; see :class:`SpecMoE` for the options."""
    return SpecMoE(**config)


def build_for_pretraining(n_experts: int, config: Mapping[str, Any], **changes: Any) -> SpecMoE:
    """Build the experts with the time stamps of pretraining."""
    return SpecMoE(**{**config, "n_experts": n_experts, "positions": "pretraining", **changes})
