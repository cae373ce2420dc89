"""Read-outs: from tokens to one vector per epoch, once for all models."""

from __future__ import annotations

import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import EncoderNetwork, Tokens

#: Read-outs that every model has.
POOLINGS = ("mean", "cls", "max", "mean_std", "channels", "flatten")


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
