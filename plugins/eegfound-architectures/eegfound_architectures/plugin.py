"""What is declared to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from eegfound.models import FoundationModel, InputSpec, PretrainingStage, hookimpl
from eegfound.models.open import open_checkpoint

#: Samples of a patch (one second at 250 Hz), and patches of one window.
PATCH, MAX_PATCHES = 250, 30

#: All values are ours: there is no published recipe to follow.
STAGE = PretrainingStage(
    name="masked",
    objective="eegfound_architectures.fome.objective:build_objective",
    summary="draw hidden patches again, waveform and spectrum",
    defaults={
        "max_epochs": 20,
        "train_batch_size": 16,
        "optimizer": "adamw",
        "lr": 1e-3,
        "lr_schedule": "cosine",
        "warmup": 1,
        "weight_decay": 0.05,
        "gradient_clip": 1.0,
    },
)

FOME_STYLE = FoundationModel(
    name="fome-style",
    summary="OUR design after FoME's abstract (fusion embedding, ATLAS attention)",
    input=InputSpec(
        sfreq=250.0,
        patch_samples=PATCH,
        max_samples=MAX_PATCHES * PATCH,
        unit="uV",
        scale=0.01,
        band=(0.5, 75.0),
        notch=50.0,
    ),
    network="eegfound_architectures.fome.network:build_network",
    sizes={
        "tiny": {"width": 128, "depth": 4, "heads": 4},
        "small": {"width": 256, "depth": 8, "heads": 8},
        "paper-size": {"width": 1536, "depth": 18, "heads": 16},
    },
    default_size="tiny",
    checkpoints=(open_checkpoint("eegfound_architectures", "fome-style", "tiny"),),
    poolings=("mean", "max", "mean_std", "channels", "flatten"),
    micro_batch=8,
    objective="eegfound_architectures.fome.objective:build_objective",
    stages=(STAGE,),
    transformer="eegfound_architectures.fome.estimators:FomeStyleTransformer",
    classifier="eegfound_architectures.fome.estimators:FomeStyleClassifier",
    regressor="eegfound_architectures.fome.estimators:FomeStyleRegressor",
    pretrainer="eegfound_architectures.fome.estimators:FomeStylePretrainer",
    citation=(
        "The idea: Shi et al., FoME: A Foundation Model for EEG using Adaptive Temporal-Lateral "
        "Attention Scaling, arXiv 2409.12454 (abstract); this design is ours"
    ),
    licence="BSD-3-Clause",
    url="https://arxiv.org/abs/2409.12454",
    notes=(
        "Not the FoME of the paper: its code and weights were never published, and only its "
        "abstract was read. Sizes, losses and every other number are our choice.",
        "Weights of size 'tiny' ship with the plugin, trained by us; see their model card.",
    ),
)


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return the FoME-style model (the Brant-X-style one is an estimator of its own)."""
    return [FOME_STYLE]
