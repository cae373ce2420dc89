"""Which network a golden vector of LaBraM describes.

The description is a sentence ("base, mean pooling"), so it is read as one; the
manifest of the case, where there is one, has the last word on shapes, and the
file name only counts where neither says anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eegfound.testing.golden import GoldenCase
from eegfound_labram.plugin import MODEL

Shapes = Mapping[str, tuple[int, ...]]

#: The small networks of the goldens, for a folder without their manifests.
_TINY: dict[str, dict[str, Any]] = {
    "tiny_plain": {
        "out_chans": 4, "depth": 2, "num_heads": 5, "qkv_bias": True, "qk_norm": False,
        "init_values": 0.0,
    },
    "tiny_qk": {"out_chans": 4, "depth": 3, "num_heads": 4},
    "tiny": {"out_chans": 4, "depth": 2, "num_heads": 5},
}  # fmt: skip
#: The tokenizers that the paper and the goldens use.
_TOKENIZERS: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {"depth": 24},
    "tiny": {
        "out_chans": 4, "depth": 2, "num_heads": 5, "decoder_depth": 1, "decoder_heads": 5,
        "n_codes": 64, "code_dim": 16,
    },
}  # fmt: skip
_NUMBERS = {"out_chans": r"out_chans (\d+)", "depth": r"depth (\d+)", "num_heads": r"heads (\d+)"}


def text_of(case: GoldenCase) -> str:
    """Return the sentence that describes the case (JSON goldens call it a note)."""
    return str(case.meta.get("config") or case.meta.get("note") or "")


def _size(text: str, sizes: Mapping[str, Any]) -> str | None:
    """Find the name of a size as a word of its own, underscores set apart."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    return next((word for word in words if word in sizes), None)


def _shape_facts(shapes: Shapes | None, prefix: str = "") -> dict[str, Any]:
    """Read from a manifest what it can tell about a transformer."""
    own = {k.removeprefix(prefix): v for k, v in (shapes or {}).items() if k.startswith(prefix)}
    if "cls_token" not in own:
        return {}
    width = own["cls_token"][-1]
    blocks = {key.split(".")[1] for key in own if key.startswith("blocks.")}
    facts: dict[str, Any] = {
        "out_chans": width // 25,
        "depth": len(blocks),
        "qkv_bias": "blocks.0.attn.q_bias" in own,
        "qk_norm": "blocks.0.attn.q_norm.weight" in own,
        "num_classes": own.get("head.weight", (0,))[0],
        "pooling": "mean" if "fc_norm.weight" in own else "cls",
    }
    if "blocks.0.gamma_1" not in own:
        facts["init_values"] = 0.0
    if facts["qk_norm"]:
        facts["num_heads"] = width // own["blocks.0.attn.q_norm.weight"][0]
    return facts


def _text_facts(text: str) -> dict[str, Any]:
    """Read from the sentence what it says about a transformer."""
    facts: dict[str, Any] = {}
    for name, pattern in _NUMBERS.items():
        if found := re.search(pattern, text):
            facts[name] = int(found[1])
    if found := re.search(r"embed (\d+)", text):
        facts["out_chans"] = int(found[1]) // 25
    if found := re.search(r"qkv_bias=(True|False)", text):
        facts["qkv_bias"] = found[1] == "True"
    if "qk_norm" in text:
        facts["qk_norm"] = "no qk_norm" not in text
    if "no LayerScale" in text:
        facts["init_values"] = 0.0
    if found := re.search(r"\b(mean|cls) pooling", text):
        facts["pooling"] = found[1]
    if found := re.search(r"(\d+) classes", text):
        facts["num_classes"] = int(found[1])
    if "no head" in text:
        facts["num_classes"] = 0
    return facts


def _named(case: GoldenCase, text: str) -> dict[str, Any]:
    """Return the options of the size that the sentence, or else the file, names."""
    size = _size(text, {k: v for k, v in MODEL.sizes.items() if k != "tiny"})
    if size is None:
        known = next((name for name in _TINY if name in text or name in case.name), None)
        if known is not None:
            return dict(_TINY[known])
        size = _size(case.name, MODEL.sizes) or MODEL.default_size
    return dict(MODEL.sizes[size])


