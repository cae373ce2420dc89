"""What LaBraM declares to the suite (imports neither torch nor a network)."""

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
from eegfound_labram.vocabulary import VOCABULARY

#: The sets of the paper's pretraining corpus (its appendix), by name.
PRETRAINING = (
    "TUAR", "TUEP", "TUSZ", "TUSL", "SEED series", "EEGMMIDB", "BCI Competition IV-1",
    "Emobrain", "Grasp and Lift", "Inria BCI Challenge", "Raw EEG Data", "Resting State EEG",
    "SPIS Resting State", "Target Versus Non-Target", "Siena Scalp EEG", "self-collected",
)  # fmt: skip

#: Fine-tuning of the base size (the paper's appendix and the authors' script).
_FINE_TUNING = {
    "tuning": "full",
    "pooling": "mean",
    "head": "linear",
    "optimizer": "adamw",
    "lr": 5e-4,
    "min_lr": 1e-6,
    "lr_schedule": "cosine",
    "warmup": 5,
    "max_epochs": 50,
    "train_batch_size": 512,
    "weight_decay": 0.05,
    "layer_decay": 0.65,
    "label_smoothing": 0.1,
    "model_params": {"drop_path_rate": 0.1},
}
_LARGE = {**_FINE_TUNING, "max_epochs": 30, "warmup": 3, "layer_decay": 0.8}

#: Pretraining (the paper's appendix). The tokenizer's gradients are not clipped.
_TOKENIZER = {
    "max_epochs": 100,
    "train_batch_size": 1024,
    "optimizer": "adamw",
    "betas": (0.9, 0.99),
    "lr": 5e-5,
    "min_lr": 1e-5,
    "lr_schedule": "cosine",
    "warmup": 10,
    "weight_decay": 1e-4,
    "gradient_clip": inf,
    "objective_params": {"revive_after": None, "decay": 0.99, "centered": False},
}
_MASKED = {
    "max_epochs": 50,
    "train_batch_size": 512,
    "optimizer": "adamw",
    "betas": (0.9, 0.98),
    "lr": 5e-4,
    "min_lr": 1e-5,
    "lr_schedule": "cosine",
    "warmup": 5,
    "weight_decay": 0.05,
    "gradient_clip": 3.0,
    "objective_params": {"wide": False},
}
_STAGES = (
    PretrainingStage(
        "tokenizer",
        "eegfound_labram.stages:tokenizer_stage",
        summary="patches to codes, codes to spectra (VQ-NSP)",
        share=0.3,
        defaults={
            "train_batch_size": 16,
            "optimizer": "adamw",
            "betas": (0.9, 0.99),
            "lr": 2e-3,
            "min_lr": 1e-5,
            "lr_schedule": "cosine",
            "weight_decay": 1e-4,
        },
        # The authors' script multiplies the rate by batch / 128.
        recipes={"paper": _TOKENIZER, "reference": {**_TOKENIZER, "lr": 4e-4}},
    ),
    PretrainingStage(
        "masked",
        "eegfound_labram.stages:masked_stage",
        summary="predict the codes of hidden patches",
        share=0.7,
        defaults={
            "train_batch_size": 8,
            "optimizer": "adamw",
            "betas": (0.9, 0.98),
            "lr": 1e-3,
            "min_lr": 1e-5,
            "lr_schedule": "cosine",
            "weight_decay": 0.05,
            "gradient_clip": 3.0,
        },
        recipes={"paper": _MASKED, "reference": _MASKED},
    ),
)

MODEL = FoundationModel(
    name="labram",
    summary="Large Brain Model: masked modelling of vector-quantized one-second patches",
    input=InputSpec(
        sfreq=200.0,
        patch_samples=200,
        max_samples=3200,
        unit="uV",
        scale=0.01,
        vocabulary=VOCABULARY,
        band=(0.1, 75.0),
        notch=50.0,
        window_seconds=(4.0, 16.0),
        default_channel="CZ",
    ),
    network="eegfound_labram.network:build_encoder",
    sizes={
        "base": {"out_chans": 8, "depth": 12, "num_heads": 10, "init_values": 0.1},
        "large": {"out_chans": 16, "depth": 24, "num_heads": 16, "init_values": 1e-5},
        "huge": {"out_chans": 32, "depth": 48, "num_heads": 16, "init_values": 1e-6},
        "small": {"out_chans": 8, "depth": 3, "num_heads": 10, "init_values": 0.1},
        "tiny": {"out_chans": 4, "depth": 4, "num_heads": 5, "init_values": 0.1},
    },
    default_size="base",
    micro_batch=8,
    checkpoints=(
        open_checkpoint("eegfound_labram", "labram", "small"),
        Checkpoint(
            name="labram-base",
            size="base",
            filename="labram-base.pth",
            urls=("https://github.com/935963004/LaBraM/raw/main/checkpoints/labram-base.pth",),
            licence="MIT (repository 935963004/LaBraM)",
            converter="eegfound_labram.checkpoint:convert_encoder",
            optional_keys=("fc_norm.*", "head.*"),
            safe_globals=("argparse:Namespace",),
            how_to_get=(
                "The authors publish it as checkpoints/labram-base.pth in the GitHub repository "
                "935963004/LaBraM."
            ),
            pretraining_datasets=PRETRAINING,
        ),
    ),
    recipes={
        "paper": _FINE_TUNING,
        "paper-large": _LARGE,
        "paper-huge": {**_LARGE, "model_params": {"drop_path_rate": 0.2}},
    },
    objective="eegfound_labram.objective:build_objective",
    stages=_STAGES,
    transformer="eegfound_labram.estimators:LaBraMTransformer",
    classifier="eegfound_labram.estimators:LaBraMClassifier",
    regressor="eegfound_labram.estimators:LaBraMRegressor",
    pretrainer="eegfound_labram.estimators:LaBraMPretrainer",
    golden="eegfound_labram.golden:reproduce",
    citation=(
        "Jiang, Zhao, Lu: Large Brain Model for Learning Generic Representations with Tremendous "
        "EEG Data in BCI, ICLR 2024, arXiv 2405.18765"
    ),
    licence="MIT (reference code); this implementation BSD-3-Clause",
    url="https://github.com/935963004/LaBraM",
    notes=(
        "T3/T7, T4/T8, T5/P7, T6/P8, M1/A1 and M2/A2 have rows of their own: names are used as "
        "recorded.",
        "With mean pooling the final norm starts fresh, as in the reference; "
        "model_params={'transfer_norm': True} takes the pretrained one.",
    ),
)


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return LaBraM."""
    return [MODEL]
