"""Contracts of models with one token per electrode and patch."""

from __future__ import annotations

from eegfound.models import InputSpec
from eegfound_braindecode import vocabulary
from eegfound_braindecode.declaring import PATCHES, TUEG, checkpoint, declare

# Why CBraMod, CodeBrain and EEG-DINO have poor_score: scikit-learn's test data are of the
# order of one volt. At a million times the size of EEG the magnitude spectrum, which these
# networks add without normalization, drowns the branch that knows signs.

CBRAMOD = declare(
    "cbramod",
    "Criss-cross attention over electrodes and seconds",
    InputSpec(
        sfreq=200.0, patch_samples=200, unit="uV", scale=0.01, ordered_channels=True,
        band=(0.3, 75.0), notch=60.0, window_seconds=(30.0, 30.0), default_channel="Cz",
    ),
    {"base": {}, "tiny": {"n_layer": 2}},
    cls="CBraMod",
    poor_score=True,
    poolings=PATCHES,
    checkpoints=(
        checkpoint("cbramod-pretrained", "base", "braindecode/cbramod-pretrained",
                   "BSD-3-Clause (card); MIT (authors)", seen=TUEG),
    ),
    citation="Wang et al.: CBraMod, ICLR 2025, arXiv 2412.07236",
    notes=(
        "200 Hz, patches of 1 s [bd]; microvolt / 100, 0.3-75 Hz, notch 60 Hz, 19 channels x 30 s "
        "in pretraining [authors].",
        "No electrode names: order counts through a convolution; keep neighbours together.",
        "Features go through the pretrained proj_out, as in braindecode; the authors' fine-tuning "
        "drops it: layer=-1.",
    ),
)  # fmt: skip

CODEBRAIN = declare(
    "codebrain",
    "State-space blocks trained on time and frequency codes",
    InputSpec(
        sfreq=200.0, patch_samples=200, max_samples=6000, unit="uV", scale=0.01,
        ordered_channels=True, band=(0.3, 75.0), notch=60.0, window_seconds=(30.0, 30.0),
        default_channel="Cz",
    ),
    {"base": {}, "tiny": {"num_res_layers": 2}},
    cls="CodeBrain",
    poor_score=True,
    poolings=PATCHES,
    checkpoints=(
        checkpoint("codebrain-pretrained", "base", "braindecode/codebrain-pretrained",
                   "BSD-3-Clause (card)", seen=TUEG),
    ),
    citation="CodeBrain: Scalable Code EEG Pre-Training for Unified Downstream BCI Tasks, arXiv "
             "2506.09110",
    notes=(
        "200 Hz, patches of 1 s, at most 570 tokens = 19 channels x 30 s per kernel [bd]; TUEG, 19 "
        "channels of 10-20 [card].",
        "Unit and band are those of CBraMod, whose data it was trained on [ours]: braindecode "
        "states none.",
        "Kernel norms are fixed when the network is built, not in its first forward pass.",
    ),
)  # fmt: skip

EEGDINO = declare(
    "eegdino",
    "Self-distillation of hierarchical views, with a global token",
    InputSpec(
        sfreq=200.0, patch_samples=200, unit="uV", scale=0.01, vocabulary=vocabulary.EEGDINO,
        accepts_missing=False, band=(0.3, 75.0), notch=60.0, default_channel="CZ",
    ),
    {
        "small": {},
        "medium": {
            "n_layer": 16, "dim_feedforward": 1024,
            "channels_kernel_stride_padding_norm": (
                (64, 49, 25, 24, (8, 64)), (128, 3, 1, 1, (8, 128)), (64, 3, 1, 1, (8, 64)),
            ),
        },
        "tiny": {"n_layer": 2},
    },
    cls="EEGDINO",
    poor_score=True,
    poolings=("mean", "cls", *PATCHES[1:]),
    checkpoints=(
        checkpoint("eegdino-small-pretrained", "small", "braindecode/eegdino-small-pretrained",
                   "BSD-3-Clause (card)", seen=TUEG),
        checkpoint("eegdino-medium-pretrained", "medium", "braindecode/eegdino-medium-pretrained",
                   "BSD-3-Clause (card)", seen=TUEG),
    ),
    citation="Wang et al.: EEG-DINO, MICCAI 2025",
    notes=(
        "200 Hz, patches of 1 s, microvolt / 100, channel i has slot i of 19 [bd]; 19 channels of "
        "TUEG, preprocessed as for CBraMod [card].",
        "The order of the 19 slots is nowhere stated; here it is that of TUH files [ours]. "
        "model_params={'slot_order': [19 names]} sets another.",
    ),
)  # fmt: skip

