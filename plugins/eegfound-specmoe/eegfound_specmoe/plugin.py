"""What SpecMoE declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from eegfound.models import Checkpoint, FoundationModel, InputSpec, PretrainingStage, hookimpl
from eegfound.models.open import open_checkpoint

_LICENCE = "custom: internal non-commercial research only, no right to pass files on"
_WHERE = (
    "The authors keep Pretrained_Expert_1.pth, Pretrained_Expert_2.pth and Pretrained_Expert_3.pth "
    "in the folder Model_weights of the GitHub repository TeraXj78/SpecMoE. Their licence allows "
    "internal non-commercial research only and no passing on, so this suite neither bundles nor "
    "downloads them: read License.txt there and fetch them yourself."
)
#: What the published files name beside tensors: a NumPy number.
SAFE_GLOBALS = (
    "eegfound_specmoe.checkpoint:NUMPY_SCALAR",
    "eegfound_specmoe.checkpoint:scalar_of_numpy_1",
    "eegfound_specmoe.checkpoint:NUMPY_FLOAT64",
    "numpy:dtype",
)
#: Each published expert saw its own slice of a shuffled list of windows.
_PRETRAINING = ("TUEG (Temple University Hospital EEG Corpus)",)

#: Half of the published width, and the read-out's options that suit frozen use: OURS. Narrow as it
#: is, dropout would keep it from redrawing what it sees.
SMALL = {
    "n_experts": 3,
    "features": 64,
    "heads": 4,
    "dropout": 0.0,
    "channel_order": "pretraining",
    "positions": "pretraining",
    "log_psd": True,
}

_PAPER_OBJECTIVE = {"montage": "nineteen", "data_slices": True, "relative": False}
_PAPER = {
    "max_epochs": 50,
    "train_batch_size": 256,
    "optimizer": "adamw",
    "betas": (0.9, 0.999),
    "lr": 1e-3,
    # The scheduler is stepped once in four of the steps it was made for: it ends here.
    "min_lr": 8.5e-4,
    "lr_schedule": "cosine",
    "warmup": 0,
    "weight_decay": 0.05,
    "gradient_clip": 5.0,
    "objective_params": _PAPER_OBJECTIVE,
}
#: What the published code does where it differs from the abstract.
_REFERENCE = {
    **_PAPER,
    "objective_params": {
        **_PAPER_OBJECTIVE,
        "target": "masked_input",
        "deterministic_masks": True,
    },
}


def _expert(number: int) -> PretrainingStage:
    return PretrainingStage(
        name=f"expert-{number}",
        objective=f"eegfound_specmoe.stages:build_expert_{number}",
        summary=f"expert {number} recovers signals with holes in time and frequency",
        share=0.3,
        defaults={
            "max_epochs": 10,
            "train_batch_size": 8,
            "optimizer": "adamw",
            "lr": 2e-3,
            "lr_schedule": "cosine",
            "warmup": 0.5,
            "weight_decay": 0.05,
            "gradient_clip": 5.0,
            # Without it windows with drifts are all that counts: they have the power.
            "objective_params": {"relative": True},
        },
        recipes={"paper": _PAPER, "reference": _REFERENCE},
    )


#: Ours: in the paper gates are trained with labels only.
_GATES = PretrainingStage(
    name="gates",
    objective="eegfound_specmoe.stages:build_gates",
    summary="gates of the frozen experts learn to read spectra off masked signals (ours)",
    share=0.1,
    defaults={
        "max_epochs": 3,
        "train_batch_size": 16,
        "optimizer": "adamw",
        "lr": 3e-3,
        "lr_schedule": "cosine",
        "weight_decay": 0.0,
        "gradient_clip": 1.0,
    },
)

MODEL = FoundationModel(
    name="specmoe",
    summary="Spectral mixture of three SpecHi-Net experts",
    input=InputSpec(
        sfreq=200.0,
        # Any length from one second on: the network itself fills up to 120 samples.
        patch_samples=200,
        patch_stride=1,
        unit="uV",
        scale=0.01,
        ordered_channels=True,
        band=(0.3, 75.0),
        notch=60.0,
        window_seconds=(30.0, 30.0),
        default_channel="CZ",
    ),
    network="eegfound_specmoe.network:build_encoder",
    sizes={"moe": {"n_experts": 3}, "expert": {"n_experts": 1}, "small": SMALL},
    default_size="moe",
    poolings=(
        "reference",
        "per_feature",
        "fused",
        "mean",
        "max",
        "mean_std",
        "channels",
        "flatten",
    ),
    micro_batch=4,
    checkpoints=(
        open_checkpoint("eegfound_specmoe", "specmoe", "small"),
        Checkpoint(
            name="specmoe",
            size="moe",
            filename="specmoe.safetensors",
            licence=_LICENCE,
            optional_keys=("gate_LinearT_*",),
            how_to_get=(
                f"{_WHERE} Then make the file once: eegfound_specmoe.assemble_experts(["
                "'Pretrained_Expert_1.pth', 'Pretrained_Expert_2.pth', 'Pretrained_Expert_3.pth'], "
                "out='specmoe.safetensors'); any three experts can be assembled, your own too."
            ),
            pretraining_datasets=_PRETRAINING,
        ),
        *(
            Checkpoint(
                name=f"specmoe-expert-{i}",
                size="expert",
                filename=f"Pretrained_Expert_{i}.pth",
                licence=_LICENCE,
                converter="eegfound_specmoe.checkpoint:convert_expert",
                optional_keys=("gate_LinearT_*",),
                safe_globals=SAFE_GLOBALS,
                how_to_get=_WHERE,
                pretraining_datasets=_PRETRAINING,
            )
            for i in (1, 2, 3)
        ),
    ),
    recipes={
        "paper": {
            "tuning": "full",
            "pooling": "fused",
            "head": "specmoe",
            "head_dropout": 0.2,
            "optimizer": "amsgrad",
            "lr": 1e-3,
            "lr_schedule": "plateau",
            "max_epochs": 100,
            "train_batch_size": 64,
            "weight_decay": 0.0,
        }
    },
    objective="eegfound_specmoe.objective:build_objective",
    stages=(_expert(1), _expert(2), _expert(3), _GATES),
    transformer="eegfound_specmoe.estimators:SpecMoETransformer",
    classifier="eegfound_specmoe.estimators:SpecMoEClassifier",
    regressor="eegfound_specmoe.estimators:SpecMoERegressor",
    pretrainer="eegfound_specmoe.estimators:SpecMoEPretrainer",
    golden="eegfound_specmoe.golden:reproduce",
    citation=(
        "Darankoum, Habermacher, Volle, Grudinin: SpecMoE: Spectral Mixture-of-Experts Foundation "
        "Model for Cross-Species EEG Decoding, 2026, arXiv 2603.16739"
    ),
    licence=(
        "reference code and weights: custom, internal non-commercial research only; "
        "this implementation BSD-3-Clause"
    ),
    url="https://github.com/TeraXj78/SpecMoE",
    notes=(
        "The authors' weights are never downloaded: their licence forbids passing them on. "
        "eegfound_specmoe.assemble_experts makes SpecMoE of any three expert files.",
        "Embeddings depend on the order of channels: channels are laid one after another.",
        "pooling='fused' adds spectral gates, which no pretraining has seen: train them with "
        "tuning='readout' or 'full'.",
    ),
)


@hookimpl
def eegfound_models() -> list[FoundationModel]:
    """Return SpecMoE."""
    return [MODEL]


@hookimpl
def eegfound_heads() -> dict[str, str]:
    """Return the head that the reference fine-tunes."""
    return {"specmoe": "eegfound_specmoe.head:make_head"}
