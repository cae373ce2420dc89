"""The four adapters of the authors' scripts, and their probing modules.

Names of parameters are those of the authors' files. The spatial convolutions
are the suite's (``tuning="conv_linear"``); here they get the details of each
script.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn import SpatialAdapter, TwoLinear
from eegfound.nn.slices import VOCABULARY, SliceEncoder
from eegfound_dare.heads import SliceMLP

#: What each script's adapter does beside 1x1 convolutions of row norm 1.
ADAPTERS: dict[str, dict[str, object]] = {
    "tueg": {
        "bias": False, "batch_norm": True, "gelu": True, "temporal_kernel": 15,
        "temporal_padding": "valid", "dropout": 0.1,
    },
    "others": {},
    "sleep": {"batch_norm": True, "gelu": True},
    "wm": {},
}  # fmt: skip
#: The adapters that change the number of samples first.
RESAMPLING = ("sleep", "wm")


def interpolate(signal: Tensor, n_times: int) -> Tensor:
    """Subtract the mean over channels and take the nearest samples.

    Parameters
    ----------
    signal : Tensor, shape (n, n_channels, n_times_in)
        Samples.
    n_times : int
        Samples afterwards; ``out[j] = in[floor(j * n_times_in / n_times)]``.

    Returns
    -------
    Tensor, shape (n, n_channels, n_times)
        Samples, without an anti-aliasing filter.
    """
    return F.interpolate(signal - signal.mean(dim=1, keepdim=True), size=n_times, mode="nearest")


class Adapter(SpatialAdapter):
    """Spatial convolutions of one of the authors' scripts.

    Parameters
    ----------
    kind : {"tueg", "others", "sleep", "wm"}
        ``"tueg"`` (TUAB, TUEV): no bias, batch normalization and GELU, and a
        filter in time that shortens the signal by 14 samples. ``"others"``: 1x1
        convolutions only. ``"sleep"``: interpolation first, then convolutions
        with normalization and GELU. ``"wm"`` (workload): interpolation first,
        then as ``"others"``.
    n_inputs, n_outputs : int
        Channels.
    n_layers : int
        1x1 convolutions.
    resample_to : int | None
        Samples after interpolation, for ``"sleep"`` and ``"wm"``.

    Notes
    -----
    ``anti_alias`` stands in the authors' files; nobody uses it.
    """

    def __init__(
        self, kind: str, n_inputs: int, n_outputs: int, *, n_layers: int = 1,
        resample_to: int | None = None,
    ) -> None:  # fmt: skip
        if kind not in ADAPTERS:
            raise SpecError(f"kind={kind!r} is not one of {tuple(ADAPTERS)}.")
        if (kind in RESAMPLING) != (resample_to is not None):
            raise SpecError(
                f"resample_to={resample_to!r}: the adapters {RESAMPLING} need a number of samples, "
                "the others take none."
            )
        super().__init__(n_inputs, n_outputs, n_layers=n_layers, **ADAPTERS[kind])  # type: ignore[arg-type]
        self.resample_to = resample_to
        self.anti_alias = nn.Conv1d(
            n_outputs, n_outputs, 5, padding=2, groups=n_outputs, bias=False
        ).requires_grad_(False)

    def forward(self, signal: Tensor) -> Tensor:
        """Return what the encoder sees, ``(n, n_outputs, n_times)``."""
        if self.resample_to is not None:
            signal = interpolate(signal, self.resample_to)
        return super().forward(signal)


class TUHModel(nn.Module):
    """Adapter, encoder and slice-wise MLP of the TUAB and TUEV scripts.

    Trained as a whole there. Loads their fine-tuned files strictly after
    :func:`eegfound_dare.checkpoint.plain_state`.

    Parameters
    ----------
    encoder : SliceEncoder
        The encoder (a :class:`eegfound_dare.network.DARE` will do).
    n_slices : int
        Slices of the filtered window: 31 of TUAB's 2000 samples, 15 of TUEV's
        1000.
    n_outputs : int
        1 for TUAB (one logit), 6 for TUEV.
    n_inputs : int
        Channels of the recording.
    n_virtual : int
        Channels that the encoder sees; they take rows 0, 1, 2, … of its table.
    n_layers : int
        1x1 convolutions of the adapter.
    dropout : float
        See :class:`eegfound_dare.heads.SliceMLP`.
    """

    def __init__(
        self, encoder: SliceEncoder, *, n_slices: int = 31, n_outputs: int = 1, n_inputs: int = 23,
        n_virtual: int = 58, n_layers: int = 2, dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv_head = Adapter("tueg", n_inputs, n_virtual, n_layers=n_layers)
        self.encoder = encoder
        self.classifier = SliceMLP(
            n_slices * encoder.n_summary * encoder.width, n_outputs, dropout=dropout,
            n_slices=n_slices,
        )  # fmt: skip

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits of ``(n, n_inputs, n_times)`` in units of 0.1 mV at 200 Hz."""
        out: Tensor = self.classifier(self.encoder.encode(self.conv_head(signal)))
        return out


class LinearProbe(nn.Module):
    """Plain adapter, frozen encoder, two bounded linear maps (BCIC-2B script).

    Parameters
    ----------
    encoder : SliceEncoder
        Frozen here, always in evaluation mode.
    electrodes : tuple of str
        What the encoder is told.
    n_inputs : int
        Channels of the recording.
    n_slices : int
        Slices of a window.
    n_outputs : int
        Scores.
    n_layers : int
        1x1 convolutions.
    divide_by : float
        Divides the signal first.
    """

    def __init__(
        self, encoder: SliceEncoder, *,
        electrodes: tuple[str, ...] = ("C5", "C3", "C1", "CZ", "C2", "C4", "C6"),
        n_inputs: int = 3, n_slices: int = 16, n_outputs: int = 2, n_layers: int = 1,
        divide_by: float = 10.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.rows = [VOCABULARY.index(name) for name in electrodes]
        self.divide_by = divide_by
        self.chan_conv = Adapter("others", n_inputs, len(electrodes), n_layers=n_layers)
        self.target_encoder = encoder.requires_grad_(False).eval()
        probe = TwoLinear(
            n_slices * encoder.n_summary * encoder.width, n_outputs, n_slices=n_slices
        )
        self.dropout = probe.dropout
        self.linear_probe1, self.linear_probe2 = probe.linear_probe1, probe.linear_probe2

    def train(self, mode: bool = True) -> LinearProbe:
        """Set the mode of everything but the encoder."""
        super().train(mode)
        self.target_encoder.eval()
        return self

    def adapt(self, signal: Tensor) -> Tensor:
        """Return what the encoder sees."""
        out: Tensor = self.chan_conv(signal / self.divide_by)
        return out

    def encode(self, adapted: Tensor) -> Tensor:
        """Return summary tokens, ``(n, n_slices, n_summary, width)``."""
        ids = torch.tensor(self.rows, device=adapted.device)
        return self.target_encoder.encode(adapted, ids)

    def probe(self, z: Tensor) -> Tensor:
        """Return the first map's numbers, ``(n, n_slices, 16)``."""
        out: Tensor = self.linear_probe1(self.dropout(z.flatten(2)))
        return out

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits, ``(n, n_outputs)``."""
        out: Tensor = self.linear_probe2(self.probe(self.encode(self.adapt(signal))).flatten(1))
        return out