LABRAM = declare(
    "labram",
    "Masked modelling of vector-quantized one-second patches",
    InputSpec(
        sfreq=200.0, patch_samples=200, max_samples=3000, unit="uV", scale=0.01,
        vocabulary=vocabulary.LABRAM, band=(0.1, 75.0), notch=50.0, window_seconds=(4.0, 16.0),
        default_channel="CZ",
    ),
    {"base": {}, "tiny": {"num_layers": 2}},
    cls="Labram",
    poolings=("mean", "cls", *PATCHES[1:]),
    checkpoints=(
        checkpoint("labram-pretrained", "base", "braindecode/labram-pretrained",
                   "BSD-3-Clause (card); MIT (authors)",
                   seen=("16 sets, among them EEGMMIDB, TUAR, TUEP, TUSZ, TUSL, SEED",),
                   optional_keys=("model.norm.*", "model.fc_norm.*")),
    ),
    citation="Jiang, Zhao, Lu: LaBraM, ICLR 2024, arXiv 2405.18765",
    notes=(
        "200 Hz, patches of 1 s, 128 electrodes by name [bd]; microvolt / 100, 0.1-75 Hz "
        "[authors].",
        "eegfound-labram is the same architecture, reads the authors' file, and is faster; this is "
        "for files in braindecode's format.",
        "pooling='mean' is braindecode's use_mean_pooling=True (norm after the mean), 'cls' is "
        "False. The norm that a file lacks starts fresh (see load_report_).",
        "15 s per pass: the table of times has 16 rows, of which braindecode uses 15.",
    ),
)  # fmt: skip

REVE = declare(
    "reve",
    "Masked autoencoder with four-dimensional positions, any montage",
    InputSpec(
        sfreq=200.0, patch_samples=200, patch_stride=180, max_samples=2000, unit="uV",
        needs_positions=True, band=(0.5, 99.5), window_seconds=(10.0, 10.0),
        default_channel="Cz",
    ),
    {
        "base": {},
        "large": {"embed_dim": 1216, "heads": 19, "freqs": 5},
        "tiny": {"embed_dim": 64, "depth": 2, "heads": 2, "head_dim": 32},
    },
    cls="REVE",
    poolings=("mean", "attention", *PATCHES[1:]),
    checkpoints=tuple(
        checkpoint(f"reve-{size}", size, f"brain-bzh/reve-{size}",
                   "responsible-use agreement of the authors; no redistribution", gated=True,
                   seen=("92 datasets, 60 000 h (see the paper)",))
        for size in ("base", "large")
    ),
    citation="El Ouahidi et al.: REVE, NeurIPS 2025, arXiv 2510.21585",
    notes=(
        "200 Hz, patches of 1 s with 0.1 s overlap; z-score, then clip at 15 [bd]; here over each "
        "channel of the window [ours]; 10 s in pretraining [authors].",
        "braindecode downloads a gated position bank; here positions are MNE's 10-05 template by "
        "name, else the recording's own moved into that frame [ours]. model_params="
        "{'position_bank': 'positions.json'} takes the bank's.",
        "pooling='attention' reads with the pretrained query. Size large is 1216 wide [authors]; "
        "braindecode's text says 1250.",
    ),
)  # fmt: skip

STEEGFORMER = declare(
    "steegformer",
    "Masked autoencoder on raw EEG with a table of electrodes",
    InputSpec(
        sfreq=128.0, patch_samples=16, max_samples=768, unit="uV",
        vocabulary=vocabulary.STEEGFORMER, window_seconds=(6.0, 6.0), default_channel="Cz",
    ),
    {
        "small": {},
        "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
        "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
        "tiny": {"embed_dim": 64, "depth": 2, "num_heads": 2},
    },
    cls="STEEGFormer",
    poolings=("mean", "cls", *PATCHES[1:]),
    checkpoints=tuple(
        checkpoint(f"STEEGFormer-{size}", size, f"braindecode/STEEGFormer-{size}", "MIT (card)")
        for size in ("small", "base", "large")
    ),
    citation="Yang, Sun, Li, Van Hulle: ST-EEGFormer, ICLR 2026",
    notes=(
        "Sizes, patches of 16 samples [bd]; 128 Hz, 6 s, clipped at 500 microvolt, z-score per "
        "channel over the window [authors].",
        "Every known electrode gets its own row; unknown ones are refused, where braindecode "
        "falls back to channel i = row i.",
        "Tokens are normed, as braindecode's features; its own 'avg' head averages them un-normed: "
        "layer=-1. largeV2 has a table without published names and is not offered.",
    ),
)  # fmt: skip
