"""The stages of pretraining, as the Pretrainer builds them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from eegfound.base import SpecError
from eegfound.nn import Objective
from eegfound_neurolm.next_code import NextCodeObjective
from eegfound_neurolm.objective import TokenizerObjective


def vq_stage(
    *, previous: Mapping[str, Objective], mean_over: int | None = None,
    revive_after: int | None = 10, centered: bool = True, decay: float = 0.9, **config: Any,
) -> TokenizerObjective:  # fmt: skip
    """Build the first stage.

    Parameters
    ----------
    previous : mapping
        Nothing comes before it.
    mean_over, revive_after, centered, decay, **config
        See :class:`eegfound_neurolm.objective.TokenizerObjective`; the defaults
        here suit short trainings, those there are the reference's.
    """
    return TokenizerObjective(
        mean_over=mean_over, revive_after=revive_after, centered=centered, decay=decay, **config
    )


def next_code_stage(*, previous: Mapping[str, Objective], **config: Any) -> NextCodeObjective:
    """Build the second stage on the tokenizer of the first.

    Parameters
    ----------
    previous : mapping
        With the trained ``"vq"``, whose tokenizer is copied.
    **config : Any
        See :class:`eegfound_neurolm.next_code.NextCodeObjective`.

    Raises
    ------
    SpecError
        If there is no tokenizer.
    """
    first = previous.get("vq")
    if not isinstance(first, TokenizerObjective):
        raise SpecError(
            "Predicting codes needs a trained tokenizer: train both stages "
            "(stages=['vq', 'next-code'], the default), or give what an earlier training saved "
            "with save(path, what='objective') as checkpoint=."
        )
    quantizer = first.tokenizer.quantize
    shape = {"n_codes": quantizer.n_codes, "code_dim": quantizer.code_dim}
    return NextCodeObjective(tokenizer=deepcopy(first.tokenizer), **{**config, **shape})
