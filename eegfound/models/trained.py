"""Weights in memory: what a Pretrainer hands to ``checkpoint=`` without a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eegfound.models.files import fingerprint, save_weights


class TrainedWeights:
    """Weights of a network and where they come from; takes the place of a file.

    Immutable: copies and clones are the object itself. A pickle holds the tensors.

    Parameters
    ----------
    state : mapping of str to Tensor
        The network's tensors.
    metadata : mapping
        ``model``, ``size``, ``config`` and whatever is worth keeping (plain data).

    Attributes
    ----------
    model, size : str
        Name of the model and of the size.
    fingerprint : str
        Digest of the tensors.
    """

    def __init__(self, state: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        self.state = {key: value.detach().cpu().clone() for key, value in state.items()}
        self.metadata: dict[str, Any] = dict(metadata)
        self.model, self.size = metadata["model"], metadata["size"]
        self.fingerprint = fingerprint(self.state)

    def save(self, path: Any) -> Path:
        """Write the weights as safetensors.

        Parameters
        ----------
        path : path-like
            Must end in ``.safetensors``.

        Returns
        -------
        Path
            The file.
        """
        return save_weights(path, self.state, self.metadata)

    def __repr__(self) -> str:
        return f"TrainedWeights({self.model!r}, size={self.size!r}, {self.fingerprint})"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, TrainedWeights) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __copy__(self) -> TrainedWeights:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainedWeights:
        return self

    def __sklearn_clone__(self) -> TrainedWeights:
        return self
