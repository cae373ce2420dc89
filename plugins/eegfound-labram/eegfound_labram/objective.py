"""Masked EEG modelling: predict the tokenizer's codes of hidden patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective, hide_largest
from eegfound.nn.code_use import CodeFrequencies, perplexity
from eegfound_labram.code_memory import CodeMemory
from eegfound_labram.network import LaBraM, initialize
from eegfound_labram.tokenizer import VQNSP, signal_from

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

    def _tokens(
        self, patches: Tensor, rows: Tensor, mask: Tensor | None, *, hidden_only: bool = False
    ) -> Tensor:
        if mask is not None:
            patches = self.student.hide(patches, mask)
        cls_row = int(rows[0]) + 1 if self.cls_quirk else 0
        wanted = F.pad(mask, (1, 0)) if mask is not None and hidden_only else None
        return self.student.encode(patches, rows, cls_row=cls_row, wanted=wanted)

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
        # Both passes see the same embeddings (hiding comes after them), go through the
        # blocks as one batch, and are asked for codes where something is hidden only.
        patches = self.student.embed(batch.signal)
        hidden = torch.cat([mask, ~mask])
        tokens = self._tokens(patches.repeat(2, 1, 1), batch.rows, hidden, hidden_only=True)
        n_first = int(mask.sum())
        logits = self.lm_head(tokens).split([n_first, mask.numel() - n_first])
        first, second = (
            F.cross_entropy(predicted.float(), codes[where])
            for predicted, where in zip(logits, (mask, ~mask), strict=True)
        )
        return MaskedLosses(first + second, first, second, *logits)

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that are not decayed (``mask_token`` is)."""
        return {f"student.{name}" for name in self.student.no_weight_decay()}


class MaskedObjective(Objective):
    """Second stage of pretraining: the network and its frozen tokenizer.

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
        if not 0 < mask_ratio < 1:
            raise SpecError(f"mask_ratio={mask_ratio!r} is not between 0 and 1.")
        self.network, self.mask_ratio = network, mask_ratio
        # They are in published files, and nothing ever trains them.
        network.student.lm_head.requires_grad_(False)
        network.projection_head.requires_grad_(False)
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.frequencies = CodeFrequencies(tokenizer.quantize.n_codes)
        self.memory = CodeMemory()

    @property
    def encoder(self) -> Student:
        """The masked model's encoder."""
        return self.network.student

    @property
    def inherited(self) -> tuple[str, ...]:
        """The tokenizer."""
        return ("tokenizer.",)

    def take_up(self, state: Mapping[str, Tensor]) -> bool:
        """Go on; codes of another tokenizer are counted anew."""
        if changed := super().take_up(state):
            self.frequencies.counts.zero_()
        return changed

    def no_weight_decay(self) -> set[str]:
        """Return the network's parameters that are not decayed."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}

    def train(self, mode: bool = True) -> MaskedObjective:
        """Set the network's mode; the tokenizer stays in evaluation."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    @property
    def kept(self) -> LaBraM:
        """The encoder without mask token and unused head; it has the student's parts."""
        student = self.network.student
        plain = LaBraM.__new__(LaBraM)
        plain.__dict__ = student.__dict__ | {
            "_modules": {k: v for k, v in student._modules.items() if k != "lm_head"},
            "_parameters": {k: v for k, v in student._parameters.items() if k != "mask_token"},
        }
        return plain

    def prepare(self, batch: SignalBatch) -> None:
        """Fill the codebook of a tokenizer that was neither trained nor loaded.

        Masked modelling runs with such codes but predicts an untrained
        network's clusters; the paper trains the tokenizer first.
        """
        self.tokenizer.prepare(batch)

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
        codes, mask = self._question(batch, noise, generator)
        if self.training:
            self.frequencies.collect(codes)
        return self.network(batch, codes, mask)

    def _question(
        self, batch: SignalBatch, noise: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        codes = self.memory.codes(batch, self.tokenizer)
        if noise is None:
            # Drawn on the CPU, so that a seed gives the same masks everywhere.
            noise = torch.rand(codes.shape, generator=generator)
        return codes, mask_from_noise(noise, self.mask_ratio).to(codes.device)

    def after_step(self, progress: float) -> None:
        """Remember which codes the step was made of."""
        self.frequencies.follow()

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how often hidden codes are predicted, and how often a constant is right.

        Returns
        -------
        dict of str to Tensor
            The losses and their ``_trivial``: the cross-entropy of the codes'
            frequencies in training; ``accuracy`` at hidden patches (of both
            passes) and ``accuracy_trivial`` of always naming the commonest code
            of training; ``perplexity``, the effective number of codes here.
        """
        codes, mask = self._question(batch, None, generator)
        losses = self.network(batch, codes, mask)
        known = self.frequencies
        asked = {"masked": codes[mask], "complement": codes[~mask]}
        right = [
            (logits.argmax(dim=1) == expected).float()
            for logits, expected in zip(
                (losses.logits, losses.complement_logits), asked.values(), strict=True
            )
        ]
        trivial = {f"{name}_trivial": known.loss(codes) for name, codes in asked.items()}
        return {
            "total": losses.total,
            "masked": losses.masked,
            "complement": losses.complement,
            "total_trivial": torch.stack(list(trivial.values())).sum(),
            **trivial,
            "accuracy": torch.cat(right).mean(),
            "accuracy_trivial": known.accuracy(torch.cat(list(asked.values()))),
            "perplexity": perplexity(torch.bincount(codes.flatten())),
        }

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the first epoch, its hidden patches, and what predicted codes decode to.

        The reconstruction takes the true codes of visible patches and the
        predicted ones of hidden patches; windows of one patch have none.
        """
        codes, mask = self._question(batch, None, generator)
        first = SignalBatch(batch.signal[:1], batch.rows)
        hidden = mask[:1]
        guessed = codes[:1].clone()
        logits = self.network.lm_head(self.network.tokens(first, hidden)[:, 1:][hidden])
        guessed[hidden] = logits.argmax(dim=1)
        n_channels = batch.signal.shape[1]
        n_codes = self.tokenizer.quantize.n_codes
        shown = {
            "signal": first.signal[0],
            "hidden": hidden.view(n_channels, -1),
            "code_use": torch.bincount(codes.flatten(), minlength=n_codes),
        }
        if guessed.shape[1] > n_channels:
            rows = self.tokenizer.quantize.embedding.weight[guessed]
            vectors = rows.transpose(1, 2).reshape(
                1, -1, n_channels, guessed.shape[1] // n_channels
            )
            spectra = self.tokenizer.decode(vectors, batch.rows)
            shown["reconstruction"] = signal_from(*spectra, first.signal)[0]
        return shown


def build_objective(
    *,
    tokenizer: VQNSP | None = None,
    mask_ratio: float = 0.5,
    cls_quirk: bool = True,
    **config: Any,
) -> MaskedObjective:
    """Build masked modelling for an encoder of a given size.

    Parameters
    ----------
    tokenizer : VQNSP | None
        Trained tokenizer; None builds one that suits the size (see
        :mod:`eegfound_labram.stages`), whose codebook ``prepare`` fills.
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
    if tokenizer is None:
        from eegfound_labram.stages import build_tokenizer  # which builds on this module

        tokenizer = build_tokenizer(**config)
    network = MaskedEEGModel(n_codes=tokenizer.quantize.n_codes, cls_quirk=cls_quirk, **config)
    return MaskedObjective(network, tokenizer, mask_ratio=mask_ratio)
