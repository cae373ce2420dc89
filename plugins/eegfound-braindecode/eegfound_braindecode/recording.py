"""Reading a network's inner states without changing the network.

Hooks stand permanently on the modules whose input or output is a state worth
reading; they do nothing unless the thread that runs the network has asked for
that state. So several threads can run one network at a time, each for itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from torch import nn

#: A module, and whether its (first) input or its output is meant.
Place = tuple[nn.Module, Literal["input", "output"]]

_thread = threading.local()


class _Enough(BaseException):
    """Ends a forward pass whose wanted state has been seen."""


def watch(places: Mapping[int | str, Place]) -> None:
    """Make states readable.

    Parameters
    ----------
    places : mapping of int or str to (module, side)
        Where each state passes by.
    """
    for key, (module, side) in places.items():
        if side == "input":
            module.register_forward_pre_hook(partial(_before, key))
        else:
            module.register_forward_hook(partial(_after, key))


def read(key: int | str, run: Callable[[], Any]) -> Any:
    """Run a network up to a state and return that state.

    Parameters
    ----------
    key : int | str
        One of the keys given to :func:`watch`.
    run : callable
        Runs the network.

    Returns
    -------
    object
        What passed by.
    """
    _thread.wanted, _thread.found = key, None
    try:
        run()
    except _Enough:
        return _thread.found
    finally:
        _thread.wanted = _thread.found = None
    raise RuntimeError(f"The network never reached the state {key!r}.")


def _take(key: int | str, value: Any) -> None:
    if getattr(_thread, "wanted", None) == key:
        _thread.found = value
        raise _Enough


def _before(key: int | str, module: nn.Module, args: tuple[Any, ...]) -> None:
    _take(key, args[0])


def _after(key: int | str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    _take(key, output)
