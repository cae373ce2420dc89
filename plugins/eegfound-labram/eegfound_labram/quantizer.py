"""The tokenizer's codebook: nearest unit vector, moved by running averages."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Quantized:
    """Vectors replaced by rows of the codebook.

    Attributes
    ----------
    vectors : Tensor, shape (n, code_dim, n_channels, n_patches)
        Rows of the codebook; gradients pass straight through.
    codes : Tensor of int64, shape (n, n_channels * n_patches)
        Indices of those rows, channel by channel.
    loss : Tensor, shape ()
        Commitment loss.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor


class Codebook(nn.Module):
    """The rows and, under the names of the published state dict, their history.

    ``cluster_size`` and ``embed_avg`` are unused there too; they are kept so
    that files fit both ways.
    """

    initted: Tensor

    def __init__(self, n_codes: int, code_dim: int) -> None:
        super().__init__()
        rows = unit(torch.randn(n_codes, code_dim))
        self.weight = nn.Parameter(rows, requires_grad=False)
        self.cluster_size = nn.Parameter(torch.zeros(n_codes), requires_grad=False)
        self.embed_avg = nn.Parameter(rows.clone(), requires_grad=False)
        self.register_buffer("initted", torch.zeros(1))


class CodebookQuantizer(nn.Module):
    """Cosine vector quantizer whose codebook follows running averages.

    Parameters
    ----------
    n_codes, code_dim : int
        Rows of the codebook and their length.
    decay : float
        Share of a row that one training step keeps.
    beta : float
        Weight of the commitment loss.
    """

    cluster_size: Tensor

    def __init__(
        self, n_codes: int = 8192, code_dim: int = 64, *, decay: float = 0.99, beta: float = 1.0
    ) -> None:
        super().__init__()
        self.n_codes, self.code_dim, self.decay, self.beta = n_codes, code_dim, decay, beta
        self.embedding = Codebook(n_codes, code_dim)
        self.register_buffer("cluster_size", torch.zeros(n_codes))

    @property
    def is_initialized(self) -> bool:
        """Whether the codebook was learned or loaded."""
        return bool(self.embedding.initted.item())

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
        if not self.is_initialized:
            raise SpecError(
                "The tokenizer's codebook is empty, so it has no codes to give: load the weights "
                "of a trained tokenizer, or train this one first."
            )
        return self._quantize(*self._directions(z))

    def forward(self, z: Tensor) -> Quantized:
        """Quantize vectors; in training, let the codebook follow them.

        The first call fills an empty codebook by k-means on its own batch.
        The statistic ``cluster_size`` is updated in evaluation too, as in the
        reference; :meth:`lookup` leaves it alone.
        """
        directions, shape = self._directions(z)
        if not self.is_initialized:
            self.initialize(directions.detach())
        quantized = self._quantize(directions, shape)
        self._follow(directions.detach(), quantized.codes.flatten())
        return quantized

    def _directions(self, z: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        rows = z.permute(0, 2, 3, 1)
        return unit(rows.reshape(-1, self.code_dim)), tuple(rows.shape)

    def _quantize(self, directions: Tensor, shape: tuple[int, ...]) -> Quantized:
        codes = nearest(directions.detach(), self.embedding.weight)
        rows = F.embedding(codes, self.embedding.weight)
        loss = self.beta * F.mse_loss(directions, rows.detach())
        through = directions + (rows - directions).detach()
        vectors = through.view(shape).permute(0, 3, 1, 2)
        return Quantized(vectors, codes.view(shape[0], -1), loss)

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
    def _follow(self, directions: Tensor, codes: Tensor) -> None:
        weight = self.embedding.weight
        counts = torch.bincount(codes, minlength=self.n_codes).to(weight.dtype)
        sums = torch.zeros_like(weight)
        if self.training:
            sums.index_add_(0, codes, directions.to(weight.dtype))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
            if self.training:
                dist.all_reduce(sums)
        self.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        if self.training:
            means = unit(sums / counts.clamp(min=1)[:, None])
            target = torch.where((counts > 0)[:, None], means, weight)
            weight.copy_(unit(self.decay * weight + (1 - self.decay) * target))
