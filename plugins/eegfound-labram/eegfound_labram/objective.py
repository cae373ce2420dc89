"""Masked EEG modelling: predict the tokenizer's codes of hidden patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.models.network import SignalBatch
from eegfound.nn import Objective, hide_largest
from eegfound.nn.codebook import unit
from eegfound_labram.network import LaBraM, initialize
from eegfound_labram.tokenizer import VQNSP

_STD = 0.02


def mask_from_noise(noise: Tensor, ratio: float = 0.5) -> Tensor:
    """Choose the patches to hide.

    Parameters
    ----------
    noise : Tensor, shape (n, n_patches)
        Independent numbers; an epoch's smallest stay visible.
    ratio : float
        Share of hidden patches; ``int((1 - ratio) * n_patches)`` stay visible.

    Returns
    -------
    Tensor of bool, shape (n, n_patches)
        True where hidden.

    Examples
    --------
    >>> import torch
    >>> from eegfound_labram.objective import mask_from_noise
    >>> mask_from_noise(torch.tensor([[0.9, 0.1, 0.5]])).tolist()
    [[True, False, True]]
    """
    return hide_largest(noise, int((1 - ratio) * noise.shape[1]))


class Student(LaBraM):
    """The encoder with a token for hidden patches and a norm on all tokens.

    Parameters
    ----------
    n_codes : int
        Codes of the tokenizer.
    **config : Any
        See :class:`eegfound_labram.network.LaBraM`.
    """

    def __init__(self, *, n_codes: int, **config: Any) -> None:
        super().__init__(pooling="cls", **config)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.width))
        # Never trained by the reference; its files have it nevertheless.
        self.lm_head = nn.Linear(self.width, n_codes)
        initialize(self, cut=_STD, convolutions=True)

    def hide(self, patches: Tensor, mask: Tensor) -> Tensor:
        """Replace embeddings, ``(n, n_patches, width)``, where the mask is True."""
        return torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)


@dataclass(frozen=True)
class MaskedLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        Sum of both passes, not halved.
    masked, complement : Tensor, shape ()
        Cross-entropy of the hidden patches, and with the complement hidden.
    logits, complement_logits : Tensor, shape (n_hidden, n_codes)
        Predictions at hidden patches, epoch by epoch.
    """

    total: Tensor
    masked: Tensor
    complement: Tensor
    logits: Tensor
    complement_logits: Tensor


