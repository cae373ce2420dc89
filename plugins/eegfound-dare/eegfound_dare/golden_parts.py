"""Golden vectors of adapters, heads, probing modules and alignment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn.slices import DARE_SIZES, SliceEncoder
from eegfound.testing.golden import GoldenCase, fill_network, statistics
from eegfound_dare.adapters import RESAMPLING, Adapter, LinearProbe, TUHModel
from eegfound_dare.alignment import align
from eegfound_dare.heads import FlatMLP, SliceMLP, SmallHead

Output = dict[str, Any]
#: Samples after interpolation, where a case does not say.
_RESAMPLED = {"sleep": 640, "wm": 512}


def check_whole(
    case: GoldenCase, name: str, network: nn.Module, *, without: tuple[str, ...] = ()
) -> None:
    """Compare a network's tensors with a manifest, if the folder has that one.

    Raises
    ------
    SpecError
        If names or shapes differ.
    """
    manifest: Mapping[str, Any] | None = case.manifest(name)
    ours = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.startswith(without or ("\0",))
    }
    if manifest is not None and ours != dict(manifest):
        wrong = sorted(set(ours.items()) ^ set(manifest.items()))
        raise SpecError(f"{case.name}: the network differs from {name!r} at {wrong[:4]}.")


def _encoder(case: GoldenCase, default: str) -> SliceEncoder:
    size = str(case.meta.get("encoder", default))
    if size not in DARE_SIZES:
        raise SpecError(f"{case.name} names the size {size!r}; sizes are {list(DARE_SIZES)}.")
    return SliceEncoder(**DARE_SIZES[size])


def _shaped(case: GoldenCase, name: str = "input_shape") -> Tensor:
    return torch.from_numpy(case.input(tuple(case.meta[name]), float(case.meta.get("scale", 1.0))))


@torch.no_grad()
def tuh_model(case: GoldenCase) -> Output:
    """Compute adapter, tokens and logits of the TUAB and TUEV modules."""
    x = _shaped(case)
    size = str(case.meta.get("encoder", "base"))
    model = TUHModel(
        _encoder(case, "base"), n_slices=int(case.meta["N"]), n_inputs=x.shape[1],
        n_outputs=int(case.meta["num_classes"]), n_virtual=case.shapes["conv_out"][1],
        n_layers=int(case.meta.get("conv_layers", 2)),
    ).eval()  # fmt: skip
    check_whole(case, f"{case.name}_{size}", model)
    fill_network(model, case.salt)
    adapted = model.conv_head(x)
    z = model.encoder.encode(adapted)
    return {
        "conv_out": case.cut("conv_out", adapted),
        "conv_stat": statistics(adapted),
        "z": case.cut("z", z),
        "z_stat": statistics(z),
        "logits": model.classifier(z).numpy(),
    }


@torch.no_grad()
def linear_probe(case: GoldenCase) -> Output:
    """Compute adapter, tokens, probes and logits of the BCIC-2B module."""
    x = _shaped(case)
    model = LinearProbe(
        _encoder(case, "deep"), n_inputs=x.shape[1], n_slices=x.shape[2] // 64,
        n_outputs=case.shapes["logits"][-1], n_layers=int(case.meta.get("conv_layers", 1)),
    ).eval()  # fmt: skip
    check_whole(case, case.name, model, without=("target_encoder.",))
    fill_network(model, case.salt)
    adapted = model.adapt(x)
    z = model.encode(adapted)
    return {
        "adapted_x": case.cut("adapted_x", adapted),
        "z": case.cut("z", z),
        "z_stat": statistics(z),
        "probe1": case.cut("probe1", model.probe(z)),
        "logits": model(x).numpy(),
    }


def _adapter(case: GoldenCase, kind: str) -> Adapter:
    meta = case.meta
    length = int(meta.get(f"{kind}_T_out", _RESAMPLED[kind])) if kind in RESAMPLING else None
    return Adapter(
        kind, int(meta["in_ch"]), int(meta["out_ch"]), n_layers=int(meta["conv_layers"]),
        resample_to=length,
    )  # fmt: skip


def _head(case: GoldenCase, name: str, n_outputs: int) -> nn.Module:
    n_slices, n_summary, width = case.meta["head_input"][1:]
    n_features = n_slices * n_summary * width
    if name == "mlp_mean":
        return FlatMLP(n_features, n_outputs)
    if name == "mlp_attention":
        return FlatMLP(width, n_outputs, pooling="attention")
    if name == "small":
        return SmallHead(n_features, n_outputs)
    if name == "v2":
        return SliceMLP(n_features, n_outputs, n_slices=n_slices)
    raise SpecError(f"{case.name} asks for the head {name!r}, which DARE-EEG does not have.")


@torch.no_grad()
def adapters_and_heads(case: GoldenCase) -> Output:
    """Compute each adapter's and each head's output."""
    out: Output = {}
    for name, shape in case.shapes.items():
        if name.endswith("_len"):
            continue
        kind = name.removeprefix("head_")
        part, source = ("adapter", "adapter_input") if kind == name else ("head", "head_input")
        model = _adapter(case, kind) if part == "adapter" else _head(case, kind, shape[-1])
        check_whole(case, f"{part}_{kind}", model)
        fill_network(model.eval(), case.salt, prefix=f"{part}_{kind}.")
        result = model(_shaped(case, source))
        out[name] = case.cut(name, result)
        if part == "adapter":
            out[f"{name}_len"] = np.array(result.shape[-1])
    return out


def alignments(case: GoldenCase) -> Output:
    """Compute all variants of Euclidean alignment in float64."""
    x = case.input(tuple(case.meta["input"]), float(case.meta.get("scale", 1.0)))
    x = x.astype(np.float64)
    n_channels = x.shape[1]
    found = re.fullmatch(r"([\d.]+)\*I\+([\d.]+)\*ones", str(case.meta.get("R", "2*I+0.3*ones")))
    if found is None:
        raise SpecError(f"{case.name}: the target R={case.meta['R']!r} is not 'a*I+b*ones'.")
    target = float(found[1]) * np.eye(n_channels) + float(found[2])
    return {
        "ea": align(x),
        "stable": align(x, scaling="time"),
        "stable_ref": align(x, scaling="time", target=target),
        "trace": align(x, scaling="trace"),
    }
