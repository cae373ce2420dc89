"""Blocks of SpecHi-Net: pairs of convolutional branches and the transformer.

Names of parameters, also the numbers inside a branch, are those of the
published state dicts.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn import rotary_angles, rotate
from eegfound_specmoe.attention import Mode, attend
from eegfound_specmoe.batch_norm import StepBatchNorm1d


class SameConv1d(nn.Conv1d):
    """A convolution of stride 1 that keeps the length; the odd zero goes to the end."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved signal, ``(n, filters, n_times)``."""
        return super().forward(self.padded(x))

    def padded(self, x: Tensor) -> Tensor:
        """Return the signal with the zeros the kernel needs."""
        total = self.kernel_size[0] - 1
        return F.pad(x, (total // 2, total - total // 2))


def conv(
    n_in: int, n_out: int, kernel: int, padding: int | None = None, *, stride: int = 1,
    dilation: int = 1, bias: bool = False,
) -> nn.Conv1d:  # fmt: skip
    """Return a convolution along time; without ``padding`` one that keeps the length."""
    if padding is None:
        return SameConv1d(n_in, n_out, kernel, bias=bias)
    return nn.Conv1d(
        n_in, n_out, kernel, stride=stride, padding=padding, dilation=dilation, bias=bias
    )


def transposed(
    n_in: int, n_out: int, kernel: int, padding: int, *, stride: int = 1, dilation: int = 1,
    extra: int = 0,
) -> nn.ConvTranspose1d:  # fmt: skip
    """Return a transposed convolution; ``extra`` samples are added at the end."""
    return nn.ConvTranspose1d(
        n_in, n_out, kernel, stride=stride, padding=padding, dilation=dilation,
        output_padding=extra,
    )  # fmt: skip


class Branch(nn.Sequential):
    """Convolutions, each with its BatchNorm, along time.

    Without gradients and training a BatchNorm is a fixed scale and shift per
    filter; where signals are longer than kernels are large, both go into the
    convolution before it, which saves a pass over the largest arrays.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch's output, ``(n, filters, n_times)``."""
        if self.training or torch.is_grad_enabled():
            return super().forward(x)
        layers = list(self)
        at = 0
        while at < len(layers):
            layer, following = layers[at], layers[at + 1] if at + 1 < len(layers) else None
            if (
                isinstance(layer, nn.Conv1d)
                and isinstance(following, nn.BatchNorm1d)
                and x.shape[-1] > layer.in_channels * layer.kernel_size[0]
            ):
                x = _folded(layer, following, x)
                at += 2
            elif isinstance(layer, nn.GELU):  # nobody needs its input: write over it
                x = torch.ops.aten.gelu_(x)
                at += 1
            else:
                x = layer(x)
                at += 1
        return x


def _folded(layer: nn.Conv1d, norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Apply a convolution and the BatchNorm behind it at once."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * gain
    if layer.bias is not None:
        shift = shift + layer.bias * gain
    if isinstance(layer, SameConv1d):
        x = layer.padded(x)
    return F.conv1d(
        x, layer.weight * gain[:, None, None], shift, layer.stride, layer.padding,
        layer.dilation,
    )  # fmt: skip


class UnbiasedNorm(nn.Module):
    """Norm over features with the unbiased deviation and the epsilon added to it.

    Parameters
    ----------
    width : int
        Length of a token.
    """

    eps = 1e-6

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(width))
        self.b_2 = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return normed tokens, ``(..., width)``."""
        mean = x.mean(dim=-1, keepdim=True)
        centred = x - mean
        # By hand: torch.std has no gradient for a token of equal features.
        variance = centred.square().sum(dim=-1, keepdim=True) / (x.shape[-1] - 1)
        return torch.addcmul(self.b_2, centred / (_root(variance) + self.eps), self.a_2)


def _root(x: Tensor) -> Tensor:
    """Return the square root, with gradient zero at zero."""
    zero = x == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


class _Projections(nn.Module):
    """Keys, values and output; queries come from the block's first layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)


class _FeedForward(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, 2 * width)
        self.w_2 = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(F.relu(self.w_1(x), inplace=True)))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = UnbiasedNorm(width)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        return self.norm(x + branch)


class TransformerBlock(nn.Module):
    """Post-norm block whose first layer makes queries and residual stream alike.

    Parameters
    ----------
    width, heads : int
        Length of a token and number of heads (which changes no shapes).
    dropout : float
        Dropout inside the feed-forward layers.
    attention : {"auto", "dense", "chunked"}
        See :func:`eegfound_specmoe.attention.attend`.

    Notes
    -----
    Heads are cut from the memory of ``(n_tokens, width)`` re-read as
    ``(heads, n_tokens, width / heads)``: a head does not hold the same features
    of every token but all features of a stretch of tokens. Queries, keys *and
    values* are rotated, each row by the position of the token whose number it
    bears. The published weights were trained so.
    """

    def __init__(
        self, width: int, *, heads: int = 8, dropout: float = 0.2, attention: Mode = "auto"
    ) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.MultiH_Attn = _Projections(width)
        self.feed_forward = _FeedForward(width, dropout)
        self.sublayer_output = nn.ModuleList(_Residual(width) for _ in range(2))
        self.lin_1 = nn.Linear(width, width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Return tokens after attention and feed-forward layers.

        Parameters
        ----------
        x : Tensor, shape (n_epochs, n_tokens, width)
            Tokens.
        positions : Tensor, shape (n_epochs or 1, n_tokens)
            Position of each row.
        """
        n, n_tokens, width = x.shape
        project = self.MultiH_Attn
        stream = self.lin_1(x)
        angles = rotary_angles(positions, width // self.heads)[:, None]
        q, k, v = (
            rotate(part.reshape(n, self.heads, n_tokens, -1), angles, interleaved=True)
            for part in (stream, project.k_proj(x), project.v_proj(x))
        )
        mixed = attend(q, k, v, mode=self.attention).transpose(1, 2).reshape(n, n_tokens, width)
        y = self.sublayer_output[0](stream, project.out_proj(mixed))
        return self.sublayer_output[1](y, self.feed_forward(y))


def act(features: int) -> list[nn.Module]:
    """Return what follows nearly every convolution: BatchNorm and the exact GELU."""
    return [StepBatchNorm1d(features), nn.GELU()]


class Pair(nn.Module):
    """A fine branch (short kernels) and a coarse one (long, dilated kernels)."""

    def __init__(self, fine: list[nn.Module], coarse: list[nn.Module]) -> None:
        super().__init__()
        self.features1 = Branch(*fine)
        self.features3 = Branch(*coarse)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Return both branches' outputs."""
        return self.features1(fine), self.features3(coarse)


def split_time(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two halves of ``(n, features, n_channels, n_times)``, channels in a row.

    The fine branch takes the first half of every channel's time axis, the
    coarse branch the second.
    """
    half = x.shape[-1] // 2
    return x[..., :half].flatten(2), x[..., half:].flatten(2)


_STD = 0.02
#: Power of an untrained network's input: 20 microvolt in units of 0.1 mV.
_POWER = 0.04


def initialize(module: nn.Module) -> None:
    """Draw convolutions and BatchNorm gains as the reference does.

    Transposed convolutions, linear layers and biases keep torch's defaults.

    Notes
    -----
    The reference leaves the running variances at one. Kernels are so small
    that a network in evaluation mode then shrinks its input below rounding
    errors in each layer. Here they start at what white input of unit power (20
    microvolt in the first layer) leads to. Nothing changes for training, which
    replaces them, nor for loaded weights; random weights become a random
    projection that does tell inputs apart.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.normal_(layer.weight, 0.0, _STD)
        elif isinstance(layer, nn.BatchNorm1d):
            nn.init.normal_(layer.weight, 1.0, _STD)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, Branch):
            for convolution, norm in pairwise(layer):
                if isinstance(convolution, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d):
                    assert norm.running_var is not None
                    inputs = convolution.in_channels * convolution.kernel_size[0]
                    power = _POWER if convolution.in_channels == 1 else 1.0
                    nn.init.constant_(norm.running_var, power * inputs * _STD**2)


def join_time(halves: tuple[Tensor, Tensor], n_channels: int) -> Tensor:
    """Undo :func:`split_time`: ``(n, features, n_channels, n_times)``."""
    return torch.cat([half.unflatten(2, (n_channels, -1)) for half in halves], dim=-1)
