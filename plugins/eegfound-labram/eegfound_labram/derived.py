"""What is computed from frozen parameters once, not in every forward pass."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_not
from typing import Any

import torch
from torch import Tensor, nn


class Deriving(nn.Module):
    """Module that keeps tensors derived from its frozen parameters.

    They are made anew when a parameter was replaced, changed in place or moved,
    and are neither pickled nor part of the state dict.
    """

    def __init__(self) -> None:
        super().__init__()
        self._derived: dict[Any, tuple[tuple[Tensor, ...], tuple[int, ...], Any]] = {}

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._derived = {}  # tensors go to another device or precision
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_derived": {}}

    def frozen(self, *sources: Tensor) -> bool:
        """Return whether nothing derived from ``sources`` can be trained now."""
        return not (
            torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or any(source.requires_grad for source in sources)
        )

    def derive(self, name: Any, sources: tuple[Tensor, ...], make: Callable[[], Any]) -> Any:
        """Return what ``make`` makes of parameters, made once where these are frozen.

        Parameters
        ----------
        name : hashable
            What is derived.
        sources : tuple of Tensor
            Parameters that ``make`` reads.
        make : callable
            Called without arguments.
        """
        if not self.frozen(*sources):
            return make()
        versions = tuple(source._version for source in sources)
        known = self._derived.get(name)
        if known is None or known[1] != versions or any(map(is_not, known[0], sources)):
            known = self._derived[name] = (sources, versions, make())
        return known[2]
