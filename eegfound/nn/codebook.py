"""Cosine vector quantization: codes are the nearest rows of unit length.

The codebook follows running averages of what its rows stand for (van den Oord
et al., arXiv 1711.00937, appendix A; on the sphere as in LaBraM and NeuroLM).
A step may be made of several parts, in several processes: each part is collected,
and the rows move once, for all of them.
"""

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
        assigned = torch.cat([(p @ centers.T).argmax(dim=1) for p in samples.split(_AT_ONCE)])
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


@dataclass
class _Collected:
    """What the parts of a step said so far: sums per row, and candidates for revival."""

    counts: Tensor
    sums: Tensor
    keys: Tensor
    candidates: Tensor


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
    revive_after : int | None
        Steps without use after which a row is dead and is put where a randomly
        chosen vector of the step is (Dhariwal et al., arXiv 2005.00341, section
        3.1, restart codes whose use falls so). None: unused rows stay as they are.
    """

    idle: Tensor

    def __init__(
        self, n_codes: int, code_dim: int, *, decay: float, beta: float,
        revive_after: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if revive_after is not None and revive_after < 1:
            raise SpecError(f"revive_after={revive_after!r} is neither None nor at least 1.")
        self.n_codes, self.code_dim, self.decay, self.beta = n_codes, code_dim, decay, beta
        self.revive_after = revive_after
        self.embedding = CodebookRows(n_codes, code_dim)
        if revive_after is not None:  # published state dicts have no such tensor
            self.register_buffer("idle", torch.zeros(n_codes, dtype=torch.int64))
        self._collected: _Collected | None = None

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

        With several processes, all of them take the first one's result.
        """
        centers, counts = cosine_kmeans(samples, self.n_codes, generator=generator)
        if several_processes():
            dist.broadcast(centers, 0)
            dist.broadcast(counts, 0)
        self.embedding.weight.copy_(centers)
        self.embedding.embed_avg.copy_(centers)
        self.embedding.cluster_size.copy_(counts)
        self.embedding.initted.fill_(1)

    @torch.no_grad()
    def count(self, codes: Tensor) -> Tensor:
        """Return how often each row is used, over all processes, ``(n_codes,)``."""
        counts = torch.bincount(codes, minlength=self.n_codes).to(self.embedding.weight.dtype)
        if several_processes():
            dist.all_reduce(counts)
        return counts

    @torch.no_grad()
    def collect(
        self, directions: Tensor, codes: Tensor, generator: torch.Generator | None = None
    ) -> None:
        """Remember what a part of a step was made of, for :meth:`follow`.

        Parameters
        ----------
        directions : Tensor, shape (n, code_dim)
            Unit vectors.
        codes : Tensor of int64, shape (n,)
            Their rows.
        generator : torch.Generator | None
            CPU generator; draws, with ``revive_after``, which vectors dead rows
            may take.
        """
        seen = self._collected or self._nothing()
        directions = directions.detach()
        seen.counts += torch.bincount(codes, minlength=self.n_codes)
        seen.sums.index_add_(0, codes, directions.to(seen.sums.dtype))
        if self.revive_after is not None:
            drawn = torch.rand(len(directions), generator=generator, dtype=torch.float64)
            keys = torch.cat([seen.keys, drawn])
            chosen = keys.argsort()[: self._most_revived]
            seen.keys = keys[chosen]
            pool = torch.cat([seen.candidates, directions.to(seen.candidates.dtype)])
            seen.candidates = pool[chosen.to(pool.device)]
        self._collected = seen

    @torch.no_grad()
    def follow(self) -> Tensor | None:
        """Move the rows in use towards what they stood for since the last call.

        Every process must call this once per step, also one that had no part of
        it. Rows in use go to ``decay * row + (1 - decay) * mean direction``, scaled
        to length 1; the others stay, or are revived.

        Returns
        -------
        Tensor | None, shape (n_codes,)
            How often each row was used, over all parts and processes; None where
            nothing was collected.
        """
        if self._collected is None and not several_processes():
            return None
        seen, self._collected = self._collected or self._nothing(), None
        if several_processes():
            both = torch.cat([seen.counts.to(seen.sums.dtype)[:, None], seen.sums], dim=1)
            dist.all_reduce(both)
            counts, sums = both[:, 0], both[:, 1:]
        else:
            counts, sums = seen.counts, seen.sums
        weight = self.embedding.weight
        means = unit(sums / counts.clamp(min=1)[:, None]).to(weight.dtype)
        moved = unit(self.decay * weight + (1 - self.decay) * means)
        weight.copy_(torch.where((counts > 0)[:, None], moved, weight))
        if self.revive_after is not None:
            self._revive(counts, seen)
        return counts.to(weight.dtype)

    @property
    def _most_revived(self) -> int:
        # All at once would throw away what the network has learned of its codes.
        return max(1, self.n_codes // 8)

    def _nothing(self) -> _Collected:
        weight = self.embedding.weight
        # Exact sums: the parts of a step add up to the same in any order.
        exact = torch.float32 if weight.device.type == "mps" else torch.float64
        return _Collected(
            torch.zeros(self.n_codes, dtype=torch.int64, device=weight.device),
            torch.zeros_like(weight, dtype=exact),
            torch.zeros(0, dtype=torch.float64),
            weight.new_zeros((0, self.code_dim)),
        )

    def _revive(self, counts: Tensor, seen: _Collected) -> None:
        assert self.revive_after is not None
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        order = self.idle.argsort(descending=True, stable=True)[: self._most_revived]
        dead = order[self.idle[order] >= self.revive_after]
        if not len(dead):  # the same in all processes, as their counts are
            return
        vectors = self._all_candidates(seen)[: len(dead)]
        dead = dead[: len(vectors)]
        self.embedding.weight[dead] = vectors.to(self.embedding.weight.dtype)
        self.idle[dead] = 0

    def _all_candidates(self, seen: _Collected) -> Tensor:
        """Return candidates of all processes in the order of their keys."""
        if not several_processes():
            return seen.candidates
        shape = (self._most_revived, 1 + self.code_dim)
        own = seen.sums.new_full(shape, torch.inf)  # the keys need its precision
        own[: len(seen.keys), 0] = seen.keys.to(own)
        own[: len(seen.keys), 1:] = seen.candidates.to(own)
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, own)
        rows = torch.cat(gathered)
        rows = rows[rows[:, 0].argsort(stable=True)]
        return rows[torch.isfinite(rows[:, 0]), 1:]


def several_processes() -> bool:
    """Return whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
