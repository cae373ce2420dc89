"""The task-shared electrode graph (TEG): electrodes as nodes, all connected."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eegfound_eegpt.ar.blocks import SwiGLU, rms_norm


class GraphAttention(nn.Module):
    """Additive attention between all active nodes.

    One linear map serves scores and messages. The score of receiver m and
    sender n is ``relu(src . w_m + dst . w_n)`` per head, a plain ReLU.

    Parameters
    ----------
    dim, heads : int
        Width of a node and number of heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.proj = nn.Linear(dim, dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)
        self.score_src = nn.Parameter(torch.empty(heads, dim // heads))
        self.score_dst = nn.Parameter(torch.empty(heads, dim // heads))

    def weights(self, nodes: Tensor, active: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return attention weights and messages.

        Parameters
        ----------
        nodes : Tensor, shape (n, n_nodes, dim)
            Normed nodes.
        active : Tensor of bool | None, shape (n, n_nodes)
            Nodes that are there; None means all of them.

        Returns
        -------
        weights : Tensor, shape (n, heads, n_nodes, n_nodes)
            Of receiver (row) and sender (column); zero where either is not
            active.
        messages : Tensor, shape (n, heads, n_nodes, dim / heads)
            What each node sends.
        """
        n, n_nodes, dim = nodes.shape
        w = self.proj(nodes).view(n, n_nodes, self.heads, dim // self.heads).transpose(1, 2)
        receiver = (w * self.score_src[:, None]).sum(dim=-1)
        sender = (w * self.score_dst[:, None]).sum(dim=-1)
        scores = F.relu(receiver[..., None] + sender[..., None, :])
        if active is None:
            return scores.softmax(dim=-1), w
        scores = scores.masked_fill(~active[:, None, None, :], float("-inf"))
        return scores.softmax(dim=-1) * active[:, None, :, None], w

    def forward(self, nodes: Tensor, active: Tensor | None = None) -> Tensor:
        """Return what each node receives, ``(n, n_nodes, dim)``."""
        weights, messages = self.weights(nodes, active)
        return self.o_proj((weights @ messages).transpose(1, 2).flatten(2))


class GraphLayer(nn.Module):
    """Graph attention and feed-forward layer, each normed before.

    Parameters
    ----------
    dim, heads, hidden : int
        Sizes.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn_norm = rms_norm(dim)
        self.attn = GraphAttention(dim, heads)
        self.ffn_norm = rms_norm(dim)
        self.ffn = SwiGLU(dim, hidden)

    def forward(self, nodes: Tensor, active: Tensor | None = None) -> Tensor:
        """Return the nodes after both sub-layers."""
        nodes = nodes + self.attn(self.attn_norm(nodes), active)
        return nodes + self.ffn(self.ffn_norm(nodes))


class TEG(nn.Module):
    """The graph that all tasks share.

    Only active nodes are computed: the others neither send nor are read.

    Parameters
    ----------
    n_electrodes : int
        Nodes that exist.
    dim, heads, hidden, depth : int
        Sizes.
    """

    layers: Any  # a ModuleList of GraphLayer

    def __init__(self, n_electrodes: int, dim: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.node_embed = nn.Parameter(torch.empty(n_electrodes, dim))
        self.layers = nn.ModuleList(GraphLayer(dim, heads, hidden) for _ in range(depth))
        self.norm = rms_norm(dim)

    def place(self, z: Tensor, rows: Tensor) -> Tensor:
        """Add what a node is to what its electrode says.

        The paper writes an indicator-masked table plus ``diag(z)``, which is
        read as this sum.
        """
        return self.node_embed[rows] + z

    def forward(self, z: Tensor, rows: Tensor, active: Tensor | None = None) -> Tensor:
        """Exchange between the electrodes of each epoch.

        Parameters
        ----------
        z : Tensor, shape (n, n_nodes, dim)
            Representation of each electrode.
        rows : Tensor of int64, shape (n_nodes,) or (n, n_nodes)
            Rows of the electrodes in the vocabulary.
        active : Tensor of bool | None, shape (n, n_nodes)
            False where a row is padding.

        Returns
        -------
        Tensor, shape (n, n_nodes, dim)
            Normed nodes; zero where padded.
        """
        nodes = self.place(z, rows)
        for layer in self.layers:
            nodes = layer(nodes, active)
        nodes = self.norm(nodes)
        return nodes if active is None else nodes * active[..., None]


def pool_nodes(nodes: Tensor, active: Tensor | None = None) -> Tensor:
    """Return the mean over active nodes, ``(n, dim)``; padded ones must be zero."""
    if active is None:
        return nodes.mean(dim=1)
    return nodes.sum(dim=1) / active.sum(dim=1, keepdim=True)
