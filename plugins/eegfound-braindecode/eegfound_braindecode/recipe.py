"""How one of braindecode's networks is built, called and read.

A :class:`Recipe` holds what the bridge must know about a class of
``braindecode.models``: constructor arguments, what depends on the electrodes
or the length of a window, which parts are heads, where the states between its
layers pass by, and which electrode and moment each token belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.models.network import SignalBatch, Tokens
from eegfound_braindecode.normalization import normalization
from eegfound_braindecode.recording import Place, read


def chs_info(names: tuple[str, ...], positions: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Return electrodes in the form braindecode takes (that of ``mne.Info["chs"]``)."""
    places = np.zeros((len(names), 3)) if positions is None else positions
    return [
        {"ch_name": name, "kind": "eeg", "loc": np.r_[np.asarray(xyz, dtype=float), np.zeros(9)]}
        for name, xyz in zip(names, places)
    ]


def part(model: nn.Module, path: str) -> Any:
    """Return a submodule whose attributes mypy does not know."""
    return model.get_submodule(path)


def places(
    device: Any, n_channels: int, n_patches: int, *, time_major: bool = False, summaries: int = 0
) -> tuple[Tensor, Tensor]:
    """Return channel and time index of tokens on a grid, after some summary tokens."""
    channels = torch.arange(n_channels, device=device)
    times = torch.arange(n_patches, device=device)
    if time_major:
        channels, times = channels.repeat(n_patches), times.repeat_interleave(n_channels)
    else:
        channels, times = channels.repeat_interleave(n_patches), times.repeat(n_channels)
    none = torch.full((summaries,), -1, device=device)
    return torch.cat([none, channels]), torch.cat([none, times])


def grid(values: Tensor) -> Tokens:
    """Return the tokens of ``(n_epochs, n_channels, n_patches, width)``, channel by channel."""
    return Tokens(values.flatten(1, 2), *places(values.device, *values.shape[1:3]))


class Recipe:
    """Base class; subclasses describe one class of ``braindecode.models``.

    Parameters
    ----------
    options : mapping
        Options of the network as declared by its size and ``model_params``.
    pooling : str
        Read-out that the network is built for.
    """

    #: Class in ``braindecode.models``.
    cls: ClassVar[str]
    #: Name of the normalization that the authors' loader applies.
    normalize: ClassVar[str] = "none"
    #: Sampling rate in Hz.
    sfreq: ClassVar[float]
    #: Submodules that are heads: replaced by the identity, never loaded.
    heads: ClassVar[tuple[str, ...]] = ("final_layer",)
    #: Buffers that depend on the electrodes of the moment and are no weights.
    passing: ClassVar[tuple[str, ...]] = ()
    #: Prefixes of keys of published files that this encoder does not have.
    left_out: ClassVar[tuple[str, ...]] = ("final_layer.",)
    #: Where the list of layers stands; what comes after it.
    layers: ClassVar[str]
    top: ClassVar[tuple[str, ...]] = ()
    #: Parameters that are tables or special tokens: not decayed.
    tables: ClassVar[tuple[str, ...]] = ()
    #: Options of the recipe itself, with their defaults.
    own: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, options: Mapping[str, Any], pooling: str) -> None:
        options = dict(options)
        self.pooling = pooling
        self.normalization = normalization(options.pop("normalize", self.normalize))
        self.settings = {key: options.pop(key, value) for key, value in self.own.items()}
        self.options = options

    # Building -------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments of the network that holds the weights."""
        return {"n_chans": 1, "n_times": round(10 * self.sfreq)}

    def arguments_for(self, x: Tensor, batch: SignalBatch) -> tuple[Any, dict[str, Any]] | None:
        """Return what a network for this input is built with, and a key for it.

        None (the default): the network that holds the weights takes any input.
        """
        return None

    @contextmanager
    def construction(self) -> Iterator[None]:
        """Surround the constructor with what it needs."""
        yield

    def complete(self, model: nn.Module) -> None:
        """Finish a network with fresh weights; not called on the meta device."""

    def link(self, module: nn.Module, model: nn.Module) -> None:
        """Adapt a network for one input that shares the parameters of ``model``."""

    # Running --------------------------------------------------------------

    def prepare(self, x: Tensor, batch: SignalBatch) -> Tensor:
        """Turn a signal in the contract's unit into the network's input."""
        return self.normalization(x)

    def call(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Any:
        """Run the network."""
        return module(x, return_features=True)

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the tokens of the output."""
        raise TypeError(f"{type(self).__name__} must implement encode().")

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Say where the states after 0 … n_layers layers (and others) pass by."""
        blocks = list(module.get_submodule(self.layers).children())
        found: dict[int | str, Place] = {k: (block, "input") for k, block in enumerate(blocks)}
        found[len(blocks)] = (blocks[-1], "output")
        return found

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the tokens of a state between layers."""
        raise TypeError(f"{type(self).__name__} must implement state().")

    def read(self, key: int | str, module: nn.Module, x: Tensor, batch: SignalBatch) -> Any:
        """Run the network up to a state."""
        return read(key, lambda: self.call(module, x, batch))

    # Facts ----------------------------------------------------------------

    def width(self, model: nn.Module) -> int:
        """Return the length of an output token."""
        raise TypeError(f"{type(self).__name__} must implement width().")

    def n_layers(self, model: nn.Module) -> int:
        """Return the number of layers."""
        return len(list(model.get_submodule(self.layers).children()))

    def pool(self, model: nn.Module, tokens: Tokens, pooling: str) -> Tensor | None:
        """Compute a read-out of the model's own."""
        return None

    def finish_pooling(self, model: nn.Module, pooled: Tensor) -> Tensor:
        """Apply what the model does after pooling."""
        return pooled

    def rename(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map the names of the authors' own files to those of ``model``."""
        return state

    def convert(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adapt a published state dict to ``model``; keys that go are reported."""
        return state