def encoder_options(case: GoldenCase) -> dict[str, Any]:
    """Return what :class:`eegfound_labram.network.LaBraM` is built with.

    Parameters
    ----------
    case : GoldenCase
        An encoder's golden.

    Returns
    -------
    dict
        Options by name.
    """
    text = text_of(case)
    options = {"pooling": "mean", **_named(case, text)}
    # "as ft_tiny_qkn but ...": everything else as in another case.
    if (model := re.search(r"\bas (\w+)", text)) and case.manifest(model[1]):
        options |= _shape_facts(case.manifest(model[1]))
    elif not text:
        options |= _shape_facts(case.nearest_manifest())
    options |= _text_facts(text)
    if "num_classes" in case.meta:
        options["num_classes"] = int(case.meta["num_classes"])
    return options | _shape_facts(case.manifest())


def tokenizer_options(case: GoldenCase) -> dict[str, Any]:
    """Return what :class:`eegfound_labram.tokenizer.VQNSP` is built with.

    Parameters
    ----------
    case : GoldenCase
        A tokenizer's golden, or one of masked modelling whose labels come
        from the tokenizer of the same size.

    Returns
    -------
    dict
        Options by name.
    """
    text = text_of(case)
    if named := re.search(r"tokenizer (vq_\w+)", text):
        shapes, text = case.manifest(named[1]), named[1]
        nearest = shapes
    else:
        shapes, nearest = case.manifest(), case.nearest_manifest()
    size = _size(text, _TOKENIZERS) or _size(case.name, _TOKENIZERS) or "base"
    options = dict(_TOKENIZERS[size]) | _tokenizer_shapes(shapes or (None if text else nearest))
    short = r"{} (\d+)x(\d+)x(\d+)h"
    long = r"{} embed (\d+) depth (\d+) heads (\d+)"
    for part, depth, heads in (
        ("enc", "depth", "num_heads"), ("dec", "decoder_depth", "decoder_heads")
    ):  # fmt: skip
        for pattern in (short, long):
            if found := re.search(pattern.format(part), text):
                numbers = [int(n) for n in found.groups()]
                if pattern == short:  # depth x width x heads
                    numbers[0], numbers[1] = numbers[1], numbers[0]
                if part == "enc":
                    options["out_chans"] = numbers[0] // 25
                options |= {depth: numbers[1], heads: numbers[2]}
    if found := re.search(r"codebook (\d+)x(\d+)", text):
        options |= {"n_codes": int(found[1]), "code_dim": int(found[2])}
    return options | _tokenizer_shapes(shapes)


def _tokenizer_shapes(shapes: Shapes | None) -> dict[str, Any]:
    if not shapes or "quantize.embedding.weight" not in shapes:
        return {}
    encoder, decoder = _shape_facts(shapes, "encoder."), _shape_facts(shapes, "decoder.")
    n_codes, code_dim = shapes["quantize.embedding.weight"]
    return {
        "out_chans": encoder["out_chans"],
        "depth": encoder["depth"],
        "decoder_depth": decoder["depth"],
        "n_codes": n_codes,
        "code_dim": code_dim,
    }


def masked_options(case: GoldenCase) -> dict[str, Any]:
    """Return what :class:`eegfound_labram.objective.MaskedEEGModel` is built with.

    Parameters
    ----------
    case : GoldenCase
        A golden of masked modelling.

    Returns
    -------
    dict
        Options by name.
    """
    text = text_of(case)
    options = _named(case, text.partition(";")[0])
    options |= _text_facts(text) | _shape_facts(case.manifest(), "student.")
    for name in ("pooling", "num_classes"):
        options.pop(name, None)
    if found := re.search(r"vocab (\d+)", text):
        options["n_codes"] = int(found[1])
    if shapes := case.manifest():
        options["n_codes"] = shapes["lm_head.weight"][0]
    return options
