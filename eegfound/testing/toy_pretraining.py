"""Objectives of the toy model: every trait that pretraining must cope with, in small.

Masks and dropout draw random numbers, a codebook follows what is seen, a momentum
encoder follows the trained one, and the second stage needs the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.models import FoundationModel, PretrainingStage
from eegfound.models.network import SignalBatch
from eegfound.nn.codebook import CosineCodebook, unit
from eegfound.nn.momentum import MomentumEncoder, linear_ramp
from eegfound.nn.objective import Objective
from eegfound.testing.toy import ToyEncoder, toy_model


def _patches(batch: SignalBatch, size: int) -> Tensor:
    """Return patches in the order of tokens, ``(n, n_patches, size)``."""
    n, n_channels, n_times = batch.signal.shape
    count = n_times // size
    return batch.signal[..., : count * size].reshape(n, n_channels * count, size)


def _hidden(batch: SignalBatch, size: int, share: float, generator: Any) -> Tensor:
    """Draw which patches are hidden, ``(n, n_patches)``."""
    n, n_patches, _ = _patches(batch, size).shape
    return (torch.rand(n, n_patches, generator=generator) < share).to(batch.signal.device)


def _without(batch: SignalBatch, hidden: Tensor, size: int) -> SignalBatch:
    """Return a batch whose hidden patches are zero."""
    patches = _patches(batch, size).masked_fill(hidden[..., None], 0.0)
    n, n_channels, _ = batch.signal.shape
    signal = patches.reshape(n, n_channels, -1)
    return SignalBatch(signal, batch.rows, batch.ch_names, batch.positions)


@dataclass(frozen=True)
class ToyLosses:
    """Losses of a batch: ``total`` is the sum of ``main`` and ``side``."""

    total: Tensor
    main: Tensor
    side: Tensor


class MaskedToy(Objective):
    """Fill in hidden patches.

    Parameters
    ----------
    share : float
        Of patches that are hidden.
    dropout : float
        On the tokens.
    **config : Any
        Of :class:`eegfound.testing.toy.ToyEncoder`.
    """

    def __init__(self, *, share: float = 0.5, dropout: float = 0.1, **config: Any) -> None:
        super().__init__()
        self.network, self.share = ToyEncoder(**config), share
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(self.network.width, self.network.patch)

    @property
    def encoder(self) -> ToyEncoder:
        """The network that sees what is not hidden."""
        return self.network

    def forward(self, batch: SignalBatch, *, generator: torch.Generator | None = None) -> ToyLosses:
        """Return the error of filled-in patches, and the size of tokens."""
        size = self.network.patch
        hidden = _hidden(batch, size, self.share, generator)
        tokens = self.network(_without(batch, hidden, size)).values[:, 1:]
        filled = self.decoder(self.dropout(tokens))
        wrong = (filled - _patches(batch, size)).square().mean(dim=-1)
        main = (wrong * hidden).sum() / hidden.sum().clamp(min=1)
        side = 1e-3 * tokens.square().mean()
        return ToyLosses(main + side, main, side)

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Add what filling in zeros would reach."""
        size = self.network.patch
        values = super().measure(batch, generator=generator)
        return values | {"main_trivial": _patches(batch, size).square().mean()}

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the first epoch, what was hidden of it, and what was filled in."""
        size, n_channels = self.network.patch, batch.signal.shape[1]
        hidden = _hidden(batch, size, self.share, generator)
        tokens = self.network(_without(batch, hidden, size)).values[:, 1:]
        return {
            "signal": _patches(batch, size)[0].reshape(n_channels, -1),
            "reconstruction": self.decoder(tokens)[0].reshape(n_channels, -1),
            "hidden": hidden[0].reshape(n_channels, -1),
        }


class TokenizingToy(Objective):
    """Give every patch one of a few codes, and make the patch from its code.

    Parameters
    ----------
    n_codes : int
        Codes.
    **config : Any
        Of :class:`eegfound.testing.toy.ToyEncoder`.
    """

    def __init__(self, *, n_codes: int = 8, **config: Any) -> None:
        super().__init__()
        self.network = ToyEncoder(**config)
        self.project = nn.Linear(self.network.width, 4)
        self.codebook = CosineCodebook(n_codes, 4, decay=0.9, beta=1.0)
        self.decoder = nn.Linear(4, self.network.patch)

    @property
    def encoder(self) -> ToyEncoder:
        """The network below the codes."""
        return self.network

    def directions(self, batch: SignalBatch) -> Tensor:
        """Return unit vectors of all patches, ``(n * n_patches, 4)``."""
        return unit(self.project(self.network(batch).values[:, 1:])).flatten(0, 1)

    def prepare(self, batch: SignalBatch) -> None:
        """Fill the codebook."""
        with torch.no_grad():
            self.codebook.initialize(self.directions(batch))

    def forward(self, batch: SignalBatch, *, generator: torch.Generator | None = None) -> ToyLosses:
        """Return the errors of the patches and of the codes."""
        directions = self.directions(batch)
        through, codes, side = self.codebook.assign(directions)
        if self.training:
            self.codebook.collect(directions, codes)
        made = self.decoder(through)
        main = F.mse_loss(made, _patches(batch, self.network.patch).flatten(0, 1))
        return ToyLosses(main + side, main, side)

    def after_step(self, progress: float) -> None:
        """Move the codebook."""
        self.codebook.follow()


class PredictingToy(Objective):
    """Predict the codes of hidden patches, and follow a momentum encoder.

    Parameters
    ----------
    tokenizer : TokenizingToy
        Trained; gives the codes.
    dropout : float
        On the tokens.
    **config : Any
        Of :class:`eegfound.testing.toy.ToyEncoder`.
    """

    def __init__(self, tokenizer: TokenizingToy, *, dropout: float = 0.1, **config: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.network = ToyEncoder(**config)
        self.momentum = MomentumEncoder(self.network)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.network.width, tokenizer.codebook.n_codes)
        self.unused = nn.Linear(2, 2)

    @property
    def encoder(self) -> ToyEncoder:
        """The network that is trained."""
        return self.network

    @property
    def kept(self) -> ToyEncoder:
        """The momentum encoder."""
        network = self.momentum.network
        assert isinstance(network, ToyEncoder)
        return network

    @property
    def inherited(self) -> tuple[str, ...]:
        """The tokenizer."""
        return ("tokenizer.",)

    def train(self, mode: bool = True) -> PredictingToy:
        """Keep the tokenizer in evaluation mode."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def forward(self, batch: SignalBatch, *, generator: torch.Generator | None = None) -> ToyLosses:
        """Return the cross-entropy of codes, and the distance to the momentum encoder."""
        size = self.network.patch
        hidden = _hidden(batch, size, 0.5, generator)
        with torch.no_grad():
            codes = self.tokenizer.codebook.assign(self.tokenizer.directions(batch))[1]
            goal = self.momentum.network(batch).values[:, 1:]
        tokens = self.network(_without(batch, hidden, size)).values[:, 1:]
        main = F.cross_entropy(self.head(self.dropout(tokens)).flatten(0, 1), codes)
        side = F.mse_loss(tokens, goal)
        return ToyLosses(main + side, main, side)

    def after_step(self, progress: float) -> None:
        """Move the momentum encoder."""
        self.momentum.update(self.network, linear_ramp(int(1000 * progress), 1000, 0.9, 1.0))

    def no_weight_decay(self) -> set[str]:
        """Return what the network exempts."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}


def build_masked(**config: Any) -> MaskedToy:
    """Build the objective of one stage."""
    return MaskedToy(**config)


def build_tokenizing(*, previous: Mapping[str, Objective], **config: Any) -> TokenizingToy:
    """Build the first of two stages."""
    return TokenizingToy(**config)


def build_predicting(
    *, previous: Mapping[str, Objective], dropout: float = 0.1, **config: Any
) -> PredictingToy:
    """Build the second of two stages on the first, or on a fresh one."""
    tokenizer = previous.get("tokenizer") or TokenizingToy(**config)
    assert isinstance(tokenizer, TokenizingToy)
    config.pop("n_codes", None)
    return PredictingToy(tokenizer, dropout=dropout, **config)


def staged_toy_model(name: str = "staged-toy", **changes: Any) -> FoundationModel:
    """Return the declaration of a toy model that is pretrained in two stages."""
    here = "eegfound.testing.toy_pretraining"
    stages = (
        PretrainingStage(
            "tokenizer", f"{here}:build_tokenizing", "codes of patches", share=0.5,
            defaults={"train_batch_size": 16, "lr": 1e-2},
            recipes={"paper": {"max_epochs": 100, "warmup": 10, "lr": 2e-3, "betas": (0.9, 0.99)}},
        ),
        PretrainingStage(
            "masked", f"{here}:build_predicting", "codes of hidden patches",
            defaults={"train_batch_size": 16, "lr": 1e-2, "objective_params": {"dropout": 0.2}},
        ),
    )  # fmt: skip
    return toy_model(name, **({"stages": stages} | changes))
