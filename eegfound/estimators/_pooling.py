"""Read-outs: from tokens to one vector per epoch or a few, once for all models."""

from __future__ import annotations

import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork, Tokens

#: Read-outs that every model has.
POOLINGS = ("mean", "cls", "max", "mean_std", "channels", "flatten")

#: What a head may ask for: one pooled vector, or several slices of an epoch.
READINGS = ("pooled", "tokens", "channels", "moments")


def concatenate(pieces: list[tuple[Tokens, int]]) -> Tokens:
    """Join the tokens of consecutive pieces of a long window.

    Parameters
    ----------
    pieces : list of (Tokens, int)
        Tokens of each piece and the index of its first patch in the window.

    Returns
    -------
    Tokens
        With time indices counted from the start of the window.
    """
    if len(pieces) == 1:
        return pieces[0][0]
    return Tokens(
        torch.cat([tokens.values for tokens, _ in pieces], dim=1),
        torch.cat([tokens.channels for tokens, _ in pieces]),
        torch.cat([torch.where(t.times >= 0, t.times + start, t.times) for t, start in pieces]),
        torch.cat([tokens.is_summary for tokens, _ in pieces]),
    )


def pool(
    network: EncoderNetwork,
    tokens: Tokens,
    pooling: str,
    *,
    layer: int | None,
    slots: Tensor,
    n_slots: int,
) -> Tensor:
    """Reduce tokens to one vector per epoch.

    Parameters
    ----------
    network : EncoderNetwork
        Where the tokens come from.
    tokens : Tokens
        Of a whole window.
    pooling : str
        One of :data:`POOLINGS` or a name the network's own ``pool`` knows.
    layer : int | None
        Layer the tokens were read at; None for the output.
    slots : Tensor of int64, shape (n_channels,)
        Place of each of the batch's channels among the estimator's channels.
    n_slots : int
        Number of the estimator's channels.

    Returns
    -------
    Tensor, shape (n_epochs, n_features)
        The pooled features.
    """
    own = network.pool(tokens, pooling)
    if own is None:
        own = _generic(tokens, pooling, slots, n_slots)
    return own if layer is not None else network.finish_pooling(own)


def _generic(tokens: Tokens, pooling: str, slots: Tensor, n_slots: int) -> Tensor:
    values, summary = tokens.values, tokens.is_summary
    if pooling == "flatten":
        return values.flatten(1)
    if pooling == "cls":
        if not summary.any():
            raise SpecError("pooling='cls': this model has no class or summary token; use 'mean'.")
        return values[:, summary].mean(dim=1)
    patches = values if summary.all() else values[:, ~summary]
    if pooling == "mean":
        return patches.mean(dim=1)
    if pooling == "max":
        return patches.amax(dim=1)
    if pooling == "mean_std":
        return torch.cat([patches.mean(dim=1), patches.std(dim=1, correction=0)], dim=1)
    if pooling == "channels":
        index = tokens.channels if summary.all() else tokens.channels[~summary]
        if (index < 0).any():
            raise SpecError("pooling='channels': this model's tokens belong to no single channel.")
        out = values.new_full((len(values), n_slots, values.shape[-1]), float("nan"))
        for channel in range(len(slots)):
            out[:, slots[channel]] = patches[:, index == channel].mean(dim=1)
        return out.flatten(1)
    raise SpecError(f"pooling={pooling!r} is not known; the suite's read-outs are {POOLINGS}.")


