"""From any electrodes to those of a model: a trainable spatial filter.

The adapter of EEGPT (Wang et al., NeurIPS 2024) and DARE-EEG (Shao et al.,
arXiv 2605.18298): convolutions of length 1 over time mix the electrodes of a
recording into the electrodes that a frozen encoder knows.
"""

from __future__ import annotations

from torch import Tensor, nn

from eegfound.nn.max_norm import MaxNormConv1d

#: Widest hidden layer of an adapter.
WIDEST = 256


class SpatialAdapter(nn.Module):
    """Mix channels into other channels, sample by sample.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels of the recording, and of the model.
    n_layers : int
        Convolutions of length 1. Each doubles the number of channels (256 at
        most), the last gives ``n_outputs``.
    bias : bool
        Whether the convolutions have a bias.
    max_norm : float
        Largest norm of an output channel's weights.
    batch_norm : bool
        Batch normalization after each convolution.
    gelu : bool
        GELU after each convolution (and its normalization). Without one,
        several layers are a product of matrices.
    temporal_kernel : int | None
        Length in samples of a filter of its own for each output channel,
        after the spatial ones.
    temporal_padding : {"same", "valid"}
        ``"same"`` pads with zeros and keeps the length; ``"valid"`` shortens
        it by ``temporal_kernel - 1``.
    dropout : float
        Probability of dropping a whole output channel while training.

    Notes
    -----
    Parameters are named as in DARE-EEG's files (``conv_layers.<i>``).
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        n_layers: int = 1,
        bias: bool = True,
        max_norm: float = 1.0,
        batch_norm: bool = False,
        gelu: bool = False,
        temporal_kernel: int | None = None,
        temporal_padding: str = "same",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []

        def add(convolution: nn.Module) -> None:
            layers.append(convolution)
            if batch_norm:
                layers.append(nn.BatchNorm1d(n_outputs if last else width))
            if gelu:
                layers.append(nn.GELU())

        before = n_inputs
        for index in range(n_layers):
            last = index == n_layers - 1
            width = n_outputs if last else min(2 * before, WIDEST)
            add(MaxNormConv1d(before, width, 1, bias=bias, max_norm=max_norm))
            before = width
        self.shortens_by = 0
        if temporal_kernel is not None:
            add(
                MaxNormConv1d(
                    n_outputs, n_outputs, temporal_kernel, groups=n_outputs, bias=bias,
                    max_norm=max_norm, padding=temporal_padding,
                )
            )  # fmt: skip
            if temporal_padding == "valid":
                self.shortens_by = temporal_kernel - 1
        self.conv_layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, signal: Tensor) -> Tensor:
        """Return the mixed signal.

        Parameters
        ----------
        signal : Tensor, shape (n_epochs, n_inputs, n_times)
            Finite; zero where a channel was not recorded.

        Returns
        -------
        Tensor, shape (n_epochs, n_outputs, n_times)
            Shorter with ``temporal_padding="valid"``.
        """
        return self.dropout(self.conv_layers(signal))
