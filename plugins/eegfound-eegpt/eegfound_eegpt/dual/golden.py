"""EEGPT's golden vectors, computed again from their descriptions.

``eegfound conformance eegpt FOLDER`` calls :func:`reproduce` for every file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn.slices import (
    EEGPT_SIZES,
    VOCABULARY,
    PretrainingNetworks,
    SliceEncoder,
    SliceMasks,
)
from eegfound.testing.golden import GoldenCase, Tolerance, fill_network, statistics
from eegfound_eegpt.dual.golden_heads import adapter, classifier, probe
from eegfound_eegpt.dual.objective import DualObjective

Output = dict[str, Any]
INPUTS = ("mask_x", "mask_y")
#: The Euclidean norm in a summary grows with the number of entries: beside the
#: files' 1e-5 it may be off by about one rounding of float32 (6e-8).
TOLERANCES = {"*_stat": Tolerance(absolute=1e-5, relative=1e-7)}


def reproduce(case: GoldenCase) -> Output:
    """Compute a golden vector of EEGPT.

    Parameters
    ----------
    case : GoldenCase
        Encoder, attention weights, pretraining, gradients or a task module;
        told apart by what is asked for.

    Returns
    -------
    dict
        Output by name.
    """
    wanted = set(case.shapes)
    if "grad_l2" in wanted:
        return _gradients(case)
    if "mask_x" in case.inputs:
        return _pretraining(case)
    if "attn" in wanted:
        return _attention(case)
    if "chan_conv_out" in wanted:
        return adapter(case)
    if any(name.startswith("logits_") for name in wanted):
        return classifier(case)
    if "logits" in wanted:
        return probe(case)
    if wanted & {"z", "z_stat", "pooled_mean", "token_slice"}:
        return _encoder(case)
    raise SpecError(f"{case.name} asks for {sorted(wanted)}, which EEGPT does not compute.")


def _config(case: GoldenCase) -> dict[str, Any]:
    """Return the size: written out, or by its name."""
    if "cfg" in case.meta:
        width, n_summary, depths, heads = case.meta["cfg"]
        return {"width": width, "n_summary": n_summary, "depths": tuple(depths), "heads": heads}
    tag = str(case.meta.get("tag"))
    if tag not in EEGPT_SIZES:
        raise SpecError(f"{case.name} names the size {tag!r}, which EEGPT does not have.")
    return dict(EEGPT_SIZES[tag])


def _ids(case: GoldenCase) -> tuple[Tensor | None, np.ndarray]:
    """Return the rows of the channels, None where the case gives no names."""
    chans = case.meta["chans"]
    if isinstance(chans, int):
        return None, np.arange(chans)
    rows = []
    for name in chans:
        known = name.strip(".").upper()
        if known not in VOCABULARY:
            raise SpecError(f"{case.name}: EEGPT has no electrode {name!r}.")
        rows.append(VOCABULARY.index(known))
    return torch.tensor(rows), np.array([rows])


def _signal(case: GoldenCase, n_channels: int) -> Tensor:
    shape = (int(case.meta["B"]), n_channels, int(case.meta["T"]))
    return torch.from_numpy(case.input(shape, float(case.meta.get("scale", 1.0))))


def check_manifest(case: GoldenCase, name: str, network: nn.Module, *, prefix: str = "") -> None:
    """Compare a network's tensors with a manifest, if the folder has that one.

    Raises
    ------
    SpecError
        If names or shapes differ.
    """
    manifest: Mapping[str, Any] | None = case.manifest(name)
    shapes = {prefix + key: tuple(value.shape) for key, value in network.state_dict().items()}
    if manifest is not None and shapes != dict(manifest):
        wrong = sorted(set(shapes.items()) ^ set(manifest.items()))
        raise SpecError(f"{case.name}: the network differs from {name!r} at {wrong[:4]}.")


def _filled_encoder(case: GoldenCase) -> SliceEncoder:
    stride = case.meta.get("patch_stride")
    network = SliceEncoder(stride=stride, **_config(case)).eval()
    check_manifest(case, f"encoder_{case.meta.get('tag')}", network)
    fill_network(network, case.salt, prefix="target_encoder.")
    return network


@torch.no_grad()
def _encoder(case: GoldenCase) -> Output:
    ids, stored = _ids(case)
    network, x = _filled_encoder(case), _signal(case, stored.size)
    tokens, z = network.embed(x, ids), network.encode(x, ids)
    return {
        "chan_ids": stored,
        "token_slice": case.cut("token_slice", tokens),
        "token_stat": statistics(tokens),
        "z": case.cut("z", z),
        "z_stat": statistics(z),
        "pooled_mean": case.cut("pooled_mean", z.flatten(2).mean(dim=1)),
    }


@torch.no_grad()
def _attention(case: GoldenCase) -> Output:
    ids, stored = _ids(case)
    layer = int(case.meta["return_attention_layer"])
    x = _signal(case, stored.size)
    weights = _filled_encoder(case).attention_weights(x, ids, layer=layer)
    return {"attn": case.cut("attn", weights)}


def _objective(case: GoldenCase) -> tuple[DualObjective, Tensor, Tensor | None, SliceMasks]:
    ids, stored = _ids(case)
    networks = PretrainingNetworks(**_config(case)).eval()
    check_manifest(case, f"checkpoint_{case.meta.get('tag')}", networks)
    fill_network(networks, case.salt, skip=("*.time_embed.freqs",))
    visible, hidden = (
        torch.from_numpy(np.asarray(case.inputs[name], dtype=np.int64)) for name in INPUTS
    )
    x = _signal(case, stored.size)
    return DualObjective(networks), x, ids, SliceMasks(visible, hidden)


@torch.no_grad()
def _pretraining(case: GoldenCase) -> Output:
    objective, x, ids, masks = _objective(case)
    losses = objective.losses(x, ids, masks)
    made = losses.prediction
    out: Output = {
        "loss_align": losses.alignment.numpy(),
        "loss_rec": losses.reconstruction.numpy(),
        "loss_total": losses.total.numpy(),
    }
    for name, value in {
        "z_enc": made.visible,
        "z_pred": made.predicted,
        "comb": made.combined,
        "h": made.features,
        "rec": made.rebuilt,
        "target_patch": made.patches,
    }.items():
        out |= {name: case.cut(name, value), f"{name}_stat": statistics(value)}
    if "noLN_loss_rec" in case.shapes:
        objective.norm_patches = False
        out["noLN_loss_rec"] = objective.losses(x, ids, masks).reconstruction.numpy()
        objective.norm_patches = True
    if {"noskip_loss_rec", "noskip_rec"} & set(case.shapes):
        objective.skip = False
        without = objective.losses(x, ids, masks)
        out["noskip_loss_rec"] = without.reconstruction.numpy()
        out["noskip_rec"] = case.cut("noskip_rec", without.prediction.rebuilt)
    return out


def _gradients(case: GoldenCase) -> Output:
    if "mask_x" not in case.inputs or "T" not in case.meta:
        raise SpecError(
            f"{case.name} needs the description and the masks of {case.meta.get('from_file')!r}."
        )
    objective, x, ids, masks = _objective(case)
    losses = objective.losses(x, ids, masks)
    losses.total.backward()
    gradients = {name: p.grad for name, p in objective.networks.named_parameters()}
    trained = {name: g for name, g in gradients.items() if g is not None}
    return {
        "loss": losses.total.detach().numpy(),
        "names": np.array(list(trained)),
        "grad_l2": np.array([float(g.double().norm()) for g in trained.values()]),
        # The frequencies are buffers here and frozen parameters there.
        "no_grad": np.array([n for n in objective.networks.state_dict() if n not in trained]),
    }
