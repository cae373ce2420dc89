"""Search spaces: distributions by parameter name, some under a condition."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from sklearn.base import clone

from eegfound.base import SpecError
from eegfound.benchmark.functions import describe_function
from eegfound.benchmark.identity import describe

#: Draws in which all parameters of a space, conditional ones too, should be seen once.
_DRAWS = 50
_PLAIN = (str, bool, int, float, type(None))
#: Characters of the words that stand for a value in a study.
_LONGEST = 300


class SearchSpace(dict[str, Any]):
    """Distributions by parameter name, of which some count only sometimes.

    A plain dict of distributions with one thing more: :attr:`when`. A search
    samples the parameters in order and leaves out those whose condition does
    not hold, so that a trial names only what matters to it.

    Parameters
    ----------
    distributions : mapping of str to distribution | None
        Name of a parameter (``"svc__C"``) to an Optuna distribution or a list
        of values. A name may be followed by ``"@"`` and a word: two ranges of
        one parameter under two conditions, ``"lr@full"`` and ``"lr@lora"``.
    when : mapping of str to mapping | None
        Key of ``distributions`` to its conditions: name of an *earlier*
        parameter to the tuple of values for which this one counts.

    Attributes
    ----------
    when : dict of str to dict
        As given.

    Examples
    --------
    >>> from eegfound.search import SearchSpace
    >>> space = SearchSpace(
    ...     {"kernel": ["linear", "rbf"], "gamma": [0.1, 1.0]},
    ...     when={"gamma": {"kernel": ("rbf",)}},
    ... )
    >>> list(space)
    ['kernel', 'gamma']
    """

    def __init__(
        self,
        distributions: Mapping[str, Any] | None = None,
        when: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    ) -> None:
        super().__init__(distributions or {})
        self.when = {
            key: {name: tuple(values) for name, values in conditions.items()}
            for key, conditions in (when or {}).items()
        }
        strange = [key for key in self.when if key not in self]
        if strange:
            raise SpecError(f"when= speaks of {strange}, which are not in the space {list(self)}.")

    def nested(self, prefix: str, **conditions: Sequence[Any]) -> SearchSpace:
        """Return the space of a step, as seen from outside.

        Parameters
        ----------
        prefix : str
            Name of the step; parameters become ``"<prefix>__<name>"``.
        **conditions : sequence
            Parameters of the outside (not prefixed) and the values for which
            the whole step counts.

        Returns
        -------
        SearchSpace
            A new space.
        """
        outer = {name: tuple(values) for name, values in conditions.items()}
        when = {}
        for key in self:
            own = {f"{prefix}__{name}": values for name, values in self.when.get(key, {}).items()}
            if outer or own:
                when[f"{prefix}__{key}"] = outer | own
        return SearchSpace({f"{prefix}__{key}": value for key, value in self.items()}, when)

    def joined(self, other: Mapping[str, Any]) -> SearchSpace:
        """Return both spaces as one; ``other`` wins where both name a key."""
        when = {key: value for key, value in self.when.items() if key not in other}
        return SearchSpace({**self, **other}, when | getattr(other, "when", {}))

    def __repr__(self) -> str:
        lines = []
        for key, value in self.items():
            conditions = [f"{n} in {list(v)}" for n, v in self.when.get(key, {}).items()]
            lines.append(
                f"  {key}: {value}" + (f"  if {', '.join(conditions)}" if conditions else "")
            )
        return "SearchSpace(\n" + "\n".join(lines) + "\n)"


def _label(value: Any) -> Any:
    """Return what a study can store for a value of any kind."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, type) or callable(value):
        name = getattr(value, "__qualname__", None)
        if name:
            return f"{value.__module__}.{name}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", re.sub(r"\s+", " ", repr(value)))[:_LONGEST]


def _says_all(value: Any) -> bool:
    """Return whether the label of a value tells it from every other one."""
    if isinstance(value, list | tuple):
        return all(map(_says_all, value)) and len(repr(value)) < _LONGEST
    return isinstance(value, (*_PLAIN, np.generic, type))


