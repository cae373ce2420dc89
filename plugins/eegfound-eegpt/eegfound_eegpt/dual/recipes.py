"""What the authors' downstream scripts feed to the encoder, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from eegfound.nn.slices.tables import PATCH, PRETRAINING_CHANNELS

#: The 19 electrodes of the 10-20 system, front to back.
TEN_TWENTY = (
    "FP1", "FP2", "F7", "F3", "FZ", "F4", "F8", "T7", "C3", "CZ", "C4", "T8",
    "P7", "P3", "PZ", "P4", "P8", "O1", "O2",
)  # fmt: skip

#: The 20 virtual electrodes of TUAB and TUEV.
TUH_ELECTRODES = ("FP1", "FPZ", *TEN_TWENTY[1:])


@dataclass(frozen=True)
class ProbeRecipe:
    """A linear probe on the frozen encoder.

    Attributes
    ----------
    n_channels, n_times : int
        Channels and samples of the input.
    electrodes : tuple of str
        Electrodes that the encoder is told.
    n_outputs : int
        Classes.
    spatial_filter : bool
        Whether a 1x1 convolution takes the channels to ``electrodes``.
    picks : tuple of int | None
        Channels picked instead, each scaled by a learnable factor.
    scale : float
        Multiplied to the input.
    center : bool
        Whether the mean over all channels is subtracted.
    resample_to : int | None
        Samples after nearest interpolation (which subtracts the mean too).
    stride : int
        Hop between slices in samples.
    """

    n_channels: int
    n_times: int
    electrodes: tuple[str, ...]
    n_outputs: int
    spatial_filter: bool = True
    picks: tuple[int, ...] | None = None
    scale: float = 1.0
    center: bool = False
    resample_to: int | None = None
    stride: int = PATCH

    @property
    def n_slices(self) -> int:
        """Slices that the encoder sees."""
        return ((self.resample_to or self.n_times) - PATCH) // self.stride + 1


@dataclass(frozen=True)
class AdapterRecipe:
    """A convolutional adapter before the encoder, for the TUH sets.

    Attributes
    ----------
    n_times : int
        Samples at 200 Hz.
    kernel : int
        Length of the temporal filters.
    padded : bool
        Whether they keep the length.
    activation : bool
        Whether a GELU follows the second norm.
    dropout, head_dropout : float
        After the adapter and before the head.
    n_outputs : int
        Outputs of the head.
    """

    n_times: int
    kernel: int
    padded: bool
    activation: bool
    dropout: float
    head_dropout: float
    n_outputs: int

    @property
    def n_slices(self) -> int:
        """Slices that the encoder sees."""
        n_times = self.n_times if self.padded else self.n_times - self.kernel + 1
        return (n_times - PATCH) // PATCH + 1


#: The 64 electrodes of a BioSemi cap, in its order.
_BIOSEMI = (
    "FP1", "AF7", "AF3", "F1", "F3", "F5", "F7", "FT7", "FC5", "FC3", "FC1", "C1", "C3", "C5", "T7",
    "TP7", "CP5", "CP3", "CP1", "P1", "P3", "P5", "P7", "P9", "PO7", "PO3", "O1", "IZ", "OZ", "POZ",
    "PZ", "CPZ", "FPZ", "FP2", "AF8", "AF4", "AFZ", "FZ", "F2", "F4", "F6", "F8", "FT8", "FC6",
    "FC4", "FC2", "FCZ", "CZ", "C2", "C4", "C6", "T8", "TP8", "CP6", "CP4", "CP2", "P2", "P4", "P6",
    "P8", "P10", "PO8", "PO4", "O2",
)  # fmt: skip

#: Recipes of the linear probes by data set. BCIC-2B has four outputs for two classes.
PROBES: dict[str, ProbeRecipe] = {
    "bcic2a": ProbeRecipe(22, 1024, TEN_TWENTY, 4),
    "bcic2b": ProbeRecipe(3, 1024, ("C5", "C3", "C1", "CZ", "C2", "C4", "C6"), 4, scale=0.1),
    "kaggleern": ProbeRecipe(
        19, 400, TEN_TWENTY, 2, scale=0.1, center=True, resample_to=512, stride=32
    ),
    "physiop300": ProbeRecipe(
        64, 538, PRETRAINING_CHANNELS, 2, spatial_filter=False, center=True, stride=32,
        picks=tuple(_BIOSEMI.index(name) for name in PRETRAINING_CHANNELS),
    ),
    "sleepedf": ProbeRecipe(
        2, 3000,
        ("F3", "F4", "C3", "C4", "P3", "P4", "FPZ", "FZ", "CZ", "CPZ", "PZ", "POZ", "OZ"),
        5, resample_to=7680,
    ),
}  # fmt: skip

#: Recipes of the convolutional adapters by data set.
ADAPTERS: dict[str, AdapterRecipe] = {
    "tuab": AdapterRecipe(2000, 15, False, True, 0.25, 0.5, 1),
    "tuev": AdapterRecipe(1000, 55, True, False, 0.8, 0.8, 6),
}
