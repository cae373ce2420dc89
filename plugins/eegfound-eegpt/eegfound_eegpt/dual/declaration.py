"""What EEGPT (2024) declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from math import inf

from eegfound.models import Checkpoint, FoundationModel, InputSpec, PretrainingStage
from eegfound.models.open import open_checkpoint
from eegfound.nn.slices.tables import EEGPT_SIZES, PATCH, VOCABULARY
from eegfound_eegpt.dual.recipes import TEN_TWENTY

#: The sets of the paper's pretraining corpus.
PRETRAINING = ("PhysioNet MI (EEGMMIDB)", "HGD", "TSU SSVEP benchmark", "SEED", "M3CV")

#: Read-outs of the suite, and the model's own networks with a class token.
POOLINGS = (
    "mean", "max", "mean_std", "cls", "flatten", "predictor_mean", "predictor_cls",
    "reconstructor_mean", "reconstructor_cls",
)  # fmt: skip

#: Trained on a few hours of EEG, and small enough to ship. Its input is larger, and names of
#: channels begin alike where channels are close.
SMALL = {
    "width": 128,
    "n_summary": 2,
    "depths": (4, 2, 2),
    "heads": 4,
    "input_scale": 60.0,
    "init_std": 0.09,
    "names_std": 1.0,
}

STAGE = PretrainingStage(
    name="dual",
    objective="eegfound_eegpt.dual.objective:build_objective",
    summary="align features of all slices, rebuild hidden patches",
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
            "align_from": 1.0,
            "single_until": 0.4,
        },
    },
    recipes={
        "paper": {
            "optimizer": "adamw",
            "betas": (0.9, 0.999),
            "max_epochs": 200,
            "train_batch_size": 64,
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
                "align_from": 0.0,
                "single_until": 0.0,
            },
        }
    },
)

MODEL = FoundationModel(
    name="eegpt",
    summary="EEGPT of 2024: summary tokens per time slice, dual self-supervision",
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
    network="eegfound_eegpt.dual.network:build_encoder",
    sizes={**EEGPT_SIZES, "small": SMALL},
    default_size="large",
    aliases=("eegpt-dual", "eegpt-2024"),
    poolings=POOLINGS,
    # Four windows at a time are hardly faster than two in the published size.
    micro_batch=2,
    checkpoints=(
        open_checkpoint("eegfound_eegpt", "eegpt", "small"),
        Checkpoint(
            name="eegpt-large",
            size="large",
            filename="eegpt_mcae_58chs_4s_large4E.ckpt",
            licence="not stated (the repository's code is Apache-2.0)",
            converter="eegfound_eegpt.dual.checkpoint:convert_checkpoint",
            optional_keys=("*.cls_token", "fc_norm.*"),
            how_to_get=(
                "The authors share it on figshare, https://figshare.com/s/e37df4f8a907a866df4b, "
                "folder Files/EEGPT/checkpoint; download it there by hand."
            ),
            pretraining_datasets=PRETRAINING,
        ),
    ),
    recipes={
        "paper": {
            "tuning": "conv_linear",
            "adapter_channels": TEN_TWENTY,
            "adapter_options": {"n_layers": 1, "bias": True, "max_norm": 1.0},
            "head": "two_linear",
            "head_hidden": 16,
            "head_dropout": 0.5,
            "optimizer": "adamw",
            "lr": 4e-4,
            "lr_schedule": "onecycle",
            "warmup": 20,
            "max_epochs": 100,
            "train_batch_size": 64,
            "weight_decay": 0.01,
        }
    },
    objective="eegfound_eegpt.dual.objective:build_objective",
    stages=(STAGE,),
    transformer="eegfound_eegpt.dual.estimators:EEGPTTransformer",
    classifier="eegfound_eegpt.dual.estimators:EEGPTClassifier",
    regressor="eegfound_eegpt.dual.estimators:EEGPTRegressor",
    pretrainer="eegfound_eegpt.dual.estimators:EEGPTPretrainer",
    golden="eegfound_eegpt.dual.golden:reproduce",
    citation=(
        "Wang, Liu, He, Xu, Ma, Li: EEGPT: Pretrained Transformer for Universal and Reliable "
        "Representation of EEG Signals, NeurIPS 2024, vol. 37, pp. 39249-39280"
    ),
    licence="Apache-2.0 (reference code); this implementation BSD-3-Clause",
    url="https://github.com/BINE022/EEGPT",
    notes=(
        "Not the autoregressive EEGPT of arXiv 2410.19779: that one is 'eegpt-ar'.",
        "Only the size 'large' was published.",
        "AF7, AF8, PO5 and PO6 were in no recording of the authors, PO5 and PO6 in none of ours.",
        "Other rates are brought to 256 Hz by nearest samples, as in the authors' scripts: filter "
        "before, or resample with Resample(method='polyphase') first.",
    ),
)
