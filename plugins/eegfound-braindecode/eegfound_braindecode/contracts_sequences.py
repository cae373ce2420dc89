"""Contracts of models whose tokens mix electrodes or that want fixed ones, and of rare ones."""

from __future__ import annotations

from eegfound.models import Checkpoint, FoundationModel, InputSpec
from eegfound_braindecode import vocabulary
from eegfound_braindecode.declaring import MOMENTS, PATCHES, checkpoint, declare

BENDR = declare(
    "bendr",
    "BERT-like sequence model of convolutional features, wav2vec style",
    InputSpec(
        sfreq=256.0, patch_samples=96, max_samples=15360, unit="uV",
        vocabulary=vocabulary.BENDR, accepts_missing=False, window_seconds=(60.0, 60.0),
        default_channel="CZ",
    ),
    {
        "base": {},
        "tiny": {
            "encoder_h": 32, "contextualizer_hidden": 64, "transformer_layers": 2,
            "transformer_heads": 4,
        },
    },
    cls="BENDR",
    # Windows lose their amplitude, and an untrained start token sees little of the rest.
    poor_score=True,
    poolings=("cls", *MOMENTS),
    checkpoints=(
        checkpoint("bd-bendr", "base", "braindecode/braindecode-bendr", "see its model card",
                   seen=("TUEG v1.1/1.2",)),
    ),
    citation="Kostas, Aroca-Ouellette, Rudzicz: BENDR, Frontiers in Human Neuroscience 15, 2021",
    notes=(
        "19 electrodes and a channel of relative amplitude, ~2.67 Hz tokens (factor 96) [bd]; 256 "
        "Hz, 60 s [paper].",
        "Windows are mapped to [-1, 1]; the amplitude channel is 0 unless model_params={"
        "'amplitude_range': microvolts} gives the range of your data set [authors: DN3].",
        "pooling='cls' is the start token, braindecode's features. braindecode's encoder_only "
        "read-out is not offered.",
    ),
)  # fmt: skip


def _biot(name: str, count: int, checkpoints: tuple[Checkpoint, ...]) -> FoundationModel:
    return declare(
        name,
        f"Linear attention over spectra of {count} bipolar derivations",
        InputSpec(
            sfreq=200.0, patch_samples=200, patch_stride=100, max_samples=6000, unit="uV",
            vocabulary=vocabulary.BIOT[:count], accepts_missing=False,
            window_seconds=(5.0, 30.0),
            default_channel="C3-P3",
        ),
        {
            "base": {"n_derivations": count},
            "tiny": {"n_derivations": count, "num_layers": 1},
        },
        cls="BIOT",
        recipe="biot",
        # No amplitude remains, and of a window padded from a few samples little else does.
        poor_score=True,
        poolings=PATCHES,
        checkpoints=checkpoints,
        citation="Yang, Westover, Sun: BIOT, NeurIPS 2023",
        notes=(
            "200 Hz, spectra of 1 s every 0.5 s [bd]; each channel divided by the 95 % quantile "
            "of its absolute values (no amplitude remains) [authors].",
            "Derivations in the order of BIOT_CHANNEL_ORDER [bd]. From electrodes: "
            f"MontageMapper(info, target='bd-{name}', missing='interpolate').",
            "pooling='mean' is braindecode's features.",
        ),
    )  # fmt: skip


BIOT = _biot("biot", 18, (
    checkpoint("biot-six-datasets-18chs", "base", "braindecode/biot-pretrained-six-datasets-18chs",
               "BSD-3-Clause (card); MIT (authors)",
               seen=("PREST", "SHHS", "CHB-MIT", "IIIC Seizure", "TUAB", "TUEV")),
    checkpoint("biot-shhs-prest-18chs", "base", "braindecode/biot-pretrained-shhs-prest-18chs",
               "MIT (authors); see its model card", seen=("SHHS", "PREST")),
))  # fmt: skip

BIOT_16 = _biot("biot-16", 16, (
    checkpoint("biot-prest-16chs", "base", "braindecode/biot-pretrained-prest-16chs",
               "MIT (authors); see its model card", seen=("PREST",)),
))  # fmt: skip

EEGPT = declare(
    "eegpt",
    "EEGPT of 2024 (dual self-supervised), encoder only",
    InputSpec(
        sfreq=256.0, patch_samples=64, unit="mV", vocabulary=vocabulary.EEGPT,
        reference="average", resampling="nearest", window_seconds=(4.0, 4.0),
        default_channel="CZ",
    ),
    {"large": {"patch_stride": 64}, "tiny": {"patch_stride": 64, "embed_dim": 64, "depth": 2,
                                            "num_heads": 2}},
    cls="EEGPT",
    poolings=MOMENTS,
    checkpoints=(
        checkpoint("eegpt-pretrained", "large", "braindecode/eegpt-pretrained",
                   "see its model card; Apache-2.0 (authors' code)",
                   seen=("PhysioNet MI", "HGD", "TSU SSVEP", "SEED", "M3CV")),
    ),
    citation="Wang et al.: EEGPT, NeurIPS 2024",
    notes=(
        "256 Hz, patches of 64 samples, 62 electrodes by name [bd]; millivolt, average reference, "
        "nearest-neighbour resampling, 4 s [authors].",
        "patch_stride is 64 as in pretraining; braindecode's default is 32 "
        "(model_params={'patch_stride': 32}).",
        "braindecode's projection in front (chan_proj) is no part of the encoder and is left out; "
        "a file's chan_proj.* is dropped.",
        "Tokens are the summary tokens; braindecode's features have the four of a patch in a row.",
    ),
)  # fmt: skip

