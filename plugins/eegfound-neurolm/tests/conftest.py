"""Fixtures of NeuroLM's tests."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Files in the published layouts, made of random weights of the tiny size.

    Returns
    -------
    dict
        Path of the language model's file and of the tokenizer's, and both state dicts.
    """
    import argparse

    import torch
    from eegfound_neurolm.tokenizer import NeuralTokenizer

    from eegfound.models import get_model
    from eegfound.models.loading import build_random

    folder = tmp_path_factory.mktemp("weights")
    network = build_random(get_model("neurolm"), "tiny", "mean", {"features": "lm"}, seed=3)
    state = {f"_orig_mod.{k}": v for k, v in network.state_dict().items()}
    mask = torch.ones(1, 1, 8, 8).tril()
    for block in range(2):
        state[f"_orig_mod.GPT2.transformer.h.{block}.attn.bias"] = mask
    torch.save(
        {"model": state, "optimizer": {"state": {}}, "iter_num": 7, "model_args": {"n_layer": 2}},
        folder / "NeuroLM-B.pt",
    )
    torch.manual_seed(5)
    tokenizer = NeuralTokenizer(
        width=64, depth=2, heads=4, decoder_depth=1, n_codes=64, code_dim=16
    )
    vq = {f"VQ.{k}": v for k, v in tokenizer.state_dict().items()}
    vq |= {"domain_classifier.0.weight": torch.zeros(256, 64), "wte.weight": torch.zeros(9, 64)}
    torch.save({"model": vq, "args": argparse.Namespace(lr=5e-5)}, folder / "VQ.pt")
    return {
        "lm": folder / "NeuroLM-B.pt", "vq": folder / "VQ.pt", "folder": folder,
        "lm_state": network.state_dict(), "vq_state": tokenizer.state_dict(),
    }  # fmt: skip
