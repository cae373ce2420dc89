"""The tokenizer's codebook: nearest unit vector, moved by running averages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError

#: Seed and rounds of the k-means that fills an empty codebook.
_SEED, _ROUNDS = 0, 10


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


class Rows(nn.Module):
    """The rows, and what running averages keep beside them.

    ``cluster_size`` and ``embed_avg`` are kept because the published count of
    parameters (147 M) holds only with them; ``embed_avg`` is not used.
    """

    initted: Tensor

    def __init__(self, n_codes: int, code_dim: int) -> None:
        super().__init__()
        rows = F.normalize(torch.randn(n_codes, code_dim), dim=-1)
        self.weight = nn.Parameter(rows, requires_grad=False)
        self.cluster_size = nn.Parameter(torch.zeros(n_codes), requires_grad=False)
        self.embed_avg = nn.Parameter(rows.clone(), requires_grad=False)
        self.register_buffer("initted", torch.zeros(1))


class Codebook(nn.Module):
    """Cosine vector quantizer; looking up changes nothing, :meth:`follow` does.

    Parameters
    ----------
    n_codes, code_dim : int
        Rows and their length.
    decay : float
        Share of a row that one step of :meth:`follow` keeps.
    beta : float
        Weight of the commitment loss.
    """

    def __init__(
        self, n_codes: int = 8192, code_dim: int = 128, *, decay: float = 0.99, beta: float = 1.0
    ) -> None:
        super().__init__()
        self.n_codes, self.decay, self.beta = n_codes, decay, beta
        self.embedding = Rows(n_codes, code_dim)

    @property
    def is_initialized(self) -> bool:
        """Whether the codebook was learned or loaded."""
        return bool(self.embedding.initted.item())

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
        if not self.is_initialized:
            raise SpecError(
                "The tokenizer's codebook is empty, so it has no codes to give: load the weights "
                "of a trained tokenizer, or call prepare(batch) before training this one."
            )
        directions = F.normalize(z.float(), dim=-1)
        flat = directions.detach().flatten(0, 1)
        # Of unit vectors, the nearest is the one with the largest cosine.
        codes = (flat @ self.embedding.weight.T).argmax(dim=1).view(z.shape[:2])
        rows = F.embedding(codes, self.embedding.weight)
        loss = self.beta * F.mse_loss(directions, rows)
        through = directions + (rows - directions).detach()
        return Quantized(through, codes, flat, loss)

    @torch.no_grad()
    def initialize(self, directions: Tensor) -> None:
        """Fill the codebook by k-means on unit vectors, ``(n, code_dim)``.

        The draw of the first centers has a seed of its own. With fewer vectors
        than codes, centers start as repetitions.
        """
        generator = torch.Generator().manual_seed(_SEED)
        n = len(directions)
        order = torch.randperm(n, generator=generator)
        centers = directions[order.repeat(-(-self.n_codes // n))[: self.n_codes]]
        counts = directions.new_zeros(self.n_codes)
        for _ in range(_ROUNDS):
            codes = (directions @ centers.T).argmax(dim=1)
            counts, means = self._means(directions, codes)
            centers = torch.where((counts > 0)[:, None], means, centers)
        rows = self.embedding
        rows.weight.copy_(centers)
        rows.embed_avg.copy_(centers)
        rows.cluster_size.copy_(counts)
        rows.initted.fill_(1)

    @torch.no_grad()
    def follow(self, directions: Tensor, codes: Tensor) -> None:
        """Move the rows that were used towards what they stood for.

        Parameters
        ----------
        directions : Tensor, shape (n, code_dim)
            Unit vectors.
        codes : Tensor of int64, shape (n,)
            Their rows. A row that was not used keeps its vector.
        """
        rows = self.embedding
        counts, means = self._means(directions, codes)
        moved = F.normalize(self.decay * rows.weight + (1 - self.decay) * means, dim=-1)
        rows.weight.copy_(torch.where((counts > 0)[:, None], moved, rows.weight))
        rows.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)

    def _means(self, directions: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        counts = torch.bincount(codes, minlength=self.n_codes).to(directions.dtype)
        sums = directions.new_zeros(self.n_codes, directions.shape[1])
        sums.index_add_(0, codes, directions)
        return counts, F.normalize(sums, dim=-1)