def read_tokens(
    network: EncoderNetwork,
    tokens: Tokens,
    reading: str,
    *,
    pooling: str,
    layer: int | None,
    slots: Tensor,
    n_slots: int,
) -> Tensor:
    """Arrange tokens into slices for a head that reads more than a pooled vector.

    The number of slices depends on the window and the estimator's channels
    only, not on which of them these epochs recorded. Class and summary tokens
    are read where a model has no others; region tokens beside those of
    electrodes are left out.

    Parameters
    ----------
    network : EncoderNetwork
        Where the tokens come from.
    tokens : Tokens
        Of a whole window.
    reading : {"tokens", "channels", "moments"}
        ``"tokens"``: all tokens of electrodes, electrode by electrode in
        order of time; of a model whose tokens belong to no electrode, those
        that are no summary (all, if there are no others) in order of time.
        ``"channels"``: the mean over time of each electrode. ``"moments"``:
        see :func:`by_moment`; the pooled vector as the only slice where no
        token has a time.
    pooling : str
        The network's read-out, for that case.
    layer, slots, n_slots
        See :func:`pool`.

    Returns
    -------
    Tensor, shape (n_epochs, n_slices, width)
        NaN for electrodes that were not recorded. For ``layer=None`` tokens
        and channels went through the network's ``finish_pooling`` one by one.

    Raises
    ------
    SpecError
        If the model has no such slices.
    """
    if reading == "moments":
        moments = by_moment(tokens)
        if moments is not None:
            return moments
        pooled = pool(network, tokens, pooling, layer=layer, slots=slots, n_slots=n_slots)
        return pooled[:, None]
    if reading not in READINGS[1:]:
        raise SpecError(f"A head's reading={reading!r} is not one of {READINGS}.")
    on_channels = (tokens.channels >= 0) & ~tokens.is_summary
    if on_channels.any():
        values = _finished(network, _by_channel(tokens, on_channels, len(slots)), layer)
        if reading == "channels":
            values = values.mean(dim=2, keepdim=True)
        if slots.tolist() != list(range(n_slots)):
            n, _, per, width = values.shape
            placed = values.new_full((n, n_slots, per, width), float("nan"))
            placed[:, slots] = values
            values = placed
        return values.flatten(1, 2)
    if reading == "channels":
        raise SpecError(
            "head='graph' reads one vector per electrode, but with this pooling or layer the "
            "model's tokens belong to no single electrode: use head='attention', 'conv_linear', "
            "'mlp' or 'linear'."
        )
    summary = tokens.is_summary
    chosen = torch.nonzero(summary if summary.all() else ~summary).squeeze(1)
    order = chosen[torch.argsort(tokens.times[chosen], stable=True)]
    return _finished(network, tokens.values[:, order], layer)


def _finished(network: EncoderNetwork, values: Tensor, layer: int | None) -> Tensor:
    return values if layer is not None else network.finish_pooling(values)


def _by_channel(tokens: Tokens, chosen: Tensor, n_channels: int) -> Tensor:
    """Return the chosen tokens as ``(n_epochs, n_channels, n_per_channel, width)``."""
    places = torch.nonzero(chosen).squeeze(1)
    order = places[torch.argsort(tokens.times[places], stable=True)]
    order = order[torch.argsort(tokens.channels[order], stable=True)]
    counts = torch.bincount(tokens.channels[order], minlength=n_channels)
    if not (counts == counts[0]).all():
        raise SpecError(
            "This model gives electrodes unequal numbers of tokens, which heads that read tokens "
            "do not take: use head='linear' or 'mlp'."
        )
    return tokens.values[:, order].unflatten(1, (n_channels, -1))


def by_moment(tokens: Tokens) -> Tensor | None:
    """Return what a network says about each moment.

    Parameters
    ----------
    tokens : Tokens
        Of a window.

    Returns
    -------
    Tensor | None, shape (n_epochs, n_moments, n_features)
        At each moment the mean over the channels' tokens or, where tokens
        belong to no channel (summary tokens of a slice), all of them in a
        row. None where no token has a time.
    """
    placed = torch.nonzero(tokens.times >= 0).squeeze(1)
    if not len(placed):
        return None
    on_channels = placed[tokens.channels[placed] >= 0]
    placed = on_channels if len(on_channels) else placed
    times = tokens.times[placed]
    moments, counts = torch.unique(times, return_counts=True)
    values = tokens.values[:, placed[torch.argsort(times, stable=True)]]
    if (counts == counts[0]).all():
        values = values.unflatten(1, (len(moments), -1))
        return values.mean(dim=2) if len(on_channels) else values.flatten(2)
    groups = values.split(counts.tolist(), dim=1)
    return torch.stack([group.mean(dim=1) for group in groups], dim=1)
