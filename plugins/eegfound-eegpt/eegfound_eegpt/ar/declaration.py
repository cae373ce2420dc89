"""What autoregressive EEGPT declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from eegfound.models import FoundationModel, InputSpec, PretrainingStage
from eegfound.models.open import open_checkpoint
from eegfound_eegpt.ar.vocabulary import HOP, TOKEN, VOCABULARY

_HERE = "eegfound_eegpt.ar"

#: The paper's second stage needs labels: it is the fit of EEGPTMultiTaskClassifier.
STAGE = PretrainingStage(
    name="next-signal",
    objective=f"{_HERE}.objective:build_objective",
    summary="predict each token of an electrode from those before it",
    defaults={
        "max_epochs": 20,
        "train_batch_size": 16,
        "betas": (0.9, 0.95),
        "lr": 2e-3,
        "lr_schedule": "cosine",
        "warmup": 1,
        "weight_decay": 0.05,
        "gradient_clip": 1.0,
        "objective_params": {"n_electrodes": 6, "relative": True},
    },
    recipes={
        "paper": {
            "optimizer": "adamw",
            "max_epochs": 3,
            # 4096 windows of single electrodes are 64 windows of 64.
            "train_batch_size": 64,
            "lr": 1e-4,
            "lr_schedule": "cosine",
            # Ours from here on: the paper does not say.
            "betas": (0.9, 0.95),
            "warmup": 0.15,
            "weight_decay": 0.05,
            "gradient_clip": 1.0,
            # The defaults count where a recipe says nothing.
            "objective_params": {"n_electrodes": None, "relative": False},
        }
    },
)

MODEL = FoundationModel(
    name="eegpt-ar",
    aliases=("braingpt",),
    summary=(
        "Autoregressive EEGPT (BrainGPT): next-signal prediction per electrode, task-shared graph"
    ),
    input=InputSpec(
        sfreq=256.0,
        patch_samples=TOKEN,
        patch_stride=HOP,
        unit="uV",
        scale=0.01,
        vocabulary=VOCABULARY,
        band=(0.1, 75.0),
        notch=50.0,
        window_seconds=(4.0, 4.0),
        # The network itself cuts windows beyond 4 s: segments or one stream.
        long_windows="stream",
        default_channel="CZ",
    ),
    network=f"{_HERE}.network:build_encoder",
    sizes={
        "base": {"dim": 128, "heads": 4, "depth": 3, "graph_depth": 3},
        "large": {"dim": 256, "heads": 8, "depth": 9, "graph_depth": 3},
        "huge": {"dim": 896, "heads": 14, "depth": 12, "graph_depth": 4},
        "giant": {"dim": 1792, "heads": 28, "depth": 20, "graph_depth": 4},
        "small": {"dim": 128, "heads": 4, "depth": 3, "graph_depth": 2, "placement": "pre"},
        "tiny": {"dim": 32, "heads": 4, "depth": 2, "graph_depth": 2},
    },
    default_size="base",
    checkpoints=(open_checkpoint("eegfound_eegpt", "eegpt-ar", "small"),),
    poolings=("mean", "last", "special", "graph", "channels", "max", "mean_std", "flatten"),
    recipes={
        "paper": {
            "tuning": "readout",
            "pooling": "graph",
            "head": "mlp",
            "head_dropout": 0.1,
            "optimizer": "adamw",
            "lr": 1e-4,
            "lr_schedule": "cosine",
            "max_epochs": 10,
            "train_batch_size": 512,
        }
    },
    objective=f"{_HERE}.objective:build_objective",
    stages=(STAGE,),
    transformer=f"{_HERE}.estimators:EEGPTARTransformer",
    classifier=f"{_HERE}.estimators:EEGPTARClassifier",
    regressor=f"{_HERE}.estimators:EEGPTARRegressor",
    pretrainer=f"{_HERE}.estimators:EEGPTARPretrainer",
    golden=f"{_HERE}.golden:reproduce",
    citation=(
        "Yue, Xue, Gao, Tang, Guo, Jiang, Liu: EEGPT: Unleashing the Potential of EEG Generalist "
        "Foundation Model by Autoregressive Pre-training, arXiv 2410.19779 (v2: BrainGPT)"
    ),
    licence="no published code; this implementation BSD-3-Clause",
    url="https://arxiv.org/abs/2410.19779",
    notes=(
        "No weights were published by the authors; those of size 'small' that ship with the plugin "
        "were trained by us.",
        "Not the EEGPT of Wang et al. (NeurIPS 2024), which is the model 'eegpt'.",
        "The 138 names, the amplitude scale and the position encoding are decided by us; see the "
        "model card.",
        "Windows beyond 4 s are cut into whole 4-s segments; model_params={'long': 'stream'} "
        "reads them as one sequence.",
    ),
)
