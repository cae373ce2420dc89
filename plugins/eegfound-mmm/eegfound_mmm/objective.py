"""Multi-stage pretraining: reconstruct all electrodes from the region tokens.

The authors published neither code nor decoder; this follows the paper and
their answers to questions, and says where something was decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective, RunningMean, hide_largest
from eegfound.nn.masking import masked_mean
from eegfound_mmm.blocks import TopologyTransformer
from eegfound_mmm.network import MMM, N_BANDS, split_windows
from eegfound_mmm.topology import N_ELECTRODES, REGION_OF

Stage = Literal["random", "regional"]
STAGES: tuple[Stage, ...] = ("random", "regional")


def stage_of(
    epoch: int, n_epochs: int, *, cycle_epochs: int = 100, random_fraction: float = 0.5
) -> Stage:
    """Return what is hidden in a pass over the data.

    Parameters
    ----------
    epoch, n_epochs : int
        Number of the pass, from 0, and of all passes.
    cycle_epochs : int
        Length of a cycle; runs shorter than that are one cycle, so that both
        stages occur.
    random_fraction : float
        Share of a cycle, from its start, that hides single electrodes.

    Returns
    -------
    {"random", "regional"}
        The stage.

    Examples
    --------
    >>> from eegfound_mmm.objective import stage_of
    >>> [stage_of(epoch, 4) for epoch in range(4)]
    ['random', 'random', 'regional', 'regional']
    """
    cycle = max(1, min(cycle_epochs, n_epochs))
    return "random" if epoch % cycle < random_fraction * cycle else "regional"


@dataclass(frozen=True)
class ReconstructionLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        What is minimized, one of the two below.
    everywhere, hidden_only : Tensor, shape ()
        Mean squared error over all recorded electrodes, and over hidden ones.
    hidden : Tensor of bool, shape (n_windows, n_channels)
        True where an electrode was hidden.
    reconstruction : Tensor, shape (n_windows, n_channels, 5)
        Predicted features of the recorded electrodes.
    """

    total: Tensor
    everywhere: Tensor
    hidden_only: Tensor
    hidden: Tensor
    reconstruction: Tensor


