"""Declaring one of braindecode's models or one of its files on the Hub.

Plain data: neither torch nor braindecode is imported. Where a fact was read is
said in the model's notes: [bd] docstring of the class in braindecode 1.8,
[card] model card on the Hugging Face Hub, [paper], [authors] the authors'
repository, [ours] decided by us.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eegfound.models import Checkpoint, FoundationModel, InputSpec

HUB = "https://huggingface.co"
#: Read-outs on one token per electrode and patch, and on tokens without electrode.
PATCHES = ("mean", "max", "mean_std", "channels", "flatten")
MOMENTS = ("mean", "max", "mean_std", "flatten")
TUEG = ("TUEG (all of the TUH EEG Corpus, so TUAB, TUEV, TUSZ, TUAR, TUSL, TUEP too)",)


def checkpoint(
    name: str, size: str, repository: str, licence: str, *, file: str = "model.safetensors",
    seen: tuple[str, ...] = (), gated: bool = False, **options: Any,
) -> Checkpoint:  # fmt: skip
    """Declare a file on the Hub in braindecode's format."""
    address = f"{HUB}/{repository}/resolve/main/{file}"
    told = (
        f"It is {file} of {HUB}/{repository}: `hf download {repository} {file} config.json "
        "--local-dir FOLDER`, or eegfound_braindecode.download(…) with the extra [hub]."
    )
    if gated:
        told += (
            " The repository is gated: accept the authors' terms there first (no redistribution)."
        )
    return Checkpoint(
        name=name,
        size=size,
        filename=f"{name}.safetensors",
        urls=() if gated else (address,),
        licence=licence,
        converter="eegfound_braindecode.checkpoint:convert",
        how_to_get=told,
        pretraining_datasets=seen,
        **options,
    )


def file_on_hub(spec: Checkpoint) -> tuple[str, str]:
    """Return repository and file name of a checkpoint declared here."""
    address = spec.how_to_get.split(f"{HUB}/", 1)[1].split(":", 1)[0]
    return address, spec.how_to_get.removeprefix("It is ").split(" of ", 1)[0]


def declare(
    name: str, summary: str, spec: InputSpec, sizes: Mapping[str, Mapping[str, Any]], *,
    poolings: tuple[str, ...], citation: str, cls: str, notes: tuple[str, ...] = (),
    recipe: str | None = None, checkpoints: tuple[Checkpoint, ...] = (), **options: Any,
) -> FoundationModel:  # fmt: skip
    """Declare one class of ``braindecode.models``; the first size is the default."""
    return FoundationModel(
        name=f"bd-{name}",
        aliases=(f"braindecode-{name}",),
        summary=f"{summary} (braindecode's {cls})",
        input=spec,
        network="eegfound_braindecode.network:build_encoder",
        sizes={size: {"recipe": recipe or name, **config} for size, config in sizes.items()},
        default_size=next(iter(sizes)),
        checkpoints=checkpoints,
        poolings=poolings,
        citation=citation,
        licence="BSD-3-Clause (braindecode) unless its file says otherwise; weights: see there",
        url=f"https://braindecode.org/stable/generated/braindecode.models.{cls}.html",
        notes=notes,
        **options,
    )
