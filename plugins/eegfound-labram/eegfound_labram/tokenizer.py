"""LaBraM's tokenizer (VQ-NSP): one-second patches to codes and back to spectra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn.codebook import unit
from eegfound_labram.network import PATCH, LaBraM
from eegfound_labram.quantizer import CodebookQuantizer, Quantized

#: Seed of the k-means that fills an empty codebook before training.
_SEED = 0
#: Parts of a published file that are not the tokenizer.
_NOT_TOKENIZER = ("loss", "teacher", "scaling")


def spectral_targets(signal: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what the tokenizer learns to predict.

    Parameters
    ----------
    signal : Tensor, shape (n, n_channels, n_patches * 200)
        In units of 0.1 mV at 200 Hz.

    Returns
    -------
    amplitude, phase : Tensor, shape (n, n_channels, n_patches, 200)
        Of all 200 bins of each patch's Fourier transform, each z-scored over
        an epoch (with the unbiased standard deviation).

    Raises
    ------
    SpecError
        If an epoch is flat: its spectrum has no spread to divide by (the
        reference computes NaN and goes on).

    Notes
    -----
    The bins 0 and 100 of a real signal have no imaginary part, but Fourier
    transforms differ in the sign of that zero, and so in the sign of the phase
    pi. It is taken as positive here, whatever the backend.
    """
    amplitude, phase = spectra(signal)
    return _standardized(amplitude), _standardized(phase)


