"""What MMM declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from eegfound.models import Checkpoint, FoundationModel, InputSpec, PretrainingStage, hookimpl
from eegfound.models.open import open_checkpoint
from eegfound_mmm.topology import VOCABULARY

#: Fine-tuning from the checkpoint (the authors' configurations), with the head
#: as the paper describes it.
_FINE_TUNING = {
    "tuning": "full",
    "pooling": "flatten",
    "head": "mmm-mlp",
    "head_hidden": 64,
    "optimizer": "adam",
    "lr": 5e-5,
    "lr_schedule": "constant",
    "max_epochs": 99,
    "train_batch_size": 32,
    "weight_decay": 5e-3,
    "model_params": {"region_tokens": "normal"},
}

#: Both ways of masking take turns within the stage; see objective.stage_of.
STAGE = PretrainingStage(
    name="reconstruction",
    objective="eegfound_mmm.objective:build_objective",
    summary="rebuild all electrodes from the region tokens; hides electrodes, then regions",
    defaults={
        "max_epochs": 10,
        # Seconds are samples: 8 windows of 4 s are 32.
        "train_batch_size": 8,
        "optimizer": "adamw",
        "lr": 2e-3,
        "lr_schedule": "cosine",
        "warmup": 0.5,
        "weight_decay": 0.05,
        "gradient_clip": 1.0,
    },
    recipes={
        "paper": {
            "max_epochs": 600,
            # A sample is a second: windows of 4 s make batches of 128.
            "train_batch_size": 512,
            "optimizer": "adamw",
            "objective_params": {"cycle_epochs": 100, "random_fraction": 0.5},
            # Ours from here on: the paper searched rate and decay and does not say what it found.
            "betas": (0.9, 0.999),
            "lr": 1e-3,
            "min_lr": 0.0,
            "lr_schedule": "cosine",
            "warmup": 0,
            "weight_decay": 0.05,
        }
    },
)

MODEL = FoundationModel(
    name="mmm",
    summary="MMM: differential entropy on one topology of 62 electrodes and 17 regions",
    input=InputSpec(
        sfreq=200.0,
        patch_samples=200,
        unit="uV",
        vocabulary=VOCABULARY,
        window_seconds=(1.0, 4.0),
        default_channel="CZ",
    ),
    network="eegfound_mmm.network:build_encoder",
    sizes={
        "base": {"width": 64, "depth": 6, "n_heads": 8},
        "paper": {"width": 16, "depth": 6, "n_heads": 8},
        # Ours: half as deep, for hours instead of weeks of EEG.
        "small": {"width": 64, "depth": 3, "n_heads": 8},
    },
    default_size="base",
    poolings=("flatten", "regions", "mean", "cls", "channels"),
    checkpoints=(
        open_checkpoint("eegfound_mmm", "mmm", "small"),
        Checkpoint(
            name="mmm-tuh-base",
            size="base",
            filename="tuh_pretrained_encoder_base.pt",
            urls=("https://seqml.github.io/MMM/tuh_pretrained_encoder_base.pt",),
            sha256="6d9354d5d954ee7b4be0cbc4cadbafa39a4cd77babd854fa24f193136c01790a",
            licence="not stated by the publisher (research use, not clinical)",
            converter="eegfound_mmm.checkpoint:convert_encoder",
            optional_keys=("supernodes", "network.pos_embed"),
            how_to_get="The authors link it from their project page https://seqml.github.io/MMM/.",
            pretraining_datasets=("TUEG",),
        ),
    ),
    recipes={"paper": _FINE_TUNING, "reference": {**_FINE_TUNING, "head": "mmm-reference"}},
    objective="eegfound_mmm.objective:build_objective",
    stages=(STAGE,),
    micro_batch=8,
    # The Hann window hides the first and last samples of a second and energies
    # have no sign: of windows of two samples, which scikit-learn's blobs are,
    # hardly anything is left.
    poor_score=True,
    front_end="eegfound_mmm.front_end:build_front_end",
    front_end_options=(
        "bands", "window_seconds", "smoothing", "noise_ratio", "normalization", "statistics",
    ),
    transformer="eegfound_mmm.estimators:MMMTransformer",
    classifier="eegfound_mmm.estimators:MMMClassifier",
    regressor="eegfound_mmm.estimators:MMMRegressor",
    pretrainer="eegfound_mmm.estimators:MMMPretrainer",
    golden="eegfound_mmm.golden:reproduce",
    citation=(
        "Yi, Wang, Ren, Li: Learning Topology-Agnostic EEG Representations with Geometry-Aware "
        "Modeling, NeurIPS 2023"
    ),
    licence="MIT (reference code); this implementation BSD-3-Clause",
    url="https://seqml.github.io/MMM/",
    notes=(
        "The published file holds no region tokens; they are zeros unless "
        "model_params={'region_tokens': 'normal'} (or an array) says otherwise.",
        "fit learns mean and spread of each band from the training epochs.",
        "Accuracies published on SEED use smoothed features (de_LDS); "
        "model_params={'smoothing': 'lds'} smooths within an epoch.",
    ),
)  # fmt: skip


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return MMM."""
    return [MODEL]


@hookimpl
def eegfound_heads() -> dict[str, str]:
    """Return MMM's heads."""
    return {
        "mmm-mlp": "eegfound_mmm.heads:make_mlp",
        "mmm-reference": "eegfound_mmm.heads:make_reference",
        "mmm-reference-sigmoid": "eegfound_mmm.heads:make_reference_sigmoid",
    }