class MaskedEEGModel(nn.Module):
    """The network of masked EEG modelling, named as in the published file.

    Parameters
    ----------
    n_codes : int
        Codes of the tokenizer.
    cls_quirk : bool
        Give the class token the table row of the first listed electrode, as
        the published weights were trained; False gives it row 0, as
        everywhere else.
    **config : Any
        See :class:`eegfound_labram.network.LaBraM`.

    Notes
    -----
    With the quirk the order of channels matters slightly. ``student.lm_head``
    and ``projection_head`` get no gradient.
    """

    def __init__(self, *, n_codes: int = 8192, cls_quirk: bool = True, **config: Any) -> None:
        super().__init__()
        self.cls_quirk = cls_quirk
        self.student = Student(n_codes=n_codes, **config)
        width = self.student.width
        self.lm_head = nn.Linear(width, n_codes)
        self.projection_head = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        nn.init.trunc_normal_(self.lm_head.weight, std=_STD, a=-_STD, b=_STD)

    def tokens(self, batch: SignalBatch, mask: Tensor | None = None) -> Tensor:
        """Return all tokens of the student, the class token first.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_patches * 200)`` in units of 0.1 mV, 200 Hz.
        mask : Tensor of bool | None, shape (n, n_channels * n_patches)
            Patches to hide.

        Returns
        -------
        Tensor, shape (n, 1 + n_channels * n_patches, width)
            After the final norm.
        """
        return self._tokens(self.student.embed(batch.signal), batch.rows, mask)

    def _tokens(self, patches: Tensor, rows: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            patches = self.student.hide(patches, mask)
        cls_row = int(rows[0]) + 1 if self.cls_quirk else 0
        return self.student.encode(patches, rows, cls_row=cls_row)

    def forward(self, batch: SignalBatch, codes: Tensor, mask: Tensor) -> MaskedLosses:
        """Predict codes of hidden patches, then of their complement.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_patches * 200)`` in units of 0.1 mV, 200 Hz.
        codes : Tensor of int64, shape (n, n_channels * n_patches)
            The tokenizer's codes of the whole signal.
        mask : Tensor of bool, shape (n, n_channels * n_patches)
            True where hidden in the first pass.

        Returns
        -------
        MaskedLosses
            Losses and predictions.
        """
        # Both passes see the same embeddings: hiding comes after them.
        patches = self.student.embed(batch.signal)
        logits = [
            self.lm_head(self._tokens(patches, batch.rows, hidden)[:, 1:][hidden])
            for hidden in (mask, ~mask)
        ]
        first, second = (
            F.cross_entropy(predicted.float(), codes[hidden])
            for predicted, hidden in zip(logits, (mask, ~mask), strict=True)
        )
        return MaskedLosses(first + second, first, second, *logits)

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that are not decayed (``mask_token`` is)."""
        return {f"student.{name}" for name in self.student.no_weight_decay()}


class MaskedObjective(Objective):
    """What pretraining minimizes: the network and its frozen tokenizer.

    Parameters
    ----------
    network : MaskedEEGModel
        Trained.
    tokenizer : VQNSP
        Gives the labels; frozen and always in evaluation mode.
    mask_ratio : float
        Share of hidden patches.
    """

    def __init__(
        self, network: MaskedEEGModel, tokenizer: VQNSP, *, mask_ratio: float = 0.5
    ) -> None:
        super().__init__()
        self.network, self.mask_ratio = network, mask_ratio
        self.tokenizer = tokenizer.requires_grad_(False).eval()

    @property
    def encoder(self) -> Student:
        """The masked model's encoder."""
        return self.network.student

    def no_weight_decay(self) -> set[str]:
        """Return the network's parameters that are not decayed."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}

    def train(self, mode: bool = True) -> MaskedObjective:
        """Set the network's mode; the tokenizer stays in evaluation."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    @torch.no_grad()
    def prepare(self, batch: SignalBatch) -> None:
        """Fill the codebook of a tokenizer that was neither trained nor loaded.

        Masked modelling runs with such codes but predicts an untrained
        network's clusters; the paper trains the tokenizer first.
        """
        quantizer = self.tokenizer.quantize
        if not quantizer.is_initialized:
            vectors = self.tokenizer.project(self.tokenizer.features(batch))
            quantizer.initialize(unit(vectors.flatten(0, 1)))

    def forward(
        self,
        batch: SignalBatch,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> MaskedLosses:
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_patches * 200)`` in units of 0.1 mV, 200 Hz.
        noise : Tensor | None, shape (n, n_channels * n_patches)
            See :func:`mask_from_noise`; None draws it.
        generator : torch.Generator | None
            Source of the draw.

        Returns
        -------
        MaskedLosses
            Whose ``total`` is to be minimized.
        """
        codes = self.tokenizer.codes(batch)
        if noise is None:
            # Drawn on the CPU, so that a seed gives the same masks everywhere.
            noise = torch.rand(codes.shape, generator=generator)
        mask = mask_from_noise(noise, self.mask_ratio).to(codes.device)
        return self.network(batch, codes, mask)


def build_objective(
    *,
    tokenizer: VQNSP | None = None,
    mask_ratio: float = 0.5,
    cls_quirk: bool = True,
    **config: Any,
) -> MaskedObjective:
    """Build the pretraining objective for an encoder of a given size.

    Parameters
    ----------
    tokenizer : VQNSP | None
        Trained tokenizer; None builds one of the published shape, whose
        weights must then be loaded before use.
    mask_ratio : float
        Share of hidden patches.
    cls_quirk : bool
        See :class:`MaskedEEGModel`.
    **config : Any
        See :class:`eegfound_labram.network.LaBraM`.

    Returns
    -------
    MaskedObjective
        Its ``network.student`` is the encoder.
    """
    tokenizer = VQNSP() if tokenizer is None else tokenizer
    network = MaskedEEGModel(n_codes=tokenizer.quantize.n_codes, cls_quirk=cls_quirk, **config)
    return MaskedObjective(network, tokenizer, mask_ratio=mask_ratio)
