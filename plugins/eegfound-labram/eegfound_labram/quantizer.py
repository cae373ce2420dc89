"""LaBraM's quantizer: a cosine codebook over the patches of channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eegfound.nn.codebook import CosineCodebook, unit


@dataclass(frozen=True)
class Quantized:
    """Vectors replaced by rows of the codebook.

    Attributes
    ----------
    vectors : Tensor, shape (n, code_dim, n_channels, n_patches)
        Rows of the codebook; gradients pass straight through.
    codes : Tensor of int64, shape (n, n_channels * n_patches)
        Indices of those rows, channel by channel.
    directions : Tensor, shape (n * n_channels * n_patches, code_dim)
        The unit vectors that were looked up, without gradient.
    loss : Tensor, shape ()
        Commitment loss.
    """

    vectors: Tensor
    codes: Tensor
    directions: Tensor
    loss: Tensor


class CodebookQuantizer(CosineCodebook):
    """Cosine vector quantizer whose codebook follows running averages.

    Parameters
    ----------
    n_codes, code_dim : int
        Rows of the codebook and their length.
    decay : float
        Share of a row that one training step keeps.
    beta : float
        Weight of the commitment loss.
    revive_after : int | None
        See :class:`eegfound.nn.codebook.CosineCodebook`; the reference revives
        nothing.
    """

    cluster_size: Tensor

    def __init__(
        self, n_codes: int = 8192, code_dim: int = 64, *, decay: float = 0.99, beta: float = 1.0,
        revive_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(n_codes, code_dim, decay=decay, beta=beta, revive_after=revive_after)
        self.register_buffer("cluster_size", torch.zeros(n_codes))

    def lookup(self, z: Tensor) -> Quantized:
        """Quantize vectors and change nothing.

        Parameters
        ----------
        z : Tensor, shape (n, code_dim, n_channels, n_patches)
            Of any length; only their direction counts.

        Returns
        -------
        Quantized
            Rows, codes and commitment loss.

        Raises
        ------
        SpecError
            If the codebook was neither learned nor loaded.
        """
        self.check_initialized()
        return self._quantize(*self._directions(z))

    def forward(self, z: Tensor) -> Quantized:
        """Quantize vectors; in training, let the codebook follow them at once.

        This is the reference's order: one pass, then the rows move. Training in
        parts calls :meth:`lookup` and :meth:`collect` for each, and
        :meth:`follow` after the step, which comes to the same for one part.

        The first call fills an empty codebook by k-means on its own batch.
        The statistic ``cluster_size`` is updated in evaluation too, as in the
        reference; :meth:`lookup` leaves it alone.
        """
        directions, shape = self._directions(z)
        if not self.is_initialized:
            self.initialize(directions.detach())
        quantized = self._quantize(directions, shape)
        codes = quantized.codes.flatten()
        if self.training:
            self.collect(quantized.directions, codes)
            self.follow()
        else:
            self._remember(self.count(codes))
        return quantized

    @torch.no_grad()
    def follow(self) -> Tensor | None:
        """Move the rows and remember their use; see the base class."""
        counts = super().follow()
        if counts is not None:
            self._remember(counts)
        return counts

    def _remember(self, counts: Tensor) -> None:
        self.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)

    def _directions(self, z: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        rows = z.permute(0, 2, 3, 1)
        return unit(rows.reshape(-1, self.code_dim)), tuple(rows.shape)

    def _quantize(self, directions: Tensor, shape: tuple[int, ...]) -> Quantized:
        through, codes, loss = self.assign(directions)
        vectors = through.view(shape).permute(0, 3, 1, 2)
        return Quantized(vectors, codes.view(shape[0], -1), directions.detach(), loss)
