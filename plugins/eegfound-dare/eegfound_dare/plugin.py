"""What DARE-EEG declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from math import inf

from eegfound.models import Checkpoint, FoundationModel, InputSpec, PretrainingStage, hookimpl
from eegfound.models.open import open_checkpoint
from eegfound.nn.slices.tables import DARE_SIZES, PATCH, VOCABULARY

#: The sets of the paper's pretraining corpus.
PRETRAINING = ("SEED", "PhysioNet MI (EEGMMIDB)", "M3CV", "TSU SSVEP benchmark", "pBCIW (MATB)")

_NANO = (
    "The authors committed it in January 2026 (prestyan/DARE-EEG, commit aa5acb1, folder "
    "pretrain/logs/checkpoints) and emptied the file in the next commit; the repository has no "
    "licence."
)
_UNPUBLISHED = "The authors' scripts name this file; it has not been published."


def _checkpoint(size: str, filename: str, how_to_get: str = _UNPUBLISHED) -> Checkpoint:
    return Checkpoint(
        name=f"dare-{size}",
        size=size,
        filename=filename,
        licence="none stated: all rights reserved",
        converter="eegfound_dare.checkpoint:convert_checkpoint",
        how_to_get=how_to_get,
        pretraining_datasets=PRETRAINING,
    )


#: Trained on a few hours of EEG, and small enough to ship ("small" is the authors'). Its input is
#: larger, and names of channels begin alike where channels are close.
COMPACT = {
    "width": 128,
    "n_summary": 2,
    "depths": (4, 2, 2),
    "heads": 4,
    "input_scale": 60.0,
    "init_std": 0.09,
    "names_std": 1.0,
}

STAGE = PretrainingStage(
    name="dual-aligned",
    objective="eegfound_dare.objective:build_objective",
    summary="align masks and anchors, rebuild hidden patches",
    defaults={
        "max_epochs": 10,
        "train_batch_size": 8,
        "betas": (0.9, 0.98),
        "lr": 1e-3,
        "lr_schedule": "cosine",
        "warmup": 0.2,
        "weight_decay": 0.01,
        "gradient_clip": 1.0,
        # In few steps 0.996 would leave the momentum encoder near its first weights.
        "objective_params": {
            "momentum": (0.98, 1.0),
            "rebuild": 1.0,
            "n_rebuilt": 48,
            "anchor_from": 1.0,
            "single_until": 0.4,
        },
    },
    recipes={
        "paper": {
            "optimizer": "adamw",
            "betas": (0.9, 0.999),
            "max_epochs": 200,
            "train_batch_size": 72,
            "lr": 5e-4,
            "lr_schedule": "onecycle_half",
            "warmup": 40,
            "weight_decay": 1e-6,
            "gradient_clip": inf,
            # All that the defaults set, since they count where a recipe says nothing.
            "objective_params": {
                "momentum": (0.996, 1.0),
                "rebuild": 0.2,
                "n_rebuilt": None,
                "anchor_from": 0.0,
                "single_until": 0.0,
            },
        }
    },
)

MODEL = FoundationModel(
    name="dare",
    summary="DARE-EEG: summary tokens per time slice, mask and anchor alignment",
    input=InputSpec(
        sfreq=256.0,
        patch_samples=PATCH,
        unit="mV",
        vocabulary=VOCABULARY,
        reference="average",
        resampling="nearest",
        window_seconds=(4.0, 4.0),
        default_channel="CZ",
    ),
    network="eegfound_dare.network:build_encoder",
    sizes={**DARE_SIZES, "compact": COMPACT},
    default_size="nano",
    aliases=("dare-eeg",),
    poolings=("mean", "max", "mean_std", "cls", "flatten"),
    micro_batch=2,
    checkpoints=(
        open_checkpoint("eegfound_dare", "dare", "compact"),
        _checkpoint("nano", "ours_3_Nano@epoch=196-valid_loss=0.7569.ckpt", _NANO),
        _checkpoint("deep", "DARE-EEG_3_Deep@epoch=193-valid_loss=0.6080.ckpt"),
        _checkpoint("base", "DARE-EEG_3_base2@epoch=199-valid_loss=0.5981.ckpt"),
        _checkpoint("small", "DARE-EEG_3_small@epoch=168-valid_loss=0.6119.ckpt"),
    ),
    recipes={
        "paper": {
            "tuning": "conv_linear",
            "adapter_options": {"n_layers": 1, "bias": True, "max_norm": 1.0},
            "head": "two_linear",
            "head_hidden": 16,
            "head_dropout": 0.5,
            "optimizer": "adamw",
            "lr": 5e-4,
            "lr_schedule": "onecycle",
            "warmup": 20,
            "max_epochs": 100,
            "train_batch_size": 64,
            "weight_decay": 0.01,
        }
    },
    objective="eegfound_dare.objective:build_objective",
    stages=(STAGE,),
    transformer="eegfound_dare.estimators:DARETransformer",
    classifier="eegfound_dare.estimators:DAREClassifier",
    regressor="eegfound_dare.estimators:DARERegressor",
    pretrainer="eegfound_dare.estimators:DAREPretrainer",
    golden="eegfound_dare.golden:reproduce",
    citation=(
        "Shao, Gong, Dai, Zhang: DARE-EEG: A Foundation Model for Mining Dual-Aligned "
        "Representation of EEG, arXiv 2605.18298, 2026"
    ),
    licence="none stated (reference code); this implementation BSD-3-Clause",
    url="https://github.com/prestyan/DARE-EEG",
    notes=(
        "None of the authors' weights can be downloaded; files in their layout are read by path. "
        "Those of size 'compact' that ship with the plugin were trained by us.",
        "AF7, AF8, PO5 and PO6 were in no recording of the authors, PO5 and PO6 in none of ours.",
        "Other rates are brought to 256 Hz by nearest samples, as in the authors' scripts.",
    ),
)


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return DARE-EEG."""
    return [MODEL]


@hookimpl
def eegfound_heads() -> dict[str, str]:
    """Return the heads of the authors' scripts."""
    return {
        "dare_v2": "eegfound_dare.heads:SliceMLP",
        "dare_mlp": "eegfound_dare.heads:FlatMLP",
        "dare_small": "eegfound_dare.heads:SmallHead",
    }
