"""What NeuroLM declares to the suite (imports neither torch nor a network)."""

from __future__ import annotations

from eegfound.models import Checkpoint, FoundationModel, InputSpec, hookimpl
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
        "tiny": {
            "width": 64, "depth": 2, "heads": 4, "lm_width": 48, "lm_depth": 2, "lm_heads": 4,
            "n_codes": 64, "code_dim": 16,
        },
    },
    default_size="base",
    micro_batch=8,
    poolings=("mean", "max", "mean_std", "channels", "flatten"),
    checkpoints=(
        _published("NeuroLM-B.pt", "base"),
        _published("NeuroLM-L.pt", "large"),
        _published("NeuroLM-XL.pt", "xl"),
        _published("VQ.pt", "base"),
    ),
    objective="eegfound_neurolm.objective:build_objective",
    transformer="eegfound_neurolm.estimators:NeuroLMTransformer",
    classifier="eegfound_neurolm.estimators:NeuroLMClassifier",
    regressor="eegfound_neurolm.estimators:NeuroLMRegressor",
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
