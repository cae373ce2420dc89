"""The stages of pretraining, and the tokenizer that suits each size of encoder.

Published are two tokenizers: that of the base model, and one with 24 blocks
whose width stays 200 (named "large" in the authors' code; huge models use it
here too). Small encoders get small ones: a few hours of EEG do not fill 8192
codes, and a tokenizer should cost less than what it teaches. Their encoders have
convolutions only. Blocks would let codes share out among electrodes what they have
in common; then one code says little about the next, and there is little to learn
from masked modelling in a short time.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

from eegfound.base import SpecError
from eegfound.nn import Objective
from eegfound_labram.blocks import widen
from eegfound_labram.network import LaBraM
from eegfound_labram.objective import MaskedObjective, build_objective
from eegfound_labram.tokenizer import VQNSP
from eegfound_labram.tokenizer_objective import TokenizerObjective

#: Options of :class:`eegfound_labram.tokenizer.VQNSP` by name.
TOKENIZERS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "large": {"depth": 24},
    "small": {
        "out_chans": 8, "depth": 0, "num_heads": 10, "decoder_depth": 1, "decoder_heads": 10,
        "n_codes": 64, "code_dim": 16,
    },
    "tiny": {
        "out_chans": 4, "depth": 0, "num_heads": 5, "decoder_depth": 1, "decoder_heads": 5,
        "n_codes": 32, "code_dim": 16,
    },
}  # fmt: skip

#: Options that only the first stage knows.
_OF_THE_TOKENIZER = frozenset(
    {
        "tokenizer_size", "n_codes", "code_dim", "decoder_depth", "decay", "beta", "revive_after",
        "centered",
    }
)  # fmt: skip
#: Options that only the second stage knows; without a stage's name they come here, too.
_OF_MASKED_MODELLING = frozenset({"mask_ratio", "cls_quirk", "wide"})


def suited(*, out_chans: int = 8, depth: int = 12, **config: Any) -> str:
    """Return the name of the tokenizer for an encoder of a size.

    Parameters
    ----------
    out_chans, depth : int
        Of the encoder; see :class:`eegfound_labram.network.LaBraM`.
    **config : Any
        What else the encoder's configuration says; not looked at.

    Examples
    --------
    >>> from eegfound_labram.stages import suited
    >>> suited(out_chans=8, depth=12), suited(out_chans=4, depth=4)
    ('base', 'tiny')
    """
    if depth >= 12:
        return "base" if depth < 24 else "large"
    return "small" if out_chans >= 8 else "tiny"


def build_tokenizer(
    tokenizer_size: str | None = None, *, n_codes: int | None = None,
    code_dim: int | None = None, decoder_depth: int | None = None, decay: float = 0.99,
    beta: float = 1.0, revive_after: int | None = None, **config: Any,
) -> VQNSP:  # fmt: skip
    """Build the tokenizer for an encoder.

    Parameters
    ----------
    tokenizer_size : str | None
        A name in :data:`TOKENIZERS`; None takes what suits the encoder.
    n_codes, code_dim, decoder_depth : int | None
        See :class:`eegfound_labram.tokenizer.VQNSP`; None: as in that size.
    decay, beta, revive_after
        See :class:`eegfound.nn.codebook.CosineCodebook`.
    **config : Any
        Configuration of the encoder.

    Returns
    -------
    VQNSP
        With an empty codebook.

    Raises
    ------
    SpecError
        If there is no tokenizer of that name.
    TypeError
        If neither tokenizer nor encoder knows an option.
    """
    known = _OF_MASKED_MODELLING | set(signature(LaBraM).parameters)
    if unknown := [key for key in config if key not in known]:
        raise TypeError(f"nobody knows the option(s) {unknown}")
    name = suited(**config) if tokenizer_size is None else tokenizer_size
    if name not in TOKENIZERS:
        raise SpecError(
            f"objective_params={{'tokenizer_size': {name!r}}}: there is no such tokenizer; choose "
            f"from {list(TOKENIZERS)}."
        )
    given = {"n_codes": n_codes, "code_dim": code_dim, "decoder_depth": decoder_depth}
    own = {key: value for key, value in given.items() if value is not None}
    book = {"decay": decay, "beta": beta, "revive_after": revive_after}
    return VQNSP(**{**TOKENIZERS[name], **own, **book})


def tokenizer_stage(
    *, previous: Mapping[str, Objective], revive_after: int | None = 10, centered: bool = True,
    decay: float = 0.9, **config: Any,
) -> TokenizerObjective:  # fmt: skip
    """Build the first stage.

    Parameters
    ----------
    previous : mapping
        Nothing comes before it.
    centered : bool
        See :meth:`eegfound_labram.tokenizer.VQNSP.prepare`.
    revive_after, decay, **config
        See :func:`build_tokenizer`; the defaults here suit short trainings, those
        there are the reference's.
    """
    tokenizer = build_tokenizer(revive_after=revive_after, decay=decay, **config)
    return TokenizerObjective(tokenizer, centered=centered)


def masked_stage(
    *, previous: Mapping[str, Objective], mask_ratio: float = 0.5, cls_quirk: bool = True,
    wide: bool = True, **config: Any,
) -> MaskedObjective:  # fmt: skip
    """Build the second stage on the tokenizer of the first.

    Parameters
    ----------
    previous : mapping
        With the trained ``"tokenizer"``, which is copied.
    mask_ratio, cls_quirk, **config
        See :func:`eegfound_labram.objective.build_objective`. Options of the tokenizer,
        which was built before, change nothing here.
    wide : bool
        Begin with the weights of :func:`eegfound_labram.blocks.widen`, and with the
        tokenizer's convolutions where they have the same shape; the reference
        does neither.

    Raises
    ------
    SpecError
        If there is no tokenizer.
    """
    first = previous.get("tokenizer")
    if not isinstance(first, TokenizerObjective):
        raise SpecError(
            "Masked modelling needs a trained tokenizer: train both stages "
            "(stages=['tokenizer', 'masked'], the default), or give what an earlier training saved "
            "with save(path, what='objective') as checkpoint=."
        )
    book = first.tokenizer.quantize
    for name, own in (("n_codes", book.n_codes), ("code_dim", book.code_dim)):
        if config.get(name) not in (None, own):
            raise SpecError(
                f"{name}={config[name]!r}: the trained tokenizer has {own}. Train it anew "
                "(stages=['tokenizer', 'masked']), or leave the option out."
            )
    config = {key: value for key, value in config.items() if key not in _OF_THE_TOKENIZER}
    objective = build_objective(
        tokenizer=deepcopy(first.tokenizer), mask_ratio=mask_ratio, cls_quirk=cls_quirk, **config
    )
    if wide:
        student, trained = objective.network.student, first.tokenizer.encoder.patch_embed
        widen(student)
        if student.patch_embed.out_chans == trained.out_chans:
            student.patch_embed.load_state_dict(trained.state_dict())
    return objective
