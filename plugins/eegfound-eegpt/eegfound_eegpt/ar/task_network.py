"""The network of several tasks: one encoder, one graph, a head per task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.estimators._handle import EncoderHandle
from eegfound_eegpt.ar.blocks import TwoLayerHead, initialize
from eegfound_eegpt.ar.graph import pool_nodes
from eegfound_eegpt.ar.network import EEGPTAR

#: Bytes of encoded sequences that are kept while training a frozen encoder.
KEPT_BYTES = 2**30


@dataclass(frozen=True)
class Block:
    """Epochs of one array, as the network takes them.

    Attributes
    ----------
    signal : ndarray of float32, shape (n_epochs, n_channels, n_times)
        In the model's unit and rate; NaN where not recorded.
    presence : ndarray of bool, shape (n_epochs, n_channels)
        Which channels were recorded.
    rows : tuple of int
        Rows of the channels in the vocabulary.
    """

    signal: np.ndarray
    presence: np.ndarray
    rows: tuple[int, ...]


class TrainingEpochs:
    """Epochs of all tasks, found by their number; caps, lengths and tasks may differ.

    Parameters
    ----------
    blocks : list of Block
        Arrays, one after the other.
    task : ndarray of int64, shape (n_epochs,)
        Number of each epoch's task.
    """

    def __init__(self, blocks: list[Block], task: np.ndarray) -> None:
        self.task = task
        self._places = [(block, i) for block in blocks for i in range(len(block.signal))]
        self.rows = [
            torch.tensor(np.asarray(block.rows)[block.presence[i]]) for block, i in self._places
        ]
        self._memory: dict[int, Tensor] = {}
        self._kept = 0

    def n_times(self, epoch: int) -> int:
        """Return the length of an epoch in samples."""
        return self._places[epoch][0].signal.shape[-1]

    def signal(self, epoch: int) -> Tensor:
        """Return the signals of an epoch's electrodes, ``(n_recorded, n_times)``."""
        block, i = self._places[epoch]
        return torch.from_numpy(block.signal[i][block.presence[i]])

    def memory(self, epoch: int, encoder: EEGPTAR) -> Tensor:
        """Return what the special token sees of an epoch's electrodes.

        Each epoch is encoded on its own, so its numbers do not depend on the
        batch. As many as fit :data:`KEPT_BYTES` are kept.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        encoder : EEGPTAR
            The frozen encoder.

        Returns
        -------
        Tensor, shape (n_layers, 2, n_sequences, heads, n_tokens, head_dim)
            Keys and values in each layer.
        """
        if epoch in self._memory:
            return self._memory[epoch]
        device = encoder.special_token.device
        with torch.no_grad():
            segments = encoder.segments(self.signal(epoch).to(device))
            pairs = encoder.remember(segments, self.rows[epoch].to(device))
            memory = torch.stack([torch.stack(pair) for pair in pairs])
        size = memory.numel() * memory.element_size()
        if self._kept + size <= KEPT_BYTES:
            self._memory[epoch] = memory
            self._kept += size
        return memory


