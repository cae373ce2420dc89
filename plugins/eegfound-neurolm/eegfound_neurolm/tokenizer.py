"""NeuroLM's neural tokenizer: patches to codes, codes to spectra and signals."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound_neurolm.codebook import Codebook, Quantized
from eegfound_neurolm.encoder import NeuralTransformer
from eegfound_neurolm.vocabulary import PATCH

#: Bins of the amplitude spectrum that are predicted (0 to 99 Hz).
BINS = 100


def targets(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what the decoders learn to predict.

    Parameters
    ----------
    patches : Tensor, shape (n, n_tokens, 200)
        Signal in units of 0.1 mV.

    Returns
    -------
    amplitude : Tensor, shape (n, n_tokens, 100)
        First bins of the modulus of each patch's Fourier transform, all 200 of
        which are z-scored over the epoch.
    raw : Tensor, shape (n, n_tokens, 200)
        The signal, z-scored over the epoch.

    Raises
    ------
    SpecError
        If an epoch is flat.
    """
    flat = torch.nonzero(patches.flatten(1).std(dim=1) == 0).flatten().tolist()
    if flat:
        raise SpecError(
            f"Epochs {flat[:10]} of the batch are flat, so they have no shape to learn from: drop "
            "them before pretraining."
        )
    amplitude = torch.fft.fft(patches.float()).abs()
    return _standardized(amplitude)[..., :BINS], _standardized(patches.float())


def _standardized(values: Tensor) -> Tensor:
    mean = values.mean(dim=(1, 2), keepdim=True)
    return (values - mean) / values.std(dim=(1, 2), keepdim=True)


def _task_layer(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out))


def _bias(task_layer: nn.Sequential) -> Tensor:
    last = task_layer[-1]
    assert isinstance(last, nn.Linear)
    return last.bias


class NeuralTokenizer(nn.Module):
    """Encoder, codebook, and one decoder each for spectrum and signal.

    Parameters
    ----------
    width, depth, heads : int
        Encoder: width of a token, blocks, heads.
    decoder_depth : int
        Blocks of each decoder, which has the encoder's width and heads.
    n_codes, code_dim : int
        Codes and their length.
    encoder : NeuralTransformer | None
        An encoder to use instead of a new one.
    decay, revive_after
        See :class:`eegfound_neurolm.codebook.Codebook`.

    Notes
    -----
    Only ``encoder`` has its published name; the names of the other parts are
    ours (see the model card).
    """

    def __init__(
        self, *, width: int = 768, depth: int = 12, heads: int = 12, decoder_depth: int = 4,
        n_codes: int = 8192, code_dim: int = 128, encoder: NeuralTransformer | None = None,
        decay: float = 0.99, revive_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = NeuralTransformer(width, depth, heads) if encoder is None else encoder
        self.encode_task_layer = _task_layer(width, code_dim)
        self.quantize = Codebook(n_codes, code_dim, decay=decay, revive_after=revive_after)
        self.decoder_freq = NeuralTransformer(width, decoder_depth, heads, code_dim=code_dim)
        self.decoder_raw = NeuralTransformer(width, decoder_depth, heads, code_dim=code_dim)
        self.decode_task_layer_freq = _task_layer(width, BINS)
        self.decode_task_layer_raw = _task_layer(width, PATCH)

    def encode(
        self, patches: Tensor, channels: Tensor, seconds: Tensor
    ) -> tuple[Tensor, Quantized]:
        """Return encoder features, ``(n, n_tokens, width)``, and their codes.

        Parameters
        ----------
        patches, channels, seconds : Tensor
            From :func:`eegfound_neurolm.network.lay_out`.
        """
        features = self.encoder(patches, channels, seconds)
        return features, self.quantize(self.encode_task_layer(features))

    def decode(self, vectors: Tensor, channels: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Predict spectra, ``(n, n_tokens, 100)``, and signals, ``(n, n_tokens, 200)``.

        Parameters
        ----------
        vectors : Tensor, shape (n, n_tokens, code_dim)
            Rows of the codebook.
        channels, seconds : Tensor of int64, shape (n_tokens,)
            Places of the tokens.
        """
        amplitude = self.decode_task_layer_freq(self.decoder_freq(vectors, channels, seconds))
        raw = self.decode_task_layer_raw(self.decoder_raw(vectors, channels, seconds))
        return amplitude, raw

    @torch.no_grad()
    def prepare(
        self, patches: Tensor, channels: Tensor, seconds: Tensor, *, centered: bool = False
    ) -> None:
        """Fill an empty codebook from a first batch; leave a filled one alone.

        Parameters
        ----------
        patches, channels, seconds : Tensor
            From :func:`eegfound_neurolm.network.lay_out`.
        centered : bool
            Choose the biases of the last layers so that the vectors of this batch
            have mean zero and decoders begin with its means. Otherwise the first
            thing training does is to turn all vectors the same way until decoders
            give the mean, and as only direction counts, codes tell nothing then.
        """
        if self.quantize.is_initialized:
            return
        z = self.encode_task_layer(self.encoder(patches, channels, seconds)).float().flatten(0, 1)
        if centered:
            mean = z.mean(dim=0)
            z -= mean
            _bias(self.encode_task_layer).sub_(mean)
            decoders = self.decode_task_layer_freq, self.decode_task_layer_raw
            for decoder, target in zip(decoders, targets(patches), strict=True):
                _bias(decoder).copy_(target.flatten(0, 1).mean(dim=0))
        self.quantize.initialize(nn.functional.normalize(z, dim=-1))


def build_tokenizer(**config: object) -> NeuralTokenizer:
    """Build the tokenizer; see :class:`NeuralTokenizer` for the options."""
    return NeuralTokenizer(**config)  # type: ignore[arg-type]
