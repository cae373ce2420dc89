"""NeuroLM's quantizer: a cosine codebook over tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eegfound.nn.codebook import CosineCodebook, unit

#: Seed of the k-means that fills an empty codebook.
_SEED = 0


@dataclass(frozen=True)
class Quantized:
    """Vectors replaced by rows of the codebook.

    Attributes
    ----------
    vectors : Tensor, shape (n, n_tokens, code_dim)
        Rows of the codebook; gradients pass straight through.
    codes : Tensor of int64, shape (n, n_tokens)
        Indices of those rows.
    directions : Tensor, shape (n * n_tokens, code_dim)
        The unit vectors that were looked up, without gradient.
    loss : Tensor, shape ()
        Commitment loss.
    """

    vectors: Tensor
    codes: Tensor
    directions: Tensor
    loss: Tensor


class Codebook(CosineCodebook):
    """Cosine vector quantizer; looking up changes nothing, :meth:`follow` does.

    :meth:`collect` takes what a part of a step looked up.

    Parameters
    ----------
    n_codes, code_dim : int
        Rows and their length.
    decay : float
        Share of a row that one step of :meth:`follow` keeps.
    beta : float
        Weight of the commitment loss.
    revive_after : int | None
        See :class:`eegfound.nn.codebook.CosineCodebook`; the reference revives
        nothing.
    """

    def __init__(
        self, n_codes: int = 8192, code_dim: int = 128, *, decay: float = 0.99, beta: float = 1.0,
        revive_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(n_codes, code_dim, decay=decay, beta=beta, revive_after=revive_after)

    def forward(self, z: Tensor) -> Quantized:
        """Quantize vectors.

        Parameters
        ----------
        z : Tensor, shape (n, n_tokens, code_dim)
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
        directions = unit(z.float()).flatten(0, 1)
        through, codes, loss = self.assign(directions)
        shape = z.shape[:2]
        return Quantized(through.unflatten(0, shape), codes.view(shape), directions.detach(), loss)

    def initialize(self, samples: Tensor, generator: torch.Generator | None = None) -> None:
        """Fill the codebook by k-means on unit vectors, with a seed of its own."""
        super().initialize(samples, generator or torch.Generator().manual_seed(_SEED))

    @torch.no_grad()
    def follow(self) -> Tensor | None:
        """Move the rows and remember their use; see the base class."""
        counts = super().follow()
        if counts is not None:
            history = self.embedding.cluster_size
            history.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        return counts
