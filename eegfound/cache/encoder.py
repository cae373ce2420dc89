"""The cache as a frozen encoder sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eegfound.base import SpecError
from eegfound.cache.identity import NUMERICS, hardware, libraries
from eegfound.cache.keys import NotCacheable, digest, digest_once, epoch_keys
from eegfound.cache.memory import content_again, contents, hits, recent
from eegfound.cache.once import Rows, encode_once
from eegfound.cache.place import complain, resolve_place, size_bound
from eegfound.cache.source import code_of
from eegfound.cache.store import EmbeddingStore, Source


def recipe_of(
    *,
    model: Any,
    handle: Any,
    network: Any,
    plan: Any,
    layer: int | None,
    front_end: Any,
    arithmetic: Mapping[str, Any],
    epoch: tuple[str, tuple[int, ...]],
) -> dict[str, Any]:
    """Return everything but the epoch that an embedding depends on.

    Parameters
    ----------
    model : FoundationModel
        The declaration.
    handle : EncoderHandle
        The encoder: fingerprint, size, configuration, read-out.
    network : EncoderNetwork
        Its network, for the code it runs.
    plan : InputPlan
        From the user's array to the network's input; counts with all fields.
    layer : int | None
        Layer that is read.
    front_end : object | None
        The fitted front end; counts with all its state.
    arithmetic : mapping
        Precision, device, epochs per forward pass, compilation, reading.
    epoch : (str, (int, int))
        Type of the user's numbers, and shape of an epoch.

    Returns
    -------
    dict
        For :func:`eegfound.cache.keys.digest`.

    Raises
    ------
    NotCacheable
        If part of it cannot be told reliably.
    """
    return {
        "numerics": NUMERICS,
        "libraries": libraries(),
        "hardware": hardware(str(arithmetic["device"])),
        "code": code_of(network, front_end, model.network, model.front_end),
        "model": (model.name, model.network, model.front_end),
        "encoder": {
            "fingerprint": handle.fingerprint,
            "size": handle.size,
            "config": handle.config,
            "pooling": handle.pooling,
            "layer": layer,
        },
        "plan": digest_once(plan),
        "front_end": front_end,
        "arithmetic": dict(arithmetic),
        "epoch": epoch,
    }


def facts_of(recipe: Mapping[str, Any], handle: Any, plan: Any) -> dict[str, Any]:
    """Return what ``eegfound cache info`` says about a source."""
    encoder = recipe["encoder"]
    return {
        "model": recipe["model"][0],
        "size": encoder["size"],
        "weights": handle.weights,
        "fingerprint": encoder["fingerprint"],
        "pooling": encoder["pooling"],
        "layer": encoder["layer"],
        "reading": recipe["arithmetic"].get("reading", "pooled"),
        "dtype": recipe["arithmetic"].get("precision", "float32"),
        "n_channels": len(plan.picks),
        "sfreq": plan.info.sfreq,
        "n_times": recipe["epoch"][1][-1],
    }


def through_cache(
    cache: Any,
    encode: Callable[..., np.ndarray],
    X: np.ndarray,
    presence: np.ndarray,
    *,
    step: int,
    allocate: Callable[[tuple[int, ...]], np.ndarray],
    **about: Any,
) -> np.ndarray:
    """Return embeddings, encoding only epochs that the cache lacks.

    Parameters
    ----------
    cache : True | str | path-like
        See :func:`eegfound.cache.place.resolve_place`.
    encode : callable
        ``encode(X, presence, done=None)`` of the frozen encoder; tells ``done``
        the indices and embeddings of every batch.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        The user's array, checked.
    presence : ndarray of bool, shape (n_epochs, n_used)
        From ``plan.check``.
    step : int
        Epochs that are best encoded together.
    allocate : callable
        Returns the array for a shape of one embedding.
    **about : Any
        See :func:`recipe_of`.

    Returns
    -------
    ndarray of float32, shape (n_epochs, ...)
        Embeddings, the same to the bit as ``encode(X, presence)``.
    """
    place = resolve_place(cache)
    assert place is not None
    plan = about["plan"]
    try:
        recipe = recipe_of(**about, epoch=(X.dtype.str, X.shape[1:]))
        key = digest(recipe)
    except NotCacheable as error:
        complain(place, f"recipe {error}", f"These embeddings are not cached: {error}.")
        return encode(X, presence)
    store = EmbeddingStore(place, size_bound())
    source = Source(key, facts_of(recipe, about["handle"], plan))
    whole = b"array" + key + content_again(X) + np.packbits(presence).tobytes()
    for known in recent.get(store, [whole]).values():
        hits.add(store, source, len(X))
        array = allocate(known.shape[1:])
        array[:] = known
        return array
    keys = epoch_keys(key, contents(X), presence)

    def order(wanted: list[bytes]) -> list[bytes]:
        """Put epochs with the same electrodes together: they share forward passes."""
        first = {k: presence[i].tobytes() for i, k in enumerate(keys)}
        return sorted(wanted, key=first.__getitem__, reverse=True)

    def mismatch(one: tuple[int, ...], other: tuple[int, ...]) -> SpecError:
        return SpecError(
            f"pooling={about['handle'].pooling!r} gives {one[-1]} features for some epochs but "
            f"{other[-1]} for others: use pooling='mean', or interpolate the missing electrodes."
            if len(one) == 1
            else f"The model gives this head arrays of shape {one} for some epochs but {other} for "
            "others: use head='linear' or 'mlp' with pooling='mean', or interpolate the missing "
            "electrodes."
        )

    array = encode_once(
        store,
        source,
        Rows(keys, allocate, mismatch),
        lambda chosen, done: encode(X[chosen], presence[chosen], done),
        step=step,
        order=order,
    )
    recent.put(store, {whole: array.copy()})
    return array