class RegionBottleneck(Objective):
    """Hide electrodes, encode, keep the region tokens only, reconstruct all.

    Parameters
    ----------
    network : MMM
        The encoder.
    decoder_width, decoder_depth, decoder_heads : int | None
        Shape of the decoder; None takes the encoder's ("symmetric").
    mask_ratio : float
        Share of electrodes hidden in the stage ``"random"``.
    region_mask_ratio : float
        Share of regions hidden in the stage ``"regional"``; of the regions that
        have a recorded electrode (decided here).
    cycle_epochs, random_fraction : int, float
        See :func:`stage_of`.
    loss_on : {"all", "hidden"}
        Electrodes whose error is minimized. All electrode tokens are removed
        before decoding, so the paper's loss on all of them is no shortcut.

    Attributes
    ----------
    stage : {"random", "regional"}
        What the next batch hides; set by :meth:`start_epoch`.
    typical : RunningMean, shape (62 * 6,)
        Of every electrode in training: its features, and whether it was there.
        Makes :meth:`usual_features`.

    Notes
    -----
    A hidden electrode enters as zeros, which is a token with a bias and a
    place; nothing is left out of the sequence. The last projection is one
    linear layer (decided here; the paper's figure says "MLP").
    """

    region_of: Tensor

    def __init__(
        self, network: MMM, *, decoder_width: int | None = None, decoder_depth: int | None = None,
        decoder_heads: int | None = None, mask_ratio: float = 0.5, region_mask_ratio: float = 0.35,
        cycle_epochs: int = 100, random_fraction: float = 0.5, loss_on: str = "all",
    ) -> None:  # fmt: skip
        super().__init__()
        for name, ratio in (("mask_ratio", mask_ratio), ("region_mask_ratio", region_mask_ratio)):
            if not 0 < ratio < 1:
                raise SpecError(f"{name}={ratio!r} must lie between 0 and 1.")
        if loss_on not in ("all", "hidden"):
            raise SpecError(f"loss_on={loss_on!r} is not one of ('all', 'hidden').")
        self.mask_ratio, self.region_mask_ratio = mask_ratio, region_mask_ratio
        self.cycle_epochs, self.random_fraction = cycle_epochs, random_fraction
        self.loss_on = loss_on
        self.stage: Stage = "random"
        self.network = network
        width = decoder_width or network.width
        self.decoder_network = TopologyTransformer(
            network.width, width, decoder_depth or network.n_layers,
            decoder_heads or network.n_heads,
            position=network.network.position, attention=network.attention,
        )  # fmt: skip
        self.decoder_pred = nn.Linear(width, N_BANDS)
        nn.init.xavier_uniform_(self.decoder_pred.weight)
        nn.init.zeros_(self.decoder_pred.bias)
        self.typical = RunningMean(N_ELECTRODES * (N_BANDS + 1))
        self.register_buffer("region_of", torch.tensor(REGION_OF), persistent=False)

    @property
    def encoder(self) -> MMM:
        """The encoder, for a Transformer afterwards."""
        return self.network

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Choose the stage of a pass; see :func:`stage_of`."""
        self.stage = stage_of(
            epoch, n_epochs, cycle_epochs=self.cycle_epochs, random_fraction=self.random_fraction
        )

    def draw(
        self, n: int, rows: Tensor, generator: torch.Generator | None = None, *,
        stage: Stage | None = None,
    ) -> Tensor:  # fmt: skip
        """Draw what a batch hides.

        Parameters
        ----------
        n : int
            Number of windows.
        rows : Tensor of int64, shape (n_channels,)
            Recorded electrodes.
        generator : torch.Generator | None
            Of the CPU, so that a seed gives the same masks everywhere.
        stage : {"random", "regional"} | None
            None is the current one.

        Returns
        -------
        Tensor of bool, shape (n, n_channels)
            True where hidden.
        """
        if (stage or self.stage) == "random":
            noise = torch.rand(n, len(rows), generator=generator)
            return hide_largest(noise, _n_visible(len(rows), self.mask_ratio)).to(rows.device)
        regions, own = torch.unique(self.region_of[rows], return_inverse=True)
        noise = torch.rand(n, len(regions), generator=generator)
        hidden = hide_largest(noise, _n_visible(len(regions), self.region_mask_ratio))
        return hidden.to(rows.device)[:, own]

    def reconstruct(self, x: Tensor, rows: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run encoder and decoder.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels, 5)
            Features.
        rows : Tensor of int64, shape (n_channels,)
            Electrodes.
        hidden : Tensor of bool, shape (n, n_channels)
            True where hidden.

        Returns
        -------
        latent : Tensor, shape (n, n_channels + 17, width)
            Electrodes and regions after the encoder.
        decoded : Tensor, shape (n, n_channels, decoder_width)
            Electrodes after the decoder.
        reconstruction : Tensor, shape (n, n_channels, 5)
            Predicted features.
        """
        visible = x.masked_fill(hidden[..., None], 0.0)
        latent = self.network.encode(visible, rows)[:, :-1]
        n_channels = x.shape[1]
        regions = latent[:, n_channels:]
        empty = torch.zeros_like(latent[:, :n_channels])
        decoded = self.decoder_network(torch.cat([empty, regions], dim=1), rows)[:, :n_channels]
        return latent, decoded, self.decoder_pred(decoded)

    def forward(
        self, batch: SignalBatch, *, hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ReconstructionLosses:  # fmt: skip
        """Compute the losses of a batch; each window is a sample of its own.

        Parameters
        ----------
        batch : SignalBatch
            The front end's features, ``(n, n_channels, n_windows, 5)``.
        hidden : Tensor of bool | None, shape (n * n_windows, n_channels)
            What to hide; None draws it.
        generator : torch.Generator | None
            Source of the draw.

        Returns
        -------
        ReconstructionLosses
            Whose ``total`` is to be minimized.
        """
        features = split_windows(batch.signal)
        if hidden is None:
            hidden = self.draw(len(features), batch.rows, generator)
        if self.training:
            told = features.new_zeros(len(features), N_ELECTRODES, N_BANDS + 1)
            told[:, batch.rows] = F.pad(features, (0, 1), value=1.0)
            self.typical.collect(told.flatten(1))
        reconstruction = self._reconstruct_recorded(features, batch.rows, hidden)
        error = (reconstruction - features).square()
        everywhere, only = error.mean(), masked_mean(error, hidden[..., None])
        total = everywhere if self.loss_on == "all" else only
        return ReconstructionLosses(total, everywhere, only, hidden, reconstruction)

    def _reconstruct_recorded(self, features: Tensor, rows: Tensor, hidden: Tensor) -> Tensor:
        """Return the reconstruction of recorded electrodes, ``(n, n_channels, 5)``."""
        x, placed, recorded = self.network.place(features, rows)
        where = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        where[:, recorded] = hidden
        return self.reconstruct(x, placed, where)[2][:, recorded]

    def usual_features(self) -> Tensor:
        """Return the mean features of each electrode in training, ``(62, 5)``.

        What a predictor says that looks at nothing; zero where an electrode was
        never recorded.
        """
        table = self.typical.mean.view(N_ELECTRODES, N_BANDS + 1)
        return table[:, :-1] / table[:, -1:].clamp(min=torch.finfo(table.dtype).tiny)

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good features are reconstructed, whatever the present stage.

        Returns
        -------
        dict of str to Tensor
            ``total`` is the mean of what both stages minimize, ``everywhere`` of
            their errors on all electrodes, ``hidden`` of their errors on hidden
            ones, ``random`` and ``regional`` the latter for each stage. With
            ``_trivial``: the error of the electrode's mean over the training data.
            ``hidden_zero``: of zero, the mean of the band. ``hidden_neighbours``: of
            the mean deviation of the visible electrodes of the same second.
        """
        features = split_windows(batch.signal)
        usual = self.usual_features()[batch.rows].expand_as(features)
        found: dict[str, list[Tensor]] = {}
        for stage in STAGES:
            hidden = self.draw(len(features), batch.rows, generator, stage=stage)
            guesses = {
                "": self._reconstruct_recorded(features, batch.rows, hidden),
                "_trivial": usual,
                "_zero": torch.zeros_like(features),
                "_neighbours": usual + _visible_mean(features - usual, hidden),
            }
            for suffix, guess in guesses.items():
                error = (guess.float() - features).square()
                everywhere, only = error.mean(), masked_mean(error, hidden[..., None])
                total = everywhere if self.loss_on == "all" else only
                found.setdefault(f"hidden{suffix}", []).append(only)
                if suffix in ("", "_trivial"):
                    found.setdefault(f"total{suffix}", []).append(total)
                    found.setdefault(f"everywhere{suffix}", []).append(everywhere)
                    found[f"{stage}{suffix}"] = [only]
        return {name: torch.stack(values).mean() for name, values in found.items()}

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Reconstruct the first epoch; see the base class.

        Signals are features, ``(n_channels, n_windows * 5)``, all bands of a window
        one after another; ``hidden`` has a column per window.
        """
        first = batch.signal[:1]
        features = split_windows(first)
        hidden = self.draw(len(features), batch.rows, generator)
        reconstruction = self._reconstruct_recorded(features, batch.rows, hidden)
        return {
            "signal": features.transpose(0, 1).flatten(1),
            "reconstruction": reconstruction.transpose(0, 1).flatten(1),
            "hidden": hidden.T,
        }

    def after_step(self, progress: float) -> None:
        """Add the step's features to what is typical of an electrode."""
        self.typical.follow()


def _visible_mean(x: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean over visible electrodes, ``(n, 1, 5)``."""
    visible = (~hidden)[..., None].to(x.dtype)
    return (x * visible).sum(dim=1, keepdim=True) / visible.sum(dim=1, keepdim=True)


def _n_visible(n: int, ratio: float) -> int:
    """Return how many of ``n`` stay visible: one at least (decided here)."""
    return max(1, int(n * (1 - ratio)))


def build_objective(
    *, previous: Mapping[str, Objective] | None = None, region_tokens: Any = "normal",
    decoder_width: int | None = None, decoder_depth: int | None = None,
    decoder_heads: int | None = None, mask_ratio: float = 0.5, region_mask_ratio: float = 0.35,
    cycle_epochs: int = 100, random_fraction: float = 0.5,
    loss_on: str = "all", **config: Any,
) -> RegionBottleneck:  # fmt: skip
    """Build the pretraining objective for an encoder of a given size.

    Parameters
    ----------
    previous : mapping | None
        Earlier stages: there are none.
    region_tokens : {"normal", "zeros"} | array-like
        What the region tokens start from; they are trained.
    decoder_width, decoder_depth, decoder_heads, mask_ratio, region_mask_ratio
        See :class:`RegionBottleneck`.
    cycle_epochs, random_fraction, loss_on
        See :class:`RegionBottleneck`.
    **config : Any
        See :class:`eegfound_mmm.network.MMM`.

    Returns
    -------
    RegionBottleneck
        Whose ``encoder`` a Transformer uses afterwards.
    """
    return RegionBottleneck(
        MMM(region_tokens=region_tokens, **config),
        decoder_width=decoder_width, decoder_depth=decoder_depth, decoder_heads=decoder_heads,
        mask_ratio=mask_ratio, region_mask_ratio=region_mask_ratio, cycle_epochs=cycle_epochs,
        random_fraction=random_fraction, loss_on=loss_on,
    )  # fmt: skip
