"""What NeuroLM declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from math import inf

from eegfound.models import (
    Checkpoint,
    FoundationModel,
    InputSpec,
    PretrainingStage,
    hookimpl,
)
from eegfound.models.open import open_checkpoint
from eegfound_neurolm.vocabulary import MAX_SECONDS, PATCH, VOCABULARY

#: Corpus of about 25,000 h whose core is TUEG; it contains the recordings of
#: TUAB, TUEV and TUSL, without their labels.
PRETRAINING = ("TUEG (with the recordings of TUAB, TUEV, TUSL)", "further sets, see the paper")
_ENCODER = {"width": 768, "depth": 12, "heads": 12}
_HOW = (
    "The authors publish {} on Hugging Face as Weibang/NeuroLM (MIT); see the README of the GitHub "
    "repository 935963004/NeuroLM."
)


def _published(name: str, size: str) -> Checkpoint:
    return Checkpoint(
        name=name.removesuffix(".pt").lower(),
        size=size,
        filename=name,
        licence="MIT (repository 935963004/NeuroLM)",
        converter="eegfound_neurolm.checkpoint:convert",
        safe_globals=("argparse:Namespace",),
        how_to_get=_HOW.format(name),
        pretraining_datasets=PRETRAINING,
    )


#: Published pretraining; the language model's batch was 60 on each of several GPUs.
_VQ = {
    "max_epochs": 50, "train_batch_size": 64, "optimizer": "adamw", "lr": 5e-5, "min_lr": 1e-5,
    "lr_schedule": "cosine", "warmup": 5, "weight_decay": 1e-4, "gradient_clip": inf,
    "objective_params": {
        "mean_over": 1024, "revive_after": None, "decay": 0.99, "centered": False,
    },
}  # fmt: skip
_NEXT_CODE = {
    "max_epochs": 20, "train_batch_size": 60, "optimizer": "adamw", "betas": (0.9, 0.95),
    "lr": 6e-4, "min_lr": 6e-5, "lr_schedule": "cosine", "warmup": 2, "weight_decay": 0.1,
    "gradient_clip": 1.0,
}  # fmt: skip
_STAGES = (
    PretrainingStage(
        "vq",
        "eegfound_neurolm.stages:vq_stage",
        summary="patches to codes, codes to spectra and signals",
        share=0.5,
        defaults={
            "train_batch_size": 16, "optimizer": "adamw", "betas": (0.9, 0.99), "lr": 1e-3,
            "min_lr": 1e-5, "lr_schedule": "cosine", "weight_decay": 1e-4,
        },
        recipes={"paper": _VQ},
    ),
    PretrainingStage(
        "next-code",
        "eegfound_neurolm.stages:next_code_stage",
        summary="predict the next second's codes",
        share=0.5,
        defaults={
            "train_batch_size": 16, "optimizer": "adamw", "betas": (0.9, 0.95), "lr": 1e-3,
            "min_lr": 1e-5, "lr_schedule": "cosine", "weight_decay": 0.1,
            "gradient_clip": 1.0,
        },
        recipes={"paper": _NEXT_CODE},
    ),
)  # fmt: skip

MODEL = FoundationModel(
    name="neurolm",
    summary="NeuroLM: text-aligned neural tokenizer, GPT-2 over EEG (encoder by default)",
    input=InputSpec(
        sfreq=200.0,
        patch_samples=PATCH,
        max_samples=MAX_SECONDS * PATCH,
        unit="uV",
        scale=0.01,
        vocabulary=VOCABULARY,
        band=(0.1, 75.0),
        notch=50.0,
        default_channel="CZ",
    ),
    network="eegfound_neurolm.network:build_network",
    sizes={
        "base": {**_ENCODER, "lm_width": 768, "lm_depth": 12, "lm_heads": 12},
        "large": {**_ENCODER, "lm_width": 1024, "lm_depth": 24, "lm_heads": 16},
        "xl": {**_ENCODER, "lm_width": 1600, "lm_depth": 48, "lm_heads": 25},
        "small": {
            "width": 128, "depth": 4, "heads": 4, "lm_width": 96, "lm_depth": 3, "lm_heads": 4,
            "n_codes": 128, "code_dim": 16, "text_rows": 0,
        },
        "tiny": {
            "width": 64, "depth": 2, "heads": 4, "lm_width": 48, "lm_depth": 2, "lm_heads": 4,
            "n_codes": 64, "code_dim": 16,
        },
    },
    default_size="base",
    micro_batch=8,
    poolings=("mean", "max", "mean_std", "channels", "flatten"),
    checkpoints=(
        open_checkpoint("eegfound_neurolm", "neurolm", "small"),
        _published("NeuroLM-B.pt", "base"),
        _published("NeuroLM-L.pt", "large"),
        _published("NeuroLM-XL.pt", "xl"),
        _published("VQ.pt", "base"),
    ),
    objective="eegfound_neurolm.objective:build_objective",
    stages=_STAGES,
    transformer="eegfound_neurolm.estimators:NeuroLMTransformer",
    classifier="eegfound_neurolm.estimators:NeuroLMClassifier",
    regressor="eegfound_neurolm.estimators:NeuroLMRegressor",
    pretrainer="eegfound_neurolm.estimators:NeuroLMPretrainer",
    citation=(
        "Jiang, Wang, Lu, Li: NeuroLM: A Universal Multi-task Foundation Model for Bridging the "
        "Gap between Language and EEG Signals, ICLR 2025"
    ),
    licence="MIT (reference code); this implementation BSD-3-Clause",
    url="https://github.com/935963004/NeuroLM",
    notes=(
        "Sizes differ in the language model only; the default reads the encoder, "
        "model_params={'features': 'lm'} the language model's last hidden states.",
        "Questions in words: eegfound_neurolm.NeuroLMPromptClassifier.",
        "VQ.pt holds the encoder without a language model.",
    ),
)  # fmt: skip


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return NeuroLM."""
    return [MODEL]