LUNA = declare(
    "luna",
    "Learned queries over electrodes by place, transformer over time",
    InputSpec(
        sfreq=256.0, patch_samples=40, max_samples=1280, unit="uV", needs_positions=True,
        band=(0.1, 75.0), notch=60.0, window_seconds=(5.0, 5.0), default_channel="Cz",
    ),
    {
        "base": {},
        "large": {"embed_dim": 96, "num_queries": 6, "depth": 10},
        "huge": {"embed_dim": 128, "num_queries": 8, "depth": 24},
        "tiny": {"depth": 2},
    },
    cls="LUNA",
    poolings=MOMENTS,
    checkpoints=tuple(
        checkpoint(f"LUNA_{size}", size, "PulpBio/LUNA", "CC BY-ND 4.0 (card)",
                   file=f"LUNA_{size}.safetensors", seen=("TUEG", "Siena"))
        for size in ("base", "large", "huge")
    ),
    citation="Döner et al.: LUNA, NeurIPS 2025, arXiv 2510.22257",
    notes=(
        "Patches of 40 samples; sizes [bd]; 256 Hz, 5 s, z-score per channel over the window, "
        "electrode positions in MNE's head frame [paper, authors].",
        "The weights' licence forbids passing on fine-tuned weights.",
    ),
)  # fmt: skip

MVPFORMER = declare(
    "mvpformer",
    "Causal attention over segments and channels of intracranial EEG",
    InputSpec(
        sfreq=512.0, patch_samples=2560, unit="uV", ordered_channels=True,
        default_channel="Cz",
    ),
    {
        "small": {"d_model": 768, "n_layers": 12, "n_heads": 12, "n_head_kv": 4, "d_inner": 1728},
        "tiny": {},
    },
    cls="MVPFormer",
    poolings=("last_segment", *PATCHES),
    citation="Carzaniga et al.: MVPFormer, ICLR 2026, arXiv 2506.20354",
    notes=(
        "Segments of 5 s at 512 Hz; size small is MVPFormer-S, tiny is braindecode's default [bd]. "
        "Each segment is normalized inside, so the unit does not matter [bd].",
        "braindecode names no weights in its format: pass checkpoint='path', or checkpoint=None "
        "for random ones.",
        "Made for intracranial contacts; names that are no scalp electrodes are left out by the "
        "suite: name contacts as electrodes.",
    ),
)  # fmt: skip

SIGNALJEPA = declare(
    "signaljepa",
    "Joint-embedding prediction over electrodes and seconds",
    InputSpec(
        sfreq=128.0, patch_samples=128, min_samples=152, max_samples=2048, unit="uV",
        vocabulary=vocabulary.SIGNALJEPA, band=(0.5, 40.0), window_seconds=(16.0, 16.0),
        default_channel="Cz",
    ),
    {"base": {}, "tiny": {"transformer__num_encoder_layers": 2}},
    cls="SignalJEPA",
    poolings=PATCHES,
    checkpoints=(
        checkpoint("signal-jepa", "base", "braindecode/signal-jepa", "MIT (card)",
                   seen=("Lee2019",)),
    ),
    citation="Guetschel, Moreau, Tangermann: S-JEPA, Graz BCI Conference 2024, arXiv 2403.11772",
    notes=(
        "128 Hz, 0.5-40 Hz, volts x 1e6; tokens that see 1.1875 s every second; 62 electrodes by "
        "name [bd]; 16 s in pretraining [card].",
        "The decoder of the pretraining is left out, as in braindecode's forward pass.",
        "SignalJEPA_Contextual, _PreLocal and _PostLocal are heads on this encoder: use the "
        "Classifier.",
    ),
)  # fmt: skip

ZUNA = declare(
    "zuna",
    "Encoder of a diffusion autoencoder with positions on the head",
    InputSpec(
        sfreq=256.0, patch_samples=32, min_samples=128, max_samples=1280, unit="uV",
        needs_positions=True, reference="average", band=(0.5, 128.0),
        window_seconds=(0.5, 30.0), default_channel="Cz",
    ),
    {"base": {}, "tiny": {"dim": 64, "n_layers": 2, "n_heads": 2, "head_dim": 32}},
    cls="ZUNA",
    poolings=PATCHES,
    citation="Warner et al.: ZUNA, arXiv 2602.18478; ZUNA1.1, arXiv 2607.27308",
    notes=(
        "256 Hz, tokens of 32 samples, 0.5-30 s, positions from chs_info [bd]; average reference, "
        "0.5 Hz high pass, z-score over the window, divided by 10 [authors].",
        "5 s per pass [ours]: cost grows with the square of electrodes x time.",
        "pooling='channels' is braindecode's features. ZUNA's authors found frozen features weaker "
        "than fine-tuned ones [bd].",
        "braindecode names no weights in its format (the authors' are HF Zyphra/ZUNA): pass "
        "checkpoint='path' of a file saved from braindecode's class, or None for random ones.",
    ),
)  # fmt: skip
