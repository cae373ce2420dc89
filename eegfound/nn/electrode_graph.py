"""A head on a learned graph of electrodes."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound.nn.attention_pooling import recorded_slices


class ElectrodeGraph(nn.Module):
    """Graph convolution over electrodes with a learned symmetric adjacency.

    Between two electrodes stands ``exp((a + a.T) / 2)``, divided by the number
    of other electrodes that were recorded; each electrode has a loop of weight
    1. The graph is normalized by the degrees of the recorded electrodes,
    ``D**-1/2 A D**-1/2`` (Kipf and Welling, ICLR 2017). A learned adjacency of
    electrodes is that of DGCNN (Song et al., IEEE Trans. Affective Computing
    11(3), 2020), its symmetry that of RGNN (Zhong, Wang and Miao, IEEE Trans.
    Affective Computing 13(3), 2022); exponential and loop are ours. At ``a = 0``
    every electrode mixes its own features with the mean of the others in equal
    parts.

    Parameters
    ----------
    n_electrodes : int
        Nodes; the adjacency has the square of that many parameters.
    """

    def __init__(self, n_electrodes: int) -> None:
        super().__init__()
        self.adjacency = nn.Parameter(torch.zeros(n_electrodes, n_electrodes))

    def edges(self) -> Tensor:
        """Return the weights between electrodes: symmetric, with zeros on the diagonal."""
        weights = torch.exp(0.5 * (self.adjacency + self.adjacency.T))
        return weights * (1.0 - torch.eye(len(weights), dtype=weights.dtype, device=weights.device))

    def forward(self, nodes: Tensor, recorded: Tensor) -> Tensor:
        """Mix the features of neighbouring electrodes.

        Parameters
        ----------
        nodes : Tensor, shape (n_epochs, n_electrodes, width)
            Finite everywhere.
        recorded : Tensor of bool, shape (n_epochs, n_electrodes)
            Others neither send nor receive.

        Returns
        -------
        Tensor, shape (n_epochs, n_electrodes, width)
            Zero where not recorded.
        """
        edges, there = self.edges(), recorded.to(nodes.dtype)
        others = (there.sum(dim=1, keepdim=True) - 1).clamp_min(1)
        root = (1 + there @ edges / others).rsqrt() * there
        sent = root[..., None] * nodes
        return root[..., None] * (sent + edges @ sent / others[..., None])


class GraphHead(nn.Module):
    """Electrode graph, hidden features, their mean over electrodes, scores.

    The features of each electrode pass the graph, a linear map and GELU; the
    hidden features are averaged over the recorded electrodes, where each
    electrode has a learned weight for each of them (1 at the start), so that
    one side of the head can count against the other. Parameters, for ``E``
    electrodes, width ``W``, ``H`` hidden features and ``K`` scores:
    ``E * E + (W + 1) * H + E * H + (H + 1) * K``.

    Parameters
    ----------
    n_features, n_outputs : int
        Length of the features of all electrodes together, and of the scores.
    hidden : int
        Hidden features.
    dropout : float
        On the features and on the hidden features.
    n_slices : int
        Electrodes; those that are NaN are absent from the graph.
    """

    reading: ClassVar[str] = "channels"

    def __init__(
        self, n_features: int, n_outputs: int, *, hidden: int = 32, dropout: float = 0.0,
        n_slices: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_slices = n_slices
        self.graph = ElectrodeGraph(n_slices)
        self.linear = nn.Linear(n_features // n_slices, hidden)
        self.emphasis = nn.Parameter(torch.zeros(n_slices, hidden))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden, n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores, ``(n_epochs, n_outputs)``."""
        nodes, recorded = recorded_slices(features, self.n_slices)
        # The graph mixes electrodes and the linear map features: in either order the
        # same, and hidden features are fewer.
        hidden = self.graph(F.linear(self.dropout(nodes), self.linear.weight), recorded)
        hidden = F.gelu(hidden + self.linear.bias)
        weight = (1 + self.emphasis) * recorded[..., None].to(hidden.dtype)
        count = recorded.sum(dim=1, keepdim=True).clamp_min(1).to(hidden.dtype)
        return self.classify(self.dropout((weight * hidden).sum(dim=1) / count))