def spectra(signal: Tensor) -> tuple[Tensor, Tensor]:
    """Return amplitude and phase of each patch, not standardized.

    Parameters
    ----------
    signal : Tensor, shape (n, n_channels, n_patches * 200)
        In units of 0.1 mV at 200 Hz.

    Returns
    -------
    amplitude, phase : Tensor, shape (n, n_channels, n_patches, 200)
        Of all 200 bins.
    """
    n, n_channels, n_times = signal.shape
    patches = signal.reshape(n, n_channels, n_times // PATCH, PATCH)
    spectrum = torch.fft.fft(patches.float())
    imaginary = spectrum.imag.clone()
    imaginary[..., [0, PATCH // 2]] = 0.0
    return spectrum.abs(), torch.atan2(imaginary, spectrum.real)


#: Spectra are standardized over channels, patches and bins of an epoch.
_AXES = (1, 2, 3)


def signal_from(amplitude: Tensor, phase: Tensor, like: Tensor) -> Tensor:
    """Turn predicted spectra into signals.

    Parameters
    ----------
    amplitude, phase : Tensor, shape (n, n_channels * n_patches, 200)
        Standardized, from :meth:`VQNSP.decode`.
    like : Tensor, shape (n, n_channels, n_patches * 200)
        The original, whose mean and spread of spectra undo the standardization.

    Returns
    -------
    Tensor, shape (n, n_channels, n_patches * 200)
        Signals; negative amplitudes count as 0.
    """
    scales = spectra(like)
    amplitude, phase = (
        predicted.view_as(original) * original.std(dim=_AXES, keepdim=True)
        + original.mean(dim=_AXES, keepdim=True)
        for predicted, original in zip((amplitude.float(), phase.float()), scales, strict=True)
    )
    return torch.fft.ifft(torch.polar(amplitude.clamp(min=0), phase)).real.reshape(like.shape)


def _standardized(values: Tensor) -> Tensor:
    spread = values.std(dim=_AXES, keepdim=True)
    flat = torch.nonzero(spread.flatten() == 0).flatten().tolist()
    if flat:
        raise SpecError(
            f"Epochs {flat[:10]} of the batch are flat (all samples equal to zero), so they have "
            "no spectrum to learn from: drop them before pretraining."
        )
    return (values - values.mean(dim=_AXES, keepdim=True)) / spread


class CodeEmbedding(nn.Module):
    """Decoder's embedding: a linear map of each patch's codebook row."""

    def __init__(self, code_dim: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(code_dim, width, kernel_size=1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Turn ``(n, code_dim, n_channels, n_patches)`` into tokens."""
        return self.proj(vectors).flatten(2).transpose(1, 2)


def _transformer(**config: Any) -> LaBraM:
    return LaBraM(pooling="mean", qkv_bias=True, qk_norm=False, init_values=0.0, **config)


def _patch_tokens(network: LaBraM, patches: Tensor, rows: Tensor) -> Tensor:
    """Run a transformer and norm each patch token; nothing is pooled here."""
    assert network.fc_norm is not None
    return network.fc_norm(network.encode(patches, rows)[:, 1:])


def _task_layer(width: int, out: int) -> nn.Sequential:
    linears = nn.Linear(width, width), nn.Linear(width, out)
    for linear in linears:
        nn.init.trunc_normal_(linear.weight, std=0.02, a=-2.0, b=2.0)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(linears[0], nn.Tanh(), linears[1])


def _bias(task_layer: nn.Sequential) -> Tensor:
    last = task_layer[-1]
    assert isinstance(last, nn.Linear)
    return last.bias


@dataclass(frozen=True)
class TokenizerLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Sum of the other three.
    amplitude, phase : Tensor, shape ()
        Mean squared errors of the two spectra.
    commitment : Tensor, shape ()
        Distance of the vectors from their codes.
    """

    total: Tensor
    amplitude: Tensor
    phase: Tensor
    commitment: Tensor


class VQNSP(nn.Module):
    """Vector-quantized neural spectrum prediction.

    Parameters
    ----------
    out_chans, depth, num_heads : int
        Encoder: filters (the width is 25 times that), blocks and heads.
    decoder_depth, decoder_heads : int
        Blocks and heads of the decoder, which has the encoder's width.
    n_codes, code_dim : int
        Size of the codebook.
    decay, beta, revive_after
        See :class:`eegfound_labram.quantizer.CodebookQuantizer`.
    """

    def __init__(
        self, *, out_chans: int = 8, depth: int = 12, num_heads: int = 10, decoder_depth: int = 3,
        decoder_heads: int = 10, n_codes: int = 8192, code_dim: int = 64, decay: float = 0.99,
        beta: float = 1.0, revive_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        #: Options of :class:`LaBraM` that build the encoder alone.
        self.encoder_config = {
            "out_chans": out_chans, "depth": depth, "num_heads": num_heads,
            "qkv_bias": True, "qk_norm": False, "init_values": 0.0,
        }  # fmt: skip
        self.encoder = _transformer(out_chans=out_chans, depth=depth, num_heads=num_heads)
        width = self.encoder.width
        self.decoder = _transformer(
            out_chans=out_chans, depth=decoder_depth, num_heads=decoder_heads
        )
        self.decoder.patch_embed = CodeEmbedding(code_dim, width)  # type: ignore[assignment]
        self.quantize = CodebookQuantizer(
            n_codes, code_dim, decay=decay, beta=beta, revive_after=revive_after
        )
        self.encode_task_layer = _task_layer(width, code_dim)
        self.decode_task_layer = _task_layer(width, PATCH)
        self.decode_task_layer_angle = _task_layer(width, PATCH)

    def features(self, batch: SignalBatch) -> Tensor:
        """Return the encoder's patch tokens, ``(n, n_channels * n_patches, width)``."""
        return _patch_tokens(self.encoder, self.encoder.embed(batch.signal), batch.rows)

    def project(self, features: Tensor) -> Tensor:
        """Map patch tokens to the codebook's space, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return self.encode_task_layer(features.float())

    def _vectors(self, batch: SignalBatch) -> Tensor:
        z = self.project(self.features(batch))
        n_channels = batch.signal.shape[1]
        n, count, code_dim = z.shape
        return z.transpose(1, 2).reshape(n, code_dim, n_channels, count // n_channels)

    def encode(self, batch: SignalBatch) -> Quantized:
        """Quantize a batch and change nothing.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_patches * 200)`` in units of 0.1 mV, 200 Hz.

        Returns
        -------
        Quantized
            Rows, codes and commitment loss.
        """
        return self.quantize.lookup(self._vectors(batch))

    @torch.no_grad()
    def codes(self, batch: SignalBatch) -> Tensor:
        """Return the code of every patch, ``(n, n_channels * n_patches)``."""
        return self.encode(batch).codes

    def decode(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Predict spectra from rows of the codebook.

        Parameters
        ----------
        vectors : Tensor, shape (n, code_dim, n_channels, n_patches)
            From :meth:`encode`.
        rows : Tensor of int64, shape (n_channels,)
            0-based places of the electrodes in the vocabulary.

        Returns
        -------
        amplitude, phase : Tensor, shape (n, n_channels * n_patches, 200)
            Z-scored spectra.

        Raises
        ------
        SpecError
            With a single patch, which the reference's decoder refuses too.
        """
        if vectors.shape[-1] < 2:
            raise SpecError(
                "LaBraM's tokenizer decodes windows of at least 2 patches (2 s), as its reference "
                "does; one-patch windows can be encoded only. Use longer windows for training it."
            )
        tokens = _patch_tokens(self.decoder, self.decoder.patch_embed(vectors), rows)
        return self.decode_task_layer(tokens), self.decode_task_layer_angle(tokens)

    def forward(self, batch: SignalBatch) -> TokenizerLosses:
        """Return the losses; in training mode the codebook follows the batch at once."""
        targets = spectral_targets(batch.signal)
        return self.losses(batch, self.quantize(self._vectors(batch)), targets)

    def losses(
        self, batch: SignalBatch, quantized: Quantized, targets: tuple[Tensor, Tensor]
    ) -> TokenizerLosses:
        """Compare the spectra that codes decode to with the true ones.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_patches * 200)`` in units of 0.1 mV, 200 Hz.
        quantized : Quantized
            From :meth:`encode`.
        targets : tuple of Tensor
            From :func:`spectral_targets`.

        Returns
        -------
        TokenizerLosses
            Whose ``total`` is minimized.
        """
        amplitude, phase = (
            F.mse_loss(predicted.float(), target.flatten(1, 2))
            for predicted, target in zip(
                self.decode(quantized.vectors, batch.rows), targets, strict=True
            )
        )
        total = quantized.loss + amplitude + phase
        return TokenizerLosses(total, amplitude, phase, quantized.loss)

    @torch.no_grad()
    def prepare(self, batch: SignalBatch, *, centered: bool = False) -> None:
        """Fill an empty codebook by k-means on a first batch; leave a filled one alone.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_patches * 200)`` in units of 0.1 mV, 200 Hz.
        centered : bool
            Choose the biases of the last layers so that the vectors of this batch
            have mean zero and decoders begin with its mean spectra. Otherwise a
            fresh network maps all patches to nearly one direction, only direction
            counts, and the first thing training does is to turn that direction
            until decoders give the mean: codes tell nothing for many steps, for
            which short trainings are too short.
        """
        if self.quantize.is_initialized:
            return
        vectors = self.project(self.features(batch)).flatten(0, 1)
        if centered:
            mean = vectors.mean(dim=0)
            vectors -= mean
            _bias(self.encode_task_layer).sub_(mean)
            decoders = self.decode_task_layer, self.decode_task_layer_angle
            for decoder, target in zip(decoders, spectral_targets(batch.signal), strict=True):
                _bias(decoder).copy_(target.flatten(0, 2).mean(dim=0))
        self.quantize.initialize(unit(vectors), torch.Generator().manual_seed(_SEED))

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that are not decayed."""
        parts = (("encoder", self.encoder), ("decoder", self.decoder))
        return {f"{part}.{name}" for part, net in parts for name in net.no_weight_decay()}


def convert_tokenizer(
    raw: Mapping[str, Any], network: nn.Module
) -> tuple[dict[str, Tensor], list[str]]:
    """Read ``vqnsp.pth`` (or a tokenizer that the reference code saved).

    Parameters
    ----------
    raw : mapping
        The state dict, or a dict that holds it as ``model`` or
        ``state_dict`` beside optimizer state and arguments.
    network : VQNSP
        Receives the tensors; every one of them must be there.

    Returns
    -------
    state : dict
        Tensors of the tokenizer.
    dropped : list of str
        Keys of training-time parts, left out.

    Raises
    ------
    KeyError
        If nothing in the file looks like the tokenizer.
    """
    state = next((raw[key] for key in ("model", "state_dict") if key in raw), raw)
    dropped = [key for key in state if key.startswith(_NOT_TOKENIZER)]
    kept = {key: value for key, value in state.items() if key not in dropped}
    if "quantize.embedding.weight" not in kept:
        raise KeyError("no 'quantize.embedding.weight'; it is not a LaBraM tokenizer")
    return kept, dropped


def build_tokenizer(**config: Any) -> VQNSP:
    """Build the tokenizer; see :class:`VQNSP` for the options."""
    return VQNSP(**config)