class TaskNetwork(nn.Module):
    """Encoder, graph and heads, trained on numbered epochs.

    Pickles and state dicts hold what is trained; a frozen encoder is referred
    to by its handle.

    Parameters
    ----------
    handle : EncoderHandle
        Of a network with the graph.
    n_classes : sequence of int
        Classes of each task.
    full : bool
        Whether a copy of the encoder is trained too.
    dropout : float
        In the heads.
    double : bool
        Whether what is trained is computed in float64.
    """

    def __init__(
        self, handle: EncoderHandle, n_classes: Sequence[int], *, full: bool = False,
        dropout: float = 0.0, double: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.handle, self.full, self.n_classes = handle, full, tuple(n_classes)
        network: Any = handle.trainable_copy() if full else handle.network
        if full:
            self.network = network
        else:
            self.special_token = nn.Parameter(network.special_token.detach().clone())
            self.teg = copy.deepcopy(network.teg).requires_grad_(True)
        self.heads = nn.ModuleList(TwoLayerHead(network.width, n, dropout) for n in self.n_classes)
        initialize(self.heads)
        self.dtype = torch.float64 if double else torch.float32
        self.to(self.dtype)
        #: Set for training only.
        self.epochs: TrainingEpochs | None = None

    def encoder(self, dtype: torch.dtype | None = None) -> EEGPTAR:
        """Return the tuned network; a frozen encoder is shared, not copied."""
        if self.full:
            return self.network
        dtype = dtype or self.dtype
        token, teg = self.special_token, self.teg
        if token.dtype != dtype:
            token = nn.Parameter(token.detach().to(dtype), requires_grad=False)
            teg = copy.deepcopy(teg).to(dtype)
        frozen: Any = self.handle.placed(str(token.device), dtype)
        return frozen.with_readout(token, teg)

    def _represent(self, epochs: TrainingEpochs, numbers: list[int]) -> Tensor:
        """Return representations of electrodes of epochs of one length, in their order."""
        rows = torch.cat([epochs.rows[number] for number in numbers])
        if self.full:
            signal = torch.cat([epochs.signal(number) for number in numbers])
            device = self.network.special_token.device
            return self.network.represent(signal.to(device), rows.to(device))
        frozen: Any = self.handle.placed(str(self.special_token.device), torch.float32)
        memory = torch.cat([epochs.memory(number, frozen) for number in numbers], dim=2)
        pairs = [(keys, values) for keys, values in memory.to(self.dtype)]
        return self.encoder().summarize(pairs, len(rows))

    def graph(self, epochs: TrainingEpochs, numbers: list[int]) -> Tensor:
        """Return the graph's read-out of epochs, ``(n_epochs, width)``.

        Parameters
        ----------
        epochs : TrainingEpochs
            Where the epochs are found.
        numbers : list of int
            Their numbers; tasks, caps and lengths may differ.
        """
        lengths: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            lengths.setdefault(epochs.n_times(number), []).append(place)
        parts: list[Any] = [None] * len(numbers)
        for places in lengths.values():  # one pass per window length
            chosen = [numbers[place] for place in places]
            z = self._represent(epochs, chosen)
            for place, part in zip(places, z.split([len(epochs.rows[n]) for n in chosen])):
                parts[place] = part
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        rows = [epochs.rows[number] for number in numbers]
        there = pad([torch.ones_like(some, dtype=torch.bool) for some in rows])
        z, there = pad(parts), there.to(parts[0].device)
        return pool_nodes(self.encoder().teg(z, pad(rows).to(z.device), there), there)

    def forward(self, inputs: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return scores of numbered epochs.

        Parameters
        ----------
        inputs : Tensor of int64, shape (n_epochs,)
            Numbers of epochs in ``epochs``.
        weight : Tensor | None
            Not used here; the loss takes it.

        Returns
        -------
        Tensor, shape (n_epochs, n_columns)
            One column per task and class; minus infinity for other tasks than
            the epoch's own.
        """
        if self.epochs is None:
            raise RuntimeError("TaskNetwork.epochs must be set before numbered epochs are scored.")
        numbers = inputs.tolist()
        task = torch.from_numpy(self.epochs.task[numbers])
        return self.score(self.graph(self.epochs, numbers), task)

    def score(self, graph: Tensor, task: Tensor) -> Tensor:
        """Return scores of graph read-outs; see :meth:`forward`."""
        scores = graph.new_full((len(graph), sum(self.n_classes)), float("-inf"))
        first = 0
        for number, (head, count) in enumerate(zip(self.heads, self.n_classes)):
            members = torch.nonzero(task == number).flatten().to(graph.device)
            if len(members):
                columns = torch.arange(first, first + count, device=graph.device)
                scores[members[:, None], columns] = head(graph[members])
            first += count
        return scores


def parameter_groups(network: Any, lr: float, *, full: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return skorch parameter groups of a :class:`TaskNetwork`.

    Parameters
    ----------
    network : EEGPTAR
        The pretrained network.
    lr : float
        Learning rate of what transfer trains; the encoder gets a tenth.
    full : bool
        Whether the encoder is trained.

    Returns
    -------
    list of (str, dict)
        For ``optimizer__param_groups``: no decay of tables, vectors, biases.
    """
    own, exempt = network.readout_parameters(), network.no_weight_decay()
    groups: list[tuple[str, dict[str, Any]]] = [("heads.*.bias", {"weight_decay": 0.0})]
    for name, parameter in network.named_parameters():
        options: dict[str, Any] = {}
        if parameter.ndim <= 1 or name in exempt:
            options["weight_decay"] = 0.0
        if name not in own:
            options["lr"] = 0.1 * lr
        if full or name in own:
            groups.append((f"network.{name}" if full else name, options))
    return groups
