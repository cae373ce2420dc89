"""Cosine vector quantization: codes are the nearest rows of unit length.

The codebook follows running averages of what its rows stand for (van den Oord
et al., arXiv 1711.00937, appendix A; on the sphere as in LaBraM and NeuroLM).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.base import SpecError

#: Vectors looked up at once: bounds the memory that distances take.
_AT_ONCE = 4096


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors (last axis) to length 1; the zero vector stays zero."""
    return F.normalize(vectors, dim=-1)


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest row of the codebook.

    Parameters
    ----------
    vectors : Tensor, shape (n, code_dim)
        What to look up.
    codebook : Tensor, shape (n_codes, code_dim)
        The rows.

    Returns
    -------
    Tensor of int64, shape (n,)
        The first of several equally near rows.
    """
    return torch.cat([_distances(p, codebook).argmin(dim=1) for p in vectors.split(_AT_ONCE)])


def _distances(vectors: Tensor, codebook: Tensor) -> Tensor:
    own = vectors.square().sum(dim=1, keepdim=True) + codebook.square().sum(dim=1)
    return torch.addmm(own, vectors, codebook.T, alpha=-2)


def code_margin(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return how much farther the second nearest row is (squared distance)."""
    best = torch.topk(_distances(vectors, codebook), 2, dim=1, largest=False).values
    return best[:, 1] - best[:, 0]


def cosine_kmeans(
    samples: Tensor,
    n_clusters: int,
    *,
    n_iter: int = 10,
    initial: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors by their direction.

    Parameters
    ----------
    samples : Tensor, shape (n, code_dim)
        Unit vectors.
    n_clusters : int
        Number of centers.
    n_iter : int
        Rounds of assigning, averaging and scaling to length 1.
    initial : Tensor of int64 | None, shape (n_clusters,)
        Samples to start from; None draws distinct ones (with repetition when
        there are too few).
    generator : torch.Generator | None
        Source of the draw.

    Returns
    -------
    centers : Tensor, shape (n_clusters, code_dim)
        Unit vectors; a center that attracts no sample stays where it was.
    counts : Tensor of int64, shape (n_clusters,)
        Samples assigned in the last round.
    """
    n = len(samples)
    if initial is None:
        if n >= n_clusters:
            initial = torch.randperm(n, generator=generator)[:n_clusters]
        else:
            initial = torch.randint(n, (n_clusters,), generator=generator)
    centers = samples[initial.to(samples.device)]
    counts = torch.zeros(n_clusters, dtype=torch.int64, device=samples.device)
    for _ in range(n_iter):
        assigned = (samples @ centers.T).argmax(dim=1)
        counts = torch.bincount(assigned, minlength=n_clusters)
        sums = torch.zeros_like(centers).index_add_(0, assigned, samples)
        moved = unit(sums / counts.clamp(min=1)[:, None])
        centers = torch.where((counts > 0)[:, None], moved, centers)
    return centers, counts


class CodebookRows(nn.Module):
    """The rows and, under the names of published state dicts, their history.

    Parameters
    ----------
    n_codes, code_dim : int
        Number of rows and their length.

    Notes
    -----
    ``embed_avg`` is not used; published files have it and its parameters count.
    """

    initted: Tensor

    def __init__(self, n_codes: int, code_dim: int) -> None:
        super().__init__()
        rows = unit(torch.randn(n_codes, code_dim))
        self.weight = nn.Parameter(rows, requires_grad=False)
        self.cluster_size = nn.Parameter(torch.zeros(n_codes), requires_grad=False)
        self.embed_avg = nn.Parameter(rows.clone(), requires_grad=False)
        self.register_buffer("initted", torch.zeros(1))


class CosineCodebook(nn.Module):
    """A codebook on the unit sphere.

    Parameters
    ----------
    n_codes, code_dim : int
        Rows of the codebook and their length.
    decay : float
        Share of a row that one step keeps.
    beta : float
        Weight of the commitment loss.
    """

    def __init__(self, n_codes: int, code_dim: int, *, decay: float, beta: float) -> None:
        super().__init__()
        self.n_codes, self.code_dim, self.decay, self.beta = n_codes, code_dim, decay, beta
        self.embedding = CodebookRows(n_codes, code_dim)

    @property
    def is_initialized(self) -> bool:
        """Whether the codebook was learned or loaded."""
        return bool(self.embedding.initted.item())

    def check_initialized(self) -> None:
        """Raise a SpecError if the codebook was neither learned nor loaded."""
        if not self.is_initialized:
            raise SpecError(
                "The tokenizer's codebook is empty, so it has no codes to give: load the weights "
                "of a trained tokenizer, or train this one first (prepare(batch) fills it)."
            )

    def assign(self, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replace unit vectors by their nearest rows.

        Parameters
        ----------
        directions : Tensor, shape (n, code_dim)
            Unit vectors.

        Returns
        -------
        through : Tensor, shape (n, code_dim)
            The rows; gradients pass straight to ``directions``.
        codes : Tensor of int64, shape (n,)
            Their indices.
        loss : Tensor, shape ()
            Commitment loss.
        """
        codes = nearest(directions.detach(), self.embedding.weight)
        rows = F.embedding(codes, self.embedding.weight)
        loss = self.beta * F.mse_loss(directions, rows.detach())
        return directions + (rows - directions).detach(), codes, loss

    @torch.no_grad()
    def initialize(self, samples: Tensor, generator: torch.Generator | None = None) -> None:
        """Fill the codebook by k-means on unit vectors, ``(n, code_dim)``.

        With several workers, all of them take the first one's result.
        """
        centers, counts = cosine_kmeans(samples, self.n_codes, generator=generator)
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(centers, 0)
            dist.broadcast(counts, 0)
        self.embedding.weight.copy_(centers)
        self.embedding.embed_avg.copy_(centers)
        self.embedding.cluster_size.copy_(counts)
        self.embedding.initted.fill_(1)

    @torch.no_grad()
    def count(self, codes: Tensor) -> Tensor:
        """Return how often each row is used, over all workers, ``(n_codes,)``."""
        counts = torch.bincount(codes, minlength=self.n_codes).to(self.embedding.weight.dtype)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        return counts

    @torch.no_grad()
    def move(self, directions: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Move the rows in use towards what they stood for; the others stay.

        Parameters
        ----------
        directions : Tensor, shape (n, code_dim)
            Unit vectors.
        codes : Tensor of int64, shape (n,)
            Their rows.
        counts : Tensor, shape (n_codes,)
            From :meth:`count`.
        """
        weight = self.embedding.weight
        sums = torch.zeros_like(weight).index_add_(0, codes, directions.to(weight.dtype))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        means = unit(sums / counts.clamp(min=1)[:, None])
        moved = unit(self.decay * weight + (1 - self.decay) * means)
        weight.copy_(torch.where((counts > 0)[:, None], moved, weight))