class Dimension:
    """One entry of a space, ready to be sampled.

    Parameters
    ----------
    key : str
        Key in the space; the parameter's name and perhaps a word after ``@``.
    given : object
        Optuna distribution, list or tuple of values, or frozen distribution
        of :mod:`scipy.stats` (``uniform``, ``loguniform``, ``randint``).
    when : mapping
        Conditions.
    """

    def __init__(self, key: str, given: Any, when: Mapping[str, Sequence[Any]]) -> None:
        self.key, self.when = key, when
        self.name = key.partition("@")[0]
        self.values: dict[Any, Any] | None = None
        if isinstance(given, CategoricalDistribution):
            given = given.choices
        if isinstance(given, list | tuple | np.ndarray):
            values = list(given)
            if not values:
                raise SpecError(f"param_distributions[{key!r}] is an empty list.")
            labels = [_label(value) for value in values]
            repeated = len({(type(label), label) for label in labels}) < len(labels)
            if repeated:
                labels = [f"{number}: {label}" for number, label in enumerate(labels)]
            self.values = dict(zip(labels, values))
            if len(self.values) < len(values):  # 1 and True are one key
                self.values = {
                    f"{n}: {label}": v for n, (label, v) in enumerate(zip(labels, values))
                }
            given = CategoricalDistribution(list(self.values))
        elif not isinstance(given, BaseDistribution):
            given = _from_scipy(key, given)
        self.distribution: BaseDistribution = given

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Say whether the conditions hold for the parameters sampled so far."""
        return all(
            name in params and any(params[name] is v or params[name] == v for v in values)
            for name, values in self.when.items()
        )

    def sample(self, trial: Any) -> Any:
        """Return a value from a Trial, or the one that a finished trial had."""
        d = self.distribution
        if isinstance(d, FloatDistribution):
            return trial.suggest_float(self.key, d.low, d.high, step=d.step, log=d.log)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.key, d.low, d.high, step=d.step, log=d.log)
        assert isinstance(d, CategoricalDistribution)
        label = trial.suggest_categorical(self.key, d.choices)
        return label if self.values is None else self.values[label]

    def describe(self, tell: Callable[[Any], Any] = describe) -> Any:
        """Return plain data that tell one dimension from another.

        Parameters
        ----------
        tell : callable
            Returns plain data that tell one value from another.
        """
        when = {name: [_label(v) for v in values] for name, values in sorted(self.when.items())}
        told = [self.key, json.loads(distribution_to_json(self.distribution)), when]
        # Two functions of one name, or two encoders of many channels, have one label.
        more = [*(self.values or {}).values(), *(v for each in self.when.values() for v in each)]
        unclear = [tell(value) for value in more if not _says_all(value)]
        return [*told, unclear] if unclear else told


class _Draw:
    """Stands for a trial: least numbers, random choices."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def suggest_float(self, key: str, low: float, high: float, **_: Any) -> float:
        return low

    def suggest_int(self, key: str, low: int, high: int, **_: Any) -> int:
        return low

    def suggest_categorical(self, key: str, choices: Sequence[Any]) -> Any:
        return self._random.choice(choices)


def _from_scipy(key: str, given: Any) -> BaseDistribution:
    kind = getattr(getattr(given, "dist", None), "name", None)
    if kind in ("loguniform", "reciprocal", "uniform"):
        low, high = map(float, given.support())
        return FloatDistribution(low, high, log=kind != "uniform")
    if kind == "randint":
        low, high = map(int, given.support())
        return IntDistribution(low, high)
    raise SpecError(
        f"param_distributions[{key!r}] = {given!r} cannot be sampled: give an Optuna distribution "
        "(FloatDistribution(1e-3, 1e3, log=True)), a list of values, or uniform, loguniform or "
        "randint of scipy.stats."
    )


class Sampler:
    """What a search samples from: a dict of distributions, or a function.

    Parameters
    ----------
    given : mapping | callable
        ``param_distributions`` of the search.

    Raises
    ------
    SpecError
        If an entry is no distribution, or a condition names what is not
        sampled before.
    """

    def __init__(self, given: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]) -> None:
        self.function: Callable[[Any], Mapping[str, Any]] | None = None
        self.dimensions: list[Dimension] = []
        if not isinstance(given, Mapping):
            self.function = given
            return
        when = getattr(given, "when", {})
        known: set[str] = set()
        for key, value in given.items():
            dimension = Dimension(key, value, when.get(key, {}))
            late = [name for name in dimension.when if name not in known]
            if late:
                raise SpecError(
                    f"{key!r} depends on {late}, which must stand before it in the space."
                )
            known.add(dimension.name)
            self.dimensions.append(dimension)

    def __call__(self, trial: Any) -> dict[str, Any]:
        """Return parameters for ``set_params``, sampled or read from a trial."""
        if self.function is not None:
            return dict(self.function(trial))
        params: dict[str, Any] = {}
        for dimension in self._active(params):
            params[dimension.name] = dimension.sample(trial)
        return params

    def check_names(self, estimator: Any) -> None:
        """Refuse names that an estimator does not have, before a study is about them.

        Parameters
        ----------
        estimator : estimator
            What is tuned. A function of trials is not called for that.

        Raises
        ------
        SpecError
            With the names that there are.
        """
        draw = _Draw()
        unseen = {dimension.name for dimension in self.dimensions}
        for _ in range(_DRAWS):
            if not unseen:
                return
            params = self(draw)
            if unseen.isdisjoint(params):
                continue
            unseen -= set(params)
            try:
                clone(estimator).set_params(**clone(params, safe=False))
            except ValueError as error:
                if "Invalid parameter" not in str(error):
                    raise
                raise SpecError(f"param_distributions: {error}") from error

    def _active(self, params: dict[str, Any]) -> Iterator[Dimension]:
        for dimension in self.dimensions:
            if dimension.holds(params):
                yield dimension

    def describe(self, tell: Callable[[Any], Any] = describe) -> Any:
        """Return plain data that tell one space from another.

        Parameters
        ----------
        tell : callable
            Returns plain data that tell one value from another.
        """
        if self.function is not None:
            return describe_function(self.function)
        return [dimension.describe(tell) for dimension in self.dimensions]
