"""What a function computes, as text: a changed one is another one."""

from __future__ import annotations

import functools
import hashlib
from types import CodeType, FunctionType, MethodType
from typing import Any

from eegfound.benchmark.identity import describe


def describe_function(function: Any) -> str:
    """Return a text that changes with the code of a function and what it closes over.

    Parameters
    ----------
    function : callable
        Function, lambda, bound method, ``functools.partial`` or callable object.

    Returns
    -------
    str
        Name and digest. What the function calls by name is not looked into.
    """
    if isinstance(function, functools.partial):
        parts = [describe_function(function.func), describe([function.args, function.keywords])]
        return f"partial {_digest(parts)}"
    if isinstance(function, MethodType):
        return f"{describe_function(function.__func__)} of {describe(function.__self__)}"
    if not isinstance(function, FunctionType):
        return str(describe(function))
    cells = [_value(cell) for cell in function.__closure__ or ()]
    given = [function.__defaults__, function.__kwdefaults__]
    parts = [_code(function.__code__), describe(cells), describe(given)]
    return f"{function.__module__}.{function.__qualname__} {_digest(parts)}"


def functions_in(params: dict[str, Any]) -> dict[str, str]:
    """Return the functions among the parameters of an estimator, described."""
    kinds = (FunctionType, MethodType, functools.partial)
    return {k: describe_function(v) for k, v in sorted(params.items()) if isinstance(v, kinds)}


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def _code(code: CodeType) -> list[Any]:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def _value(cell: Any) -> Any:
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet
        return None
    # A function that closes over itself would have no end.
    return value.__qualname__ if isinstance(value, FunctionType) else value
