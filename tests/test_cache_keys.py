"""Digests of what an embedding depends on: every field counts, nothing looks alike."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

import eegfound as ef
from eegfound.cache import keys
from eegfound.cache.memory import contents
from eegfound.estimators._inputs import plan_input
from eegfound.models import InputSpec
from tests.helpers_toy import info


def changed(value):
    """Return something else of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, np.ndarray):
        return value + 1
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, value[0]) if value else ("more",)
    if value is None:
        return 7
    raise AssertionError(f"say what differs from {value!r}")


@pytest.fixture(scope="module")
def plan(toy):
    made = plan_input(toy, info(), n_channels=5, unit="V")
    return dataclasses.replace(made, positions=np.zeros((5, 3), np.float32))


def altered(thing, name):
    """Return a copy of a frozen dataclass with one field changed, whatever it thinks of that."""
    copy = pickle.loads(pickle.dumps(thing))
    object.__setattr__(copy, name, changed(getattr(thing, name)))
    return copy


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(InputSpec)])
def test_every_field_of_the_contract_counts(plan, name):
    other = dataclasses.replace(plan, spec=altered(plan.spec, name))
    assert keys.digest(other) != keys.digest(plan)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(ef.ChannelInfo)])
def test_every_fact_of_the_array_counts(plan, name):
    other = dataclasses.replace(plan, info=altered(plan.info, name))
    assert keys.digest(other) != keys.digest(plan)


def test_every_field_of_the_plan_counts(plan):
    names = {f.name for f in dataclasses.fields(plan)}
    for name in names - {"spec", "info"}:
        assert keys.digest(altered(plan, name)) != keys.digest(plan), name
    assert keys.digest(pickle.loads(pickle.dumps(plan))) == keys.digest(plan)


def test_values_that_look_alike_differ():
    values = [None, 0, 0.0, -0.0, False, "", (), {}, b"", "0", "None", 1, 1.0, True, "1", [1],
              [[1]],
              ["1"], [1, 2], [12], {"a": 1}, {"a": "1"}, {"b": 1}, {1: "a"}, {"a": {"b": 1}},
              np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 1)), np.zeros((1, 2)), {1}, {1, 2},
              ["ab", "c"], ["a", "bc"], 0.1, np.nextafter(0.1, 1), np.float32(0.1), float("nan"),
              Path("a"), "a", dict, list, np.array(["a"], object), 1j]  # fmt: skip
    assert len({keys.digest(value) for value in values}) == len(values)
    assert keys.digest({"a": 1, "b": 2}) == keys.digest({"b": 2, "a": 1})


def test_what_cannot_be_read_is_not_cached():
    with pytest.raises(keys.NotCacheable):
        keys.digest({"f": lambda: 1})
    with pytest.raises(keys.NotCacheable):
        keys.digest(i for i in range(3))


def test_a_key_depends_on_recipe_epoch_and_presence(rng):
    """And on that epoch alone."""
    X = rng.standard_normal((3, 2, 5))
    presence = np.array([[True, True], [True, False], [True, True]])
    made = keys.epoch_keys(b"recipe", contents(X), presence)
    assert len(set(made)) == 3
    assert keys.epoch_keys(b"recipe", contents(X[::-1]), presence[::-1]) == made[::-1]
    others = keys.epoch_keys(b"recipe", contents(X), ~presence | [True, False])
    assert [a == b for a, b in zip(made, others)] == [False, False, False]
    assert not set(keys.epoch_keys(b"another", contents(X), presence)) & set(made)
    X[0, 1, 2] = np.nextafter(X[0, 1, 2], 9)
    assert [a == b for a, b in zip(made, keys.epoch_keys(b"recipe", contents(X), presence))] == [
        False, True, True,
    ]  # fmt: skip
